"""Compartments: which resources belong to a patient, an encounter, a practitioner, a related person or a device.

https://hl7.org/fhir/R4/compartmentdefinition.html
"""

from fhir_server.fhir.definitions import compartments
from fhir_server.fhir.outcome import bad_request
from fhir_server.search.registry import Registry
from fhir_server.search.sort import Filter

_DEFINITION = "{def}"


def compartment_types(compartment: str) -> tuple[str, ...]:
    """Return the resource types that can be in a compartment, its own type first.

    Raises:
        FhirError: 400 when R4 defines no such compartment.
    """
    known = compartments().get(compartment)
    if known is None:
        raise bad_request(
            f"{compartment} is no compartment; R4 defines {', '.join(sorted(compartments()))}.", code="not-supported"
        )
    return (compartment, *sorted(known.keys() - {compartment}))


def compartment_filter(type_: str, reference: str, tenant: str, registry: Registry) -> Filter | None:
    """Return the filter of the resources of `type_` in the compartment of `reference`; None where there can be none.

    The resource itself is in its own compartment.
    """
    compartment, _, id_ = reference.partition("/")
    codes = compartments()[compartment].get(type_, ())
    ways: list[Filter] = []
    if type_ == compartment:
        ways.append({"_id": f"{tenant}/{id_}"})
    for code in codes:
        parameter = registry.get(type_, code) if code != _DEFINITION else None
        if parameter is not None:
            ways.append({parameter.field: reference})
    if not ways:
        return None
    return ways[0] if len(ways) == 1 else {"$or": ways}


def in_any(type_: str, compartment: str, registry: Registry) -> Filter | None:
    """Return the filter of the resources of `type_` that are in some compartment of that kind; None where none can be."""
    if type_ == compartment:
        return {}
    first, last = f"{compartment}/", f"{compartment}0"
    ways: list[Filter] = []
    for code in compartments()[compartment].get(type_, ()):
        parameter = registry.get(type_, code) if code != _DEFINITION else None
        if parameter is not None:
            among = {"$gte": first, "$lt": last}
            ways.append({parameter.field: {"$elemMatch": among} if parameter.repeats else among})
    if not ways:
        return None
    return ways[0] if len(ways) == 1 else {"$or": ways}
