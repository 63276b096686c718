"""Values of a resource with their place in it."""

from functools import lru_cache
from typing import Any

from fhir_server.fhir.definitions import TYPES, Element, Type

RESOURCE = "Resource"


class Node:
    """One element of a resource: where it stands, and of which R4 type it is.

    A primitive is one node, though JSON splits it into `birthDate` and `_birthDate`.
    """

    __slots__ = ("element", "index", "name", "owner", "parent", "type", "value")

    def __init__(
        self,
        value: Any,
        type_: str,
        parent: "Node | None" = None,
        owner: dict[str, Any] | None = None,
        name: str = "",
        index: int | None = None,
        element: Element | None = None,
    ) -> None:
        self.value = value
        """The JSON value; None for a primitive that has only extensions or an id."""
        self.type = str(value["resourceType"]) if isinstance(value, dict) and "resourceType" in value else type_
        self.parent = parent
        self.owner = owner
        """The JSON object that holds the element."""
        self.name = name
        """The name of the member of `owner`."""
        self.index = index
        """The place in an array, or None where the member is none."""
        self.element = element

    @property
    def extra(self) -> dict[str, Any]:
        """The id and the extensions of a primitive: what JSON keeps in the member with the underscore."""
        found = self.owner.get("_" + self.name) if self.owner is not None else None
        if isinstance(found, list) and self.index is not None:
            found = found[self.index] if self.index < len(found) else None
        return found if isinstance(found, dict) else {}

    @property
    def content(self) -> dict[str, Any]:
        """The JSON object that holds what is below the element."""
        return self.value if isinstance(self.value, dict) else self.extra

    @property
    def path(self) -> str:
        """The FHIRPath of the element, such as `Patient.name[0].given[1]`."""
        if self.parent is None:
            return self.type
        name = self.element.choice or self.name if self.element is not None else self.name
        return f"{self.parent.path}.{name}" + (f"[{self.index}]" if self.index is not None else "")

    def definition(self) -> Type | None:
        """Return the type of the element, if R4 knows it."""
        return TYPES.get(self.type)

    def child(self, name: str) -> "list[Node] | None":
        """Return the elements below of that FHIRPath name (`deceased` finds `deceasedBoolean`); None: there can be none."""
        elements = named(self.type, name)
        if not elements:
            return None
        content = self.content
        return [node for element in elements for node in self._nodes(content, element)]

    def children(self) -> "list[Node]":
        """Return all elements directly below."""
        definition = self.definition()
        content = self.content
        if definition is None or not content:
            return []
        names = dict.fromkeys(name.removeprefix("_") for name in content)
        found = (definition.elements.get(name) for name in names)
        return [node for element in found if element is not None for node in self._nodes(content, element)]

    def _nodes(self, content: dict[str, Any], element: Element) -> "list[Node]":
        name = element.name
        value = content.get(name)
        extra = content.get("_" + name)
        if value is None and extra is None:
            return []
        if not isinstance(value, list) and not isinstance(extra, list):
            return [Node(value, element.type, self, content, name, None, element)]
        values = value if isinstance(value, list) else []
        extras = extra if isinstance(extra, list) else []
        return [
            Node(values[index] if index < len(values) else None, element.type, self, content, name, index, element)
            for index in range(max(len(values), len(extras)))
        ]


def root(resource: dict[str, Any]) -> Node:
    """Return the node of a whole resource."""
    return Node(resource, RESOURCE)


@lru_cache(maxsize=8192)
def named(type_: str, name: str) -> tuple[Element, ...]:
    """Return the elements of a type that have a FHIRPath name, in which `value` stands for all of `value[x]`."""
    definition = TYPES.get(type_)
    if definition is None:
        return ()
    exact = definition.elements.get(name)
    if exact is not None:
        return (exact,)
    return tuple(element for element in definition.elements.values() if element.choice == name)


@lru_cache(maxsize=8192)
def is_a(type_: str, ancestor: str) -> bool:
    """Tell whether a type is another one or specialises it."""
    name = type_
    while name:
        if name == ancestor:
            return True
        definition = TYPES.get(name)
        name = (
            ("BackboneElement" if definition.kind == "backbone" and not definition.base else definition.base)
            if definition
            else ""
        )
    return False
