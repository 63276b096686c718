"""Phone numbers and email addresses of a patient: kept as they are written, refused where they can not be right.

https://hl7.org/fhir/R4/datatypes.html#ContactPoint
"""

from collections.abc import Iterator

from fhir_server.config import Settings
from fhir_server.exchange import Resource
from fhir_server.fhir.contact import PHONE_SYSTEMS, is_with_more, may_be_email, may_be_phone
from fhir_server.fhir.outcome import FhirError, Issue
from fhir_server.store.versions import Version


def contact_issues(patient: Resource, settings: Settings, *, previous: Version | None = None) -> tuple[Issue, ...]:
    """Return a warning for each address of the patient, and of its contacts, that can not be right.

    What the version before has too is not judged again, so that a patient from before a stricter rule can be changed. A
    number with a note, or several in one place, is never refused: it can be called by somebody who reads it.

    Raises:
        FhirError: 422 with all that can not be right, where the settings refuse them.
    """
    region, refuses = settings.phone_region, settings.invalid_contacts == "refuse"
    odd = [one for one in _addresses(patient) if not _may_be(one[1], one[2], region)]
    if not odd:
        return ()
    before = previous.resource if previous else None
    known = {(system, value) for _, system, value in _addresses(before)} if before else set()
    issues = tuple(
        Issue(
            "value", _text(system, value, region), (path,), "error" if refuses and _is_none(system, value, region) else "warning"
        )
        for path, system, value in odd
        if (system, value) not in known
    )
    refused = [issue for issue in issues if issue.severity == "error"]
    if refused:
        raise FhirError(422, refused)
    return issues


def _addresses(patient: Resource) -> Iterator[tuple[str, str, str]]:
    """Yield the FHIRPath, the system and the value of each address."""
    for place, point in enumerate(patient.get("telecom", ())):
        if "value" in point:
            yield f"Patient.telecom[{place}].value", point.get("system", ""), point["value"]
    for number, contact in enumerate(patient.get("contact", ())):
        for place, point in enumerate(contact.get("telecom", ())):
            if "value" in point:
                yield f"Patient.contact[{number}].telecom[{place}].value", point.get("system", ""), point["value"]


def _may_be(system: str, value: str, region: str) -> bool:
    if system in PHONE_SYSTEMS:
        return may_be_phone(value, region)
    return system != "email" or may_be_email(value)


def _is_none(system: str, value: str, region: str) -> bool:
    return system not in PHONE_SYSTEMS or not is_with_more(value, region)


def _text(system: str, value: str, region: str) -> str:
    if system == "email":
        return f"{value!r} is no email address; write it like ada@example.org."
    return f"{value!r} is no phone number of {region}; write it with its country code, like +14155550100."
