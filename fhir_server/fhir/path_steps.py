"""The closures that a compiled path is made of.

A getter takes the node that the expression is applied to and the resource around it, and returns the values found, as
a list or tuple. Arrays of primitives may hold None (where only an extension stands); getters pass it on.
"""

from collections.abc import Callable, Sequence
from typing import Any

Getter = Callable[[Any, Any], Sequence[Any]]
Test = Callable[[Any, Any], bool]


def identity(node: Any, _root: Any) -> Sequence[Any]:
    """Return the node itself."""
    return (node,)


def root(_node: Any, root: Any) -> Sequence[Any]:
    """Return the resource around the node."""
    return (root,)


def constant(value: Any) -> Getter:
    """Return a getter of one value."""
    found = (value,)
    return lambda _node, _root: found


def child(base: Getter, name: str, *, many: bool) -> Getter:
    """Step to the member `name`, an array where `many`."""
    if base is identity:
        return _own_array(name) if many else _own_value(name)
    return _arrays(base, name) if many else _values(base, name)


def _own_array(name: str) -> Getter:
    return lambda node, _root: node.get(name, ())


def _own_value(name: str) -> Getter:
    def get(node: Any, _root: Any) -> Sequence[Any]:
        value = node.get(name)
        return () if value is None else (value,)

    return get


def _arrays(base: Getter, name: str) -> Getter:
    def get(node: Any, root: Any) -> Sequence[Any]:
        found: list[Any] = []
        for item in base(node, root):
            found.extend(item.get(name, ()))
        return found

    return get


def _values(base: Getter, name: str) -> Getter:
    def get(node: Any, root: Any) -> Sequence[Any]:
        return [value for item in base(node, root) if (value := item.get(name)) is not None]

    return get


def filtered(base: Getter, test: Test) -> Getter:
    """Keep the values that pass."""
    return lambda node, root: [item for item in base(node, root) if item is not None and test(item, root)]


def sliced(base: Getter, start: int | None, stop: int | None) -> Getter:
    """Keep a part of the collection."""
    return lambda node, root: base(node, root)[start:stop]


def equals(name: str, value: Any) -> Test:
    """Test a member of the node against a literal."""
    return lambda node, _root: node.get(name) == value


def is_true(getters: Sequence[Getter]) -> Test:
    """Test whether a boolean expression gives true."""
    if len(getters) == 1:
        get = getters[0]
        return lambda node, root: any(value is True for value in get(node, root))
    return lambda node, root: any(value is True for get in getters for value in get(node, root))


def collect(getters: Sequence[Getter], node: Any, root: Any) -> list[Any]:
    """Return what all of them find."""
    return [value for get in getters for value in get(node, root) if value is not None]


def exists(getters: Sequence[Getter], *, wanted: bool) -> Getter:
    """Give true when there is any value (or none, when not `wanted`), else false."""
    return lambda node, root: (bool(collect(getters, node, root)) is wanted,)


def negated(getters: Sequence[Getter]) -> Getter:
    """Give the opposite of a boolean; nothing for nothing."""
    return lambda node, root: [not value for value in collect(getters, node, root)]


def compared(left: Sequence[Getter], right: Sequence[Getter], *, equal: bool) -> Getter:
    """Compare two collections; nothing where either is empty."""

    def get(node: Any, root: Any) -> Sequence[Any]:
        one, other = collect(left, node, root), collect(right, node, root)
        if not one or not other:
            return ()
        same = one == other and all(isinstance(a, bool) is isinstance(b, bool) for a, b in zip(one, other, strict=True))
        return (same is equal,)

    return get


def connected(left: Sequence[Getter], right: Sequence[Getter], *, decisive: bool) -> Getter:
    """Combine two booleans by `and` (`decisive` is False) or `or` (True), in FHIRPath's three-valued logic."""

    def get(node: Any, root: Any) -> Sequence[Any]:
        one, other = collect(left, node, root), collect(right, node, root)
        if decisive in one or decisive in other:
            return (decisive,)
        return (not decisive,) if one and other else ()

    return get


def with_url(url: str) -> Test:
    """Test whether an extension is the one of that url."""
    return lambda node, _root: node.get("url") == url


def primitive_extensions(parent: Getter, name: str) -> Getter:
    """Return the extensions of a primitive, which stand beside it under `_name`."""
    beside = f"_{name}"

    def get(node: Any, root: Any) -> Sequence[Any]:
        found: list[Any] = []
        for item in parent(node, root):
            more = item.get(beside)
            for one in more if isinstance(more, list) else (more,):
                if one:
                    found.extend(one.get("extension", ()))
        return found

    return get


def of_resource_type(type_: str) -> Test:
    """Test whether a contained or bundled resource is of that type."""
    return lambda node, _root: node.get("resourceType") == type_


def points_to(type_: str) -> Test:
    """Test whether a Reference (or canonical) is one to a resource of that type, as far as it can be told from it."""
    start, inside = f"{type_}/", f"/{type_}/"

    def test(node: Any, root: Any) -> bool:
        text = node if isinstance(node, str) else node.get("reference")
        if text is None:
            return bool(node.get("type") == type_)
        if text.startswith(start) or inside in text:
            return True
        if text.startswith("#"):
            return any(item.get("id") == text[1:] and item.get("resourceType") == type_ for item in root.get("contained", ()))
        return not isinstance(node, str) and node.get("type") == type_

    return test
