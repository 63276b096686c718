"""Insurance: the Coverages of a patient, https://hl7.org/fhir/R4/coverage.html."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final

from prm_ext.patients.fields.field import Resource, drop_item, has_code, index_of, objects, set_or_drop, text_or_none

CLASSES: Final = "http://terminology.hl7.org/CodeSystem/coverage-class"
RELATIONSHIPS: Final = "http://terminology.hl7.org/CodeSystem/subscriber-relationship"


def to_flat(coverage: Resource) -> dict[str, Any]:
    """Return the flat values of a Coverage."""
    period = coverage.get("period", {})
    return {
        "id": coverage.get("id"),
        "payer_name": _payer(coverage),
        "member_id": text_or_none(coverage.get("subscriberId")),
        "group_number": _class(coverage, "group", "value"),
        "plan_name": _class(coverage, "plan", "name") or _class(coverage, "plan", "value"),
        "relationship": _relationship(coverage),
        "effective_date": text_or_none(period.get("start")),
        "termination_date": text_or_none(period.get("end")),
        "status": text_or_none(coverage.get("status")),
    }


def new(patient: str, values: dict[str, Any]) -> Resource:
    """Return a Coverage of flat values; `patient` is a reference."""
    empty: Resource = {"resourceType": "Coverage", "status": "active", "beneficiary": {"reference": patient}}
    return changed(empty, values)


def changed(coverage: Resource, values: dict[str, Any]) -> Resource:
    """Return the Coverage with new values; what the product does not know stays."""
    found = copy.deepcopy(coverage)
    present = to_flat(found)
    for name, value in values.items():
        if name in _WRITERS and present[name] != value:
            _WRITERS[name](found, value)
    return found


def _payer(coverage: Resource) -> str | None:
    first = next(iter(objects(coverage, "payor")), {})
    identifier = first.get("identifier")
    return (
        text_or_none(first.get("display"))
        or text_or_none(first.get("reference"))
        or (text_or_none(identifier.get("value")) if isinstance(identifier, dict) else None)
    )


def _write_payer(coverage: Resource, value: str | None) -> None:
    if objects(coverage, "payor"):
        drop_item(coverage, "payor", 0)
    if value is not None:
        coverage.setdefault("payor", []).insert(0, {"display": value})


def _class_place(coverage: Resource, kind: str) -> int | None:
    return index_of(objects(coverage, "class"), lambda one: has_code(one.get("type"), CLASSES, kind))


def _class(coverage: Resource, kind: str, member: str) -> str | None:
    place = _class_place(coverage, kind)
    return None if place is None else text_or_none(coverage["class"][place].get(member))


def _write_class(coverage: Resource, kind: str, value: str | None, name: str | None = None) -> None:
    place = _class_place(coverage, kind)
    if place is not None:
        drop_item(coverage, "class", place)
    if value is not None:
        item: dict[str, Any] = {"type": {"coding": [{"system": CLASSES, "code": kind}]}, "value": value}
        set_or_drop(item, "name", name)
        coverage.setdefault("class", []).append(item)


def _relationship(coverage: Resource) -> str | None:
    codings = objects(coverage.get("relationship", {}), "coding")
    return next((one["code"] for one in codings if one.get("code")), None)


def _write_relationship(coverage: Resource, value: str | None) -> None:
    coded = {"coding": [{"system": RELATIONSHIPS, "code": value}]} if value else None
    set_or_drop(coverage, "relationship", coded)


def _write_period(coverage: Resource, member: str, value: str | None) -> None:
    period = dict(coverage.get("period", {}))
    set_or_drop(period, member, value)
    set_or_drop(coverage, "period", period)


_WRITERS: Final[Mapping[str, Callable[[Resource, str | None], None]]] = {
    "payer_name": _write_payer,
    "member_id": lambda coverage, value: set_or_drop(coverage, "subscriberId", value),
    "group_number": lambda coverage, value: _write_class(coverage, "group", value),
    "plan_name": lambda coverage, value: _write_class(coverage, "plan", value, value),
    "relationship": _write_relationship,
    "effective_date": lambda coverage, value: _write_period(coverage, "start", value),
    "termination_date": lambda coverage, value: _write_period(coverage, "end", value),
    "status": lambda coverage, value: set_or_drop(coverage, "status", value),
}
