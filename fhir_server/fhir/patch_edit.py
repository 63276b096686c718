"""Changing a resource in place, one element at a time, both halves of a primitive together.

https://hl7.org/fhir/R4/json.html#primitive: the values of a repeating primitive (`given`) and their extensions
(`_given`) are two arrays whose items belong together; null keeps a place.
"""

from dataclasses import dataclass
from typing import Any

from fhir_server.fhir.definitions import Element
from fhir_server.fhir.fhirpath import Node

Value = tuple[Any, dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Slot:
    """Where an element stands, or would stand: in which JSON object, under which definition."""

    parent: Node
    element: Element
    alternatives: tuple[Element, ...]
    """All forms of a choice; else the element alone."""

    @property
    def repeats(self) -> bool:
        """Whether JSON holds it as an array."""
        return self.element.max is None or self.element.max > 1

    @property
    def content(self) -> dict[str, Any]:
        """The JSON object that holds it."""
        return self.parent.content

    def present(self) -> bool:
        """Tell whether the element, or another form of the choice, is there."""
        return any(name in self.content or "_" + name in self.content for name in (form.name for form in self.alternatives))

    def count(self) -> int:
        """Return the number of items."""
        lists = (self.content.get(name) for name in (self.element.name, "_" + self.element.name))
        return max((len(items) for items in lists if isinstance(items, list)), default=0)


def slot_of(parent: Node, element: Element, alternatives: tuple[Element, ...]) -> Slot:
    """Return the place of an element below `parent`."""
    return Slot(parent, element, alternatives)


def insert_at(slot: Slot, index: int, value: Value) -> None:
    """Put a value into a list at `index`, or set an element that is not there."""
    content = _writable(slot.parent)
    for name, item in zip((slot.element.name, "_" + slot.element.name), value, strict=True):
        if not slot.repeats:
            if item is not None:
                content[name] = item
        elif item is not None or name in content:
            items = content.setdefault(name, [])
            items.extend([None] * (max(slot.count() - 1, index) - len(items)))
            items.insert(index, item)
    _even(content, slot.element.name)


def put(node: Node, slot: Slot, value: Value) -> None:
    """Replace an element, perhaps by another form of the choice, at its place."""
    content = node.owner
    if content is None:
        raise AssertionError
    for name, item in zip((slot.element.name, "_" + slot.element.name), value, strict=True):
        old = ("_" if name.startswith("_") else "") + node.name
        if node.index is None:
            _rename(content, old, name, item)
        elif item is not None or old in content:
            items = content.setdefault(old, [])
            items.extend([None] * (node.index + 1 - len(items)))
            items[node.index] = item
    _even(content, slot.element.name)


def remove(node: Node) -> None:
    """Take an element out, and every element that becomes empty by it."""
    content = node.owner
    if content is None:
        return
    for name in (node.name, "_" + node.name):
        if node.index is None:
            content.pop(name, None)
        elif isinstance(content.get(name), list) and node.index < len(content[name]):
            del content[name][node.index]
    _even(content, node.name)
    parent = node.parent
    if parent is None or parent.owner is None or any(name != "resourceType" for name in content):
        return
    if parent.value is content or parent.value is None:
        remove(parent)
    else:
        _drop_extra(parent)


def move_within(slot: Slot, source: int, destination: int) -> None:
    """Move an item of a list to another place of it."""
    count = slot.count()
    for name in (slot.element.name, "_" + slot.element.name):
        items = slot.content.get(name)
        if isinstance(items, list):
            items.extend([None] * (count - len(items)))
            items.insert(destination, items.pop(source))
    _even(slot.content, slot.element.name)


def _writable(parent: Node) -> dict[str, Any]:
    """Return the JSON object of an element; for a primitive that has none yet, make it."""
    if isinstance(parent.value, dict) or parent.owner is None:
        return parent.content
    if not parent.extra:
        name = "_" + parent.name
        if parent.index is None:
            parent.owner[name] = {}
        else:
            items = parent.owner.setdefault(name, [])
            items.extend([None] * (parent.index + 1 - len(items)))
            items[parent.index] = {}
    return parent.extra


def _drop_extra(parent: Node) -> None:
    """Forget the empty `_name` of a primitive that still has a value."""
    name = "_" + parent.name
    if parent.owner is None:
        return
    if parent.index is None:
        del parent.owner[name]
    else:
        parent.owner[name][parent.index] = None
        _even(parent.owner, parent.name)


def _even(content: dict[str, Any], name: str) -> None:
    """Keep the two arrays of a primitive equally long, and drop what holds nothing."""
    values, extras = content.get(name), content.get("_" + name)
    for member, items in ((name, values), ("_" + name, extras)):
        if isinstance(items, list) and all(item is None for item in items):
            del content[member]
    if isinstance(values, list) and isinstance(extras, list) and name in content and "_" + name in content:
        length = max(len(values), len(extras))
        for items in (values, extras):
            items.extend([None] * (length - len(items)))


def _rename(content: dict[str, Any], old: str, new: str, item: Any) -> None:
    """Set `new` where `old` stood, which keeps the order of the members."""
    if old not in content or old == new:
        if item is not None:
            content[new] = item
        else:
            content.pop(old, None)
        return
    members = list(content.items())
    content.clear()
    for name, member in members:
        if name != old:
            content[name] = member
        elif item is not None:
            content[new] = item
