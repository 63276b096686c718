"""JSON Patch, RFC 6902, on decoded JSON: https://hl7.org/fhir/R4/http.html#patch.

A malformed patch document is a 400, an operation that can not be carried out a 422; both name the operation, counted
from 0, and its path. Values are compared as JSON values: `1` is not `true`, `1.0` equals `1`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fhir_server.fhir.outcome import FhirError, bad_request, unprocessable

MAX_OPERATIONS = 1000
MAX_COPIED = 16_000_000
"""How much one patch may copy, in characters, before it counts as an attempt to exhaust memory."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_BAD_ESCAPE = re.compile(r"~(?![01])")
_OVERHEAD = 8

_NEEDS: dict[str, tuple[str, ...]] = {
    "add": ("path", "value"),
    "remove": ("path",),
    "replace": ("path", "value"),
    "move": ("path", "from"),
    "copy": ("path", "from"),
    "test": ("path", "value"),
}


@dataclass(slots=True)
class _State:
    document: Any
    max_depth: int
    copied: int = 0
    emptied: dict[int, Any] = field(default_factory=dict)
    """Arrays and objects that lost their last item; kept here so that their identity stays theirs."""


@dataclass(frozen=True, slots=True)
class _Operation:
    """One operation, and how errors name it."""

    number: int
    op: str
    path: tuple[str, ...]
    from_: tuple[str, ...]
    value: Any
    text: str

    def failed(self, why: str, code: str = "processing") -> FhirError:
        return unprocessable(f"JSON Patch operation {self.number} ({self.op} {self.text}): {why}", code=code)


def apply(document: Any, operations: Any, *, max_depth: int = 64) -> Any:
    """Return what `operations` make of `document`, which is left as it is.

    Arrays and objects that an operation leaves empty, and that are still empty at the end, are taken out: FHIR knows
    no empty ones (https://hl7.org/fhir/R4/json.html#array).
    """
    parsed = _parse(operations)
    state = _State(clone(document), max_depth)
    for operation in parsed:
        _APPLY[operation.op](state, operation)
    return _without_emptied(state.document, state.emptied) if state.emptied else state.document


def clone(value: Any) -> Any:
    """Return a copy of a JSON value that shares no array or object with it."""
    if isinstance(value, dict):
        return {name: clone(member) for name, member in value.items()}
    if isinstance(value, list):
        return [clone(item) for item in value]
    return value


def equal(left: Any, right: Any) -> bool:
    """Tell whether two JSON values are equal as RFC 6902 section 4.6 defines it."""
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(equal(left[name], right[name]) for name in left)
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | Decimal | float) and isinstance(right, int | Decimal | float):
        return left == right
    return type(left) is type(right) and bool(left == right)


def _parse(operations: Any) -> list[_Operation]:
    if not isinstance(operations, list):
        raise bad_request('A JSON Patch is an array of operations, such as [{"op": "add", "path": "/active", "value": true}].')
    if len(operations) > MAX_OPERATIONS:
        raise bad_request(f"A JSON Patch may hold {MAX_OPERATIONS} operations, not {len(operations)}.", code="too-costly")
    return [_parse_operation(number, operation) for number, operation in enumerate(operations)]


def _parse_operation(number: int, operation: Any) -> _Operation:
    where = f"JSON Patch operation {number}"
    if not isinstance(operation, dict):
        raise bad_request(f"{where} is not an object with op and path.")
    op = operation.get("op")
    if not isinstance(op, str) or op not in _NEEDS:
        raise bad_request(f"{where}: op is {_quote(op)}; it must be one of {', '.join(_NEEDS)}.")
    missing = [name for name in _NEEDS[op] if name not in operation]
    if missing:
        raise bad_request(f"{where} ({op}) lacks {' and '.join(missing)}.", code="required")
    pointers = {
        name: parse_pointer(operation[name], f"{where} ({op}): {name}") for name in ("path", "from") if name in _NEEDS[op]
    }
    text = " to ".join(str(operation[name]) or '""' for name in ("from", "path") if name in pointers)
    return _Operation(number, op, pointers["path"], pointers.get("from", ()), operation.get("value"), text[:200])


def _quote(value: Any) -> str:
    return repr(value)[:60] if value is not None else "missing"


def parse_pointer(pointer: Any, what: str) -> tuple[str, ...]:
    """Return the reference tokens of a JSON Pointer (RFC 6901)."""
    if not isinstance(pointer, str):
        raise bad_request(f"{what} is {_quote(pointer)}; it must be a JSON Pointer such as /name/0/family.")
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise bad_request(f"{what} is {_quote(pointer)}; a JSON Pointer begins with a slash: /name/0/family.")
    if _BAD_ESCAPE.search(pointer):
        raise bad_request(f"{what} is {_quote(pointer)}; in a JSON Pointer ~ is written ~0 and / is written ~1.")
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in pointer[1:].split("/"))


def _add(state: _State, operation: _Operation) -> None:
    _put(state, operation, _copied(state, operation, operation.value))


def _remove(state: _State, operation: _Operation) -> None:
    _take(state, operation, operation.path)


def _replace(state: _State, operation: _Operation) -> None:
    value = _copied(state, operation, operation.value)
    if not operation.path:
        state.document = value
        return
    container, key = _existing(state, operation, operation.path)
    container[key] = value


