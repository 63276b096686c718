"""The emergency contact: https://hl7.org/fhir/R4/patient-definitions.html#Patient.contact, relationship v2-0131 `C`."""

from collections.abc import Mapping
from typing import Any, Final

from prm_ext.patients.fields.field import (
    Field,
    Resource,
    codings,
    drop_item,
    has_code,
    index_of,
    objects,
    set_or_drop,
    text_or_none,
)
from prm_ext.patients.fields.names import parsed, shown

ROLES: Final = "http://terminology.hl7.org/CodeSystem/v2-0131"
EMERGENCY: Final = "C"
FAMILY: Final = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
RELATIONSHIPS: Final[Mapping[str, str]] = {
    "spouse": "SPS",
    "husband": "HUSB",
    "wife": "WIFE",
    "domestic partner": "DOMPART",
    "parent": "PRN",
    "mother": "MTH",
    "father": "FTH",
    "child": "CHILD",
    "son": "SON",
    "daughter": "DAU",
    "sibling": "SIB",
    "brother": "BRO",
    "sister": "SIS",
    "grandparent": "GRPRN",
    "friend": "FRND",
    "neighbor": "NBOR",
}
"""Words that have a code: https://terminology.hl7.org/CodeSystem-v3-RoleCode.html."""
_WORDS: Final = {code: word for word, code in RELATIONSHIPS.items()}


def is_emergency(contact: Mapping[str, Any]) -> bool:
    """Tell whether a contact is to be called in an emergency."""
    return any(has_code(concept, ROLES, EMERGENCY) for concept in objects(contact, "relationship"))


def _place(resource: Resource) -> int | None:
    return index_of(objects(resource, "contact"), is_emergency)


def _phone(contact: Mapping[str, Any]) -> int | None:
    return index_of(objects(contact, "telecom"), lambda one: one.get("system") in ("phone", "sms") and bool(one.get("value")))


def _relationship(contact: Mapping[str, Any]) -> int | None:
    """Return the place of the relationship that is not the role of the contact."""
    return index_of(objects(contact, "relationship"), lambda one: not has_code(one, ROLES, EMERGENCY))


def read_name(contact: Resource) -> str | None:
    """Return the name of a contact."""
    name = contact.get("name")
    return shown(name) or None if isinstance(name, dict) else None


def read_phone(contact: Resource) -> str | None:
    """Return the first phone of a contact."""
    place = _phone(contact)
    return None if place is None else text_or_none(contact["telecom"][place]["value"])


def read_relationship(contact: Resource) -> str | None:
    """Return the relationship: the word of its code, else its text."""
    place = _relationship(contact)
    if place is None:
        return None
    concept = contact["relationship"][place]
    word = next(
        (_WORDS[one["code"]] for one in codings(concept) if one.get("system") == FAMILY and one.get("code") in _WORDS), None
    )
    first = next(iter(codings(concept)), {})
    return text_or_none(concept.get("text")) or word or text_or_none(first.get("display")) or text_or_none(first.get("code"))


def _write_name(contact: Resource, value: str | None) -> None:
    if value is None:
        contact.pop("name", None)
    else:
        contact["name"] = parsed(value)


def _write_phone(contact: Resource, value: str | None) -> None:
    place = _phone(contact)
    if value is None:
        if place is not None:
            drop_item(contact, "telecom", place)
    elif place is None:
        contact.setdefault("telecom", []).append({"system": "phone", "value": value})
    else:
        contact["telecom"][place]["value"] = value


def _write_relationship(contact: Resource, value: str | None) -> None:
    place = _relationship(contact)
    if place is not None:
        drop_item(contact, "relationship", place)
    if value is not None:
        concept: dict[str, Any] = {}
        code = RELATIONSHIPS.get(value.casefold())
        set_or_drop(concept, "coding", [{"system": FAMILY, "code": code}] if code else None)
        contact.setdefault("relationship", []).append(concept | {"text": value})


_PARTS: Final = {
    "name": (read_name, _write_name, "name"),
    "phone": (read_phone, _write_phone, "telecom"),
    "relationship": (read_relationship, _write_relationship, "relationship"),
}


def new_contact() -> Resource:
    """Return an emergency contact that says nothing yet."""
    return {"relationship": [{"coding": [{"system": ROLES, "code": EMERGENCY, "display": "Emergency Contact"}]}]}


def set_part(contact: Resource, part: str, value: str | None) -> None:
    """Set the name, phone or relationship of a contact, unless it is that already."""
    read, write, _ = _PARTS[part]
    if read(contact) != value:
        write(contact, value)


def _field(part: str) -> Field:
    read_part, _, member = _PARTS[part]

    def read(resource: Resource) -> str | None:
        place = _place(resource)
        return None if place is None else read_part(resource["contact"][place])

    def write(resource: Resource, value: str | None) -> None:
        place = _place(resource)
        if place is None:
            if value is None:
                return
            resource.setdefault("contact", []).append(new_contact())
            place = len(resource["contact"]) - 1
        contact = resource["contact"][place]
        set_part(contact, part, value)
        if not set(contact) - {"relationship", "id"} and _relationship(contact) is None:
            drop_item(resource, "contact", place)

    def places(resource: Resource) -> list[str]:
        place = _place(resource)
        return [] if place is None else [f"contact[{place}].{member}", *([f"contact[{place}]"] if part == "name" else [])]

    element = f"Patient.contact.where(relationship.coding.code='{EMERGENCY}').{member}"
    return Field(f"emergency_contact_{part}", element, read, write, places)


FIELDS: Final = tuple(_field(part) for part in _PARTS)
