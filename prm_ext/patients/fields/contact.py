"""How to reach a patient: phones, email, address and what they prefer.

https://hl7.org/fhir/R4/datatypes.html#ContactPoint, https://hl7.org/fhir/R4/datatypes.html#Address
"""

from typing import Any, Final

from prm_ext.patients.fields.field import Field, Resource, drop_item, index_of, is_member, objects, set_or_drop, text_or_none

PREFERRED: Final = "urn:prm:StructureDefinition:preferred-contact-method"
UNRANKED: Final = 1.5
"""Phones without a rank stand between the first and the second."""


def _ranked(resource: Resource, systems: tuple[str, ...]) -> list[int]:
    """Return the places of present contact points with a value, the most important first."""
    points = objects(resource, "telecom")
    found = [
        place
        for place, point in enumerate(points)
        if point.get("system") in systems and point.get("use") != "old" and point.get("value")
    ]
    return sorted(found, key=lambda place: (points[place].get("rank", UNRANKED), place))


def _phones(resource: Resource) -> tuple[int | None, int | None]:
    """Return the places of the primary and the secondary phone; one that is ranked second is no primary one."""
    found: list[int | None] = [*_ranked(resource, ("phone", "sms")), None, None]
    first = found[0]
    if first is not None and resource["telecom"][first].get("rank", 1) > 1:
        return None, first
    return found[0], found[1]


def _primary(resource: Resource) -> int | None:
    return _phones(resource)[0]


def _secondary(resource: Resource) -> int | None:
    return _phones(resource)[1]


def _email(resource: Resource) -> int | None:
    return next(iter(_ranked(resource, ("email",))), None)


def _point_field(name: str, system: str, find: Any, rank: int | None, element: str) -> Field:
    def read(resource: Resource) -> str | None:
        place = find(resource)
        return None if place is None else text_or_none(resource["telecom"][place].get("value"))

    def write(resource: Resource, value: str | None) -> None:
        place = find(resource)
        if place is None:
            if value:
                point: dict[str, Any] = {"system": system, "value": value}
                resource.setdefault("telecom", []).append(point if rank is None else point | {"rank": rank})
            return
        if value is None:
            second = _secondary(resource)
            if rank == 1 and second is not None:
                resource["telecom"][second]["rank"] = 2
            drop_item(resource, "telecom", place)
            return
        resource["telecom"][place]["value"] = value

    def places(resource: Resource) -> list[str]:
        place = find(resource)
        return [] if place is None else [f"telecom[{place}]"]

    return Field(name, element, read, write, places)


def _address(resource: Resource) -> int | None:
    """Return the place of the address that the product shows: that of the home, else the first that is not former."""
    addresses = objects(resource, "address")
    home = index_of(addresses, is_member("use", "home"))
    return home if home is not None else index_of(addresses, lambda one: one.get("use") not in ("old", "billing"))


def _address_places(resource: Resource, path: str) -> list[str]:
    place = _address(resource)
    return [] if place is None else [f"address[{place}].{path}"]


def _changed(resource: Resource) -> dict[str, Any]:
    """Return the address to write to; its text would no longer be true."""
    place = _address(resource)
    if place is None:
        resource.setdefault("address", []).append({"use": "home"})
        place = len(resource["address"]) - 1
    address: dict[str, Any] = resource["address"][place]
    address.pop("text", None)
    return address


def _settle(resource: Resource) -> None:
    """Take the address away when only its use is left."""
    place = _address(resource)
    if place is not None and not set(resource["address"][place]) - {"use", "type", "id"}:
        drop_item(resource, "address", place)


def _part_field(name: str, member: str) -> Field:
    def read(resource: Resource) -> str | None:
        place = _address(resource)
        return None if place is None else text_or_none(resource["address"][place].get(member))

    def write(resource: Resource, value: str | None) -> None:
        if read(resource) != value:
            set_or_drop(_changed(resource), member, value)
            _settle(resource)

    return Field(name, f"Patient.address.{member}", read, write, lambda resource: _address_places(resource, member))


def _lines(resource: Resource) -> list[str]:
    place = _address(resource)
    return [] if place is None else [line or "" for line in resource["address"][place].get("line", ())]


def _line_field(name: str, number: int) -> Field:
    def read(resource: Resource) -> str | None:
        lines = _lines(resource)
        return lines[number] or None if number < len(lines) else None

    def write(resource: Resource, value: str | None) -> None:
        if read(resource) == value:
            return
        address = _changed(resource)
        lines = list(address.get("line", ()))
        extensions = address.get("_line")
        if value is None:
            del lines[number]
            if extensions:
                del extensions[number : number + 1]
                set_or_drop(address, "_line", extensions if any(extensions) else None)
        elif number < len(lines):
            lines[number] = value
        else:
            lines.append(value)
        set_or_drop(address, "line", lines)
        _settle(resource)

    return Field(name, f"Patient.address.line[{number}]", read, write, lambda found: _address_places(found, f"line[{number}]"))


def _read_method(resource: Resource) -> str | None:
    place = index_of(objects(resource, "extension"), is_member("url", PREFERRED))
    return None if place is None else text_or_none(resource["extension"][place].get("valueCode"))


def _write_method(resource: Resource, value: str | None) -> None:
    place = index_of(objects(resource, "extension"), is_member("url", PREFERRED))
    if value is None:
        if place is not None:
            drop_item(resource, "extension", place)
    elif place is None:
        resource.setdefault("extension", []).append({"url": PREFERRED, "valueCode": value})
    else:
        resource["extension"][place]["valueCode"] = value


FIELDS: Final = (
    _point_field("primary_phone", "phone", _primary, 1, "Patient.telecom.where(system='phone' and rank=1).value"),
    _point_field("secondary_phone", "phone", _secondary, 2, "Patient.telecom.where(system='phone' and rank=2).value"),
    _point_field("email", "email", _email, None, "Patient.telecom.where(system='email').value"),
    _line_field("address_line1", 0),
    _line_field("address_line2", 1),
    _part_field("city", "city"),
    _part_field("state", "state"),
    _part_field("zip_code", "postalCode"),
    Field("preferred_contact_method", f"Patient.extension('{PREFERRED}').valueCode", _read_method, _write_method),
)