def _move(state: _State, operation: _Operation) -> None:
    if operation.path == operation.from_:
        _lookup(state, operation, operation.from_)
        return
    if operation.path[: len(operation.from_)] == operation.from_:
        raise operation.failed("a value can not be moved into itself.")
    value = _take(state, operation, operation.from_)
    _measure(state, operation, value)
    _put(state, operation, value)


def _copy(state: _State, operation: _Operation) -> None:
    _put(state, operation, _copied(state, operation, _lookup(state, operation, operation.from_)))


def _test(state: _State, operation: _Operation) -> None:
    if not equal(_lookup(state, operation, operation.path), operation.value):
        raise operation.failed("the value there is not equal to the one that the test states.", code="invariant")


_APPLY: dict[str, Callable[[_State, _Operation], None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _copied(state: _State, operation: _Operation, value: Any) -> Any:
    state.copied += _measure(state, operation, value)
    if state.copied > MAX_COPIED:
        raise operation.failed(f"the patch copies more than {MAX_COPIED} characters.", code="too-costly")
    return clone(value)


def _measure(state: _State, operation: _Operation, value: Any) -> int:
    """Return the size of a value; refuse it where the document would become too deep by it."""
    size = 0
    level = [value]
    depth = len(operation.path)
    while level:
        size += _OVERHEAD * len(level)
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
                size += sum(map(len, item))
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str):
                size += len(item)
        level = below
        depth += 1
        if depth > state.max_depth + 1:
            raise operation.failed(f"the result would be nested deeper than {state.max_depth} levels.", code="too-costly")
    return size


def _lookup(state: _State, operation: _Operation, path: tuple[str, ...]) -> Any:
    value = state.document
    for depth, key in enumerate(path):
        value = _step(operation, value, key, path[:depth])
    return value


def _step(operation: _Operation, container: Any, key: str, before: tuple[str, ...]) -> Any:
    return container[_key(operation, container, key, before)]


def _key(operation: _Operation, container: Any, key: str, before: tuple[str, ...]) -> Any:
    """Return the key of an item that exists in the container."""
    if isinstance(container, dict):
        if key not in container:
            raise operation.failed(f"{_pointer(before)} has no member {_quote(key)}.")
        return key
    if isinstance(container, list):
        index = _index(operation, key, before)
        if index >= len(container):
            raise operation.failed(f"{_pointer(before)} has {len(container)} items; there is none at {key}.")
        return index
    raise operation.failed(f"{_pointer(before)} is neither an object nor an array; there is nothing below it.")


def _index(operation: _Operation, key: str, before: tuple[str, ...]) -> int:
    if key == "-":
        raise operation.failed(f"- is the place after the last item of {_pointer(before)}; there is nothing yet.")
    if not _INDEX.fullmatch(key):
        raise operation.failed(f"{_quote(key)} is no index of the array {_pointer(before)}; it must be 0, 1, 2, and so on.")
    return int(key)


def _pointer(path: tuple[str, ...]) -> str:
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)[:200] or "the resource"


def _existing(state: _State, operation: _Operation, path: tuple[str, ...]) -> tuple[Any, Any]:
    container = _lookup(state, operation, path[:-1])
    return container, _key(operation, container, path[-1], path[:-1])


def _take(state: _State, operation: _Operation, path: tuple[str, ...]) -> Any:
    if not path:
        raise operation.failed("the whole resource can not be removed by a patch; use DELETE.")
    container, key = _existing(state, operation, path)
    value = container.pop(key)
    if not container:
        state.emptied[id(container)] = container
    return value


def _put(state: _State, operation: _Operation, value: Any) -> None:
    if not operation.path:
        state.document = value
        return
    *before, key = operation.path
    container = _lookup(state, operation, tuple(before))
    if isinstance(container, dict):
        container[key] = value
    elif isinstance(container, list):
        index = len(container) if key == "-" else _index(operation, key, tuple(before))
        if index > len(container):
            raise operation.failed(f"{_pointer(tuple(before))} has {len(container)} items; nothing can be put at {key}.")
        container.insert(index, value)
    else:
        raise operation.failed(f"{_pointer(tuple(before))} is neither an object nor an array; nothing can be put below it.")


def _without_emptied(value: Any, emptied: dict[int, Any]) -> Any:
    """Take out of `value` what operations have emptied, and what that empties in turn."""
    if isinstance(value, dict):
        for name, member in list(value.items()):
            if _is_emptied(member, emptied, primitives=name.startswith("_")):
                del value[name]
                if not value:
                    emptied[id(value)] = value
    elif isinstance(value, list):
        value[:] = [item for item in value if not _is_emptied(item, emptied)]
        if not value:
            emptied[id(value)] = value
    return value


def _is_emptied(value: Any, emptied: dict[int, Any], *, primitives: bool = False) -> bool:
    """Clean `value`, and tell whether nothing is left of it.

    In the array of the extensions of a repeating primitive (`_given`) an item keeps its place, as null.
    """
    if primitives and isinstance(value, list):
        value[:] = [None if _is_emptied(item, emptied) else item for item in value]
        return all(item is None for item in value)
    was_empty = not value
    _without_emptied(value, emptied)
    return isinstance(value, dict | list) and not value and (not was_empty or id(value) in emptied)
