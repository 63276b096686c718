"""What a flat field is, and how parts of a resource are reached.

Reading never changes a resource, and writing changes only what the field stands for: what the product does not know
stays, also inside of the elements that it does know.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Resource = dict[str, Any]
Read = Callable[[Resource], Any]
Write = Callable[[Resource, Any], None]


@dataclass(frozen=True, slots=True)
class Field:
    """A flat field."""

    name: str
    element: str
    """The FHIRPath of the element, as documentation: `Patient.telecom.where(system='phone')`."""
    read: Read
    """Returns the flat value, None where the resource has none."""
    write: Write | None = None
    """Sets the value, or removes it (None)."""
    places: Callable[[Resource], Iterable[str]] = lambda _: ()
    """Where the value stands in a resource: `telecom[1]`, most exact first. Errors there are errors of this field."""


def text_or_none(value: Any) -> str | None:
    """Return a text that is not empty."""
    return value if isinstance(value, str) and value else None


def objects(resource: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the objects of a list element; none where it is missing. Not for writing."""
    found = resource.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def index_of(items: Iterable[Mapping[str, Any]], wanted: Callable[[Mapping[str, Any]], bool]) -> int | None:
    """Return the place of the first item that is wanted."""
    return next((place for place, item in enumerate(items) if wanted(item)), None)


def is_member(name: str, value: Any) -> Callable[[Mapping[str, Any]], bool]:
    """Return whether an object's member has a value."""
    return lambda item: item.get(name) == value


def set_or_drop(target: dict[str, Any], name: str, value: Any) -> None:
    """Set a member, or take it away where the value is none or empty."""
    if value in (None, "", [], {}):
        target.pop(name, None)
    else:
        target[name] = value


def drop_item(resource: dict[str, Any], name: str, place: int) -> None:
    """Take an item out of a list, and the list away when it was the last."""
    items = resource[name]
    del items[place]
    if not items:
        del resource[name]


def codings(concept: Any) -> list[dict[str, Any]]:
    """Return the codings of a CodeableConcept."""
    return objects(concept, "coding") if isinstance(concept, Mapping) else []


def has_code(concept: Any, system: str, code: str) -> bool:
    """Tell whether a CodeableConcept has a code."""
    return any(coding.get("system") == system and coding.get("code") == code for coding in codings(concept))
