"""The numbers of a patient: https://hl7.org/fhir/R4/datatypes.html#Identifier, docs/patients.md."""

import re
from collections.abc import Mapping
from typing import Any, Final

from fhir_server.fhir.protected import SSN
from fhir_server.resources.mrn import MR, TYPES, identifier
from prm_ext.patients.fields.field import Field, Resource, drop_item, has_code, index_of, objects, text_or_none

SSN_SYSTEMS: Final = (SSN, "urn:oid:2.16.840.1.113883.4.1")
LAST: Final = 4
_NO_DIGIT: Final = re.compile(r"\D")


def _mrn(resource: Resource, system: str) -> int | None:
    """Return the place of the number in the tenant's own system, else of any medical record number."""
    identifiers = objects(resource, "identifier")
    own = index_of(identifiers, lambda one: one.get("system") == system and bool(one.get("value")))
    return (
        own
        if own is not None
        else index_of(identifiers, lambda one: has_code(one.get("type"), TYPES, MR) and bool(one.get("value")))
    )


def mrn_field(system: str) -> Field:
    """Return the field of the medical record number, in a tenant's system."""

    def read(resource: Resource) -> str | None:
        place = _mrn(resource, system)
        return None if place is None else text_or_none(resource["identifier"][place].get("value"))

    def write(resource: Resource, value: str | None) -> None:
        place = _mrn(resource, system)
        if value is None:
            return
        if place is None:
            resource.setdefault("identifier", []).append(identifier(system, value))
        else:
            resource["identifier"][place]["value"] = value

    def places(resource: Resource) -> list[str]:
        place = _mrn(resource, system)
        return [] if place is None else [f"identifier[{place}]"]

    return Field("mrn", "Patient.identifier.where(type.coding.code='MR').value", read, write, places)


def _ssn(resource: Resource) -> int | None:
    return index_of(objects(resource, "identifier"), lambda one: one.get("system") in SSN_SYSTEMS)


def last_digits(value: str | None) -> str | None:
    """Return the last four digits; None where the value has less, for instance since it is hidden."""
    found = _NO_DIGIT.sub("", value or "")[-LAST:]
    return found if len(found) == LAST else None


def _read_last(resource: Resource) -> str | None:
    place = _ssn(resource)
    return None if place is None else last_digits(resource["identifier"][place].get("value"))


def _write_ssn(resource: Resource, value: str | None) -> None:
    place = _ssn(resource)
    if value is None:
        if place is not None:
            drop_item(resource, "identifier", place)
    elif place is None:
        kind: Mapping[str, Any] = {"coding": [{"system": TYPES, "code": "SS"}]}
        resource.setdefault("identifier", []).append({"type": kind, "system": SSN, "value": value})
    else:
        resource["identifier"][place]["value"] = value


def _ssn_places(resource: Resource) -> list[str]:
    place = _ssn(resource)
    return [] if place is None else [f"identifier[{place}]"]


FIELDS: Final = (
    Field("ssn", f"Patient.identifier.where(system='{SSN}').value", lambda _: None, _write_ssn, _ssn_places),
    Field("ssn_last4", f"Patient.identifier.where(system='{SSN}').value", _read_last),
)
