"""What a patient's record is.

https://hl7.org/fhir/R4/compartmentdefinition-patient.html
"""

from typing import Final

from fhir_server.search.compartment import compartment_filter
from fhir_server.search.registry import Registry
from fhir_server.search.sort import Filter

SHARED: Final = frozenset(
    {
        "ActivityDefinition",
        "CapabilityStatement",
        "ChargeItemDefinition",
        "CodeSystem",
        "ConceptMap",
        "Endpoint",
        "HealthcareService",
        "ImplementationGuide",
        "Location",
        "Measure",
        "Medication",
        "MedicationKnowledge",
        "NamingSystem",
        "OperationDefinition",
        "Organization",
        "OrganizationAffiliation",
        "PlanDefinition",
        "Practitioner",
        "PractitionerRole",
        "Questionnaire",
        "SearchParameter",
        "StructureDefinition",
        "Substance",
        "ValueSet",
    }
)
"""Types that are in nobody's record and say nothing of patients: who may see a record may read what it points at."""


REFERRED: Final[Filter] = {"i": None}
"""Holds for no resource in the database: a Binary is judged by what it is part of."""


def record_filter(type_: str, patient: str, letter: str, tenant: str, registry: Registry) -> Filter | None:
    """Return the filter of resources of a type that belong to a patient's record; None where none do.

    Types that are `SHARED` belong to it where they are only read or searched.
    """
    if type_ == "Binary" and patient and letter == "r":
        return REFERRED
    found = compartment_filter(type_, f"Patient/{patient}", tenant, registry) if patient else None
    if found is None and patient and type_ in SHARED and letter in "rs":
        return {}
    return found
