"""Codings of AuditEvents."""

from typing import Final

TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem/"
DICOM: Final = "http://dicom.nema.org/resources/ontology/DCM"


def coding(system: str, code: str, display: str) -> dict[str, str]:
    """Return a coding of a code system of HL7 terminology."""
    return coding_of(TERMINOLOGY + system, code, display)


def coding_of(system: str, code: str, display: str) -> dict[str, str]:
    """Return a coding."""
    return {"system": system, "code": code, "display": display}
