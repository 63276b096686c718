"""A FHIR Patient as flat JSON, and back (docs/prm/patients.md has the table).

`to_flat` reads, `changed` writes: it returns a new resource in which the given fields have new values, and all else is as
it was. What the product does not know is never lost.
"""

import copy
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from prm_ext.patients.fields import contact, demographics, emergency, identifiers, names
from prm_ext.patients.fields.field import Field, Resource

_BEFORE_STATUS: Final = ("status", "deceased_at")


@lru_cache(maxsize=256)
def fields(mrn_system: str) -> Mapping[str, Field]:
    """Return all fields by name, for a tenant whose medical record numbers are of this system."""
    found = (
        identifiers.mrn_field(mrn_system),
        *identifiers.FIELDS,
        *names.FIELDS,
        *demographics.FIELDS,
        *contact.FIELDS,
        *emergency.FIELDS,
    )
    return {field.name: field for field in found}


def to_flat(resource: Resource, mrn_system: str) -> dict[str, Any]:
    """Return the flat values of a Patient, None for each that it does not have."""
    found = {name: field.read(resource) for name, field in fields(mrn_system).items() if name != "ssn"}
    meta = resource.get("meta", {})
    return {"id": resource.get("id"), **found, "updated_at": meta.get("lastUpdated"), "version": meta.get("versionId")}


def changed(resource: Resource, values: Mapping[str, Any], mrn_system: str) -> Resource:
    """Return the Patient with new values; None takes a value away. What is no field is left out."""
    found = copy.deepcopy(resource)
    known = fields(mrn_system)
    for name in sorted(values, key=lambda name: _BEFORE_STATUS.index(name) if name in _BEFORE_STATUS else -1):
        field = known.get(name)
        if field is not None and field.write is not None:
            field.write(found, values[name])
    return found


def new(values: Mapping[str, Any], mrn_system: str) -> Resource:
    """Return a Patient of flat values."""
    given = {name: value for name, value in values.items() if value is not None}
    return changed({"resourceType": "Patient", "active": True}, given, mrn_system)


def field_of(expression: str, resource: Resource, mrn_system: str) -> str:
    """Return the flat field that a FHIRPath into the resource is about; nothing where it is about none."""
    path = expression.removeprefix("Patient.")
    best, length = "", 0
    for name, field in fields(mrn_system).items():
        for place in field.places(resource):
            if len(place) > length and (path == place or path.startswith((f"{place}.", f"{place}["))):
                best, length = name, len(place)
    return best


def copied(part: Resource) -> Resource:
    """Return a copy that can be written to."""
    return copy.deepcopy(part)
