"""How resources refer to bytes that are kept beside them.

https://hl7.org/fhir/R4/json.html#primitive (extensions of a primitive element that has no value)

In place of the data stands `"_data": {"extension": [{"url": "urn:fhir-server:blob", "valueString": "<sha256>"}]}`, in Binary and
in Attachment, so that what is stored is FHIR.
"""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final

from fhir_server.exchange import Resource
from fhir_server.fhir.codec import encode
from fhir_server.fhir.definitions import TYPES
from fhir_server.fhir.outcome import bad_request

BLOB: Final = "urn:fhir-server:blob"
SHA256: Final = "urn:fhir-server:sha256"
"""Of an extension of Attachment, and of identifiers of content: its SHA-256, hexadecimal."""
GRANT: Final = "urn:fhir-server:blob-grant"
"""Beside it in what comes in: says that whoever sends it has sent the bytes."""
ADDED: Final = "urn:fhir-server:blob-added"
"""Beside it: the names of members that the server added when it moved the data out."""
LAYOUT: Final = "urn:fhir-server:blob-layout"
"""Beside it: how the base64 was broken into lines."""
_OURS: Final = frozenset({BLOB, GRANT, ADDED, LAYOUT})
_SPACE: Final = re.compile(r"\s+")
Node = dict[str, Any]


def reference(sha256: str, granted: str = "") -> Node:
    """Return the `_data` that refers to bytes."""
    found = [{"url": BLOB, "valueString": sha256}]
    return {"extension": [*found, {"url": GRANT, "valueString": granted}] if granted else found}


def digest_of(node: Node) -> str:
    """Return the SHA-256 of the bytes that an Attachment or a Binary refers to; "" where there are none."""
    return _value(node, BLOB)


def grant_of(node: Node) -> str:
    """Return the grant beside it."""
    return _value(node, GRANT)


def _value(node: Node, url: str) -> str:
    beside = node.get("_data")
    for extension in beside.get("extension", ()) if isinstance(beside, dict) else ():
        if extension.get("url") == url:
            return str(extension.get("valueString", ""))
    return ""


def replaced(node: Node, sha256: str, *, added: Iterable[str] = (), layout: str = "") -> None:
    """Let a node refer to bytes, in place of data, of a grant, and of what it referred to before.

    `added` are the members that this server gave it, `layout` is how its base64 was written (`layout_of`).
    """
    beside = node.get("_data") or {}
    extensions = [*(one for one in beside.get("extension", ()) if one.get("url") not in _OURS), *reference(sha256)["extension"]]
    extensions += [{"url": ADDED, "valueString": " ".join(added)}] if added else []
    extensions += [{"url": LAYOUT, "valueString": layout}] if layout else []
    members = [(name, value) for name, value in node.items() if not (name == "_data" and "data" in node)]
    place = next((number for number, (name, _) in enumerate(members) if name in ("data", "_data")), len(members))
    members[place : place + 1] = [("_data", {**beside, "extension": extensions})]
    node.clear()
    node.update(members)


def _given_back(node: Node, text: str) -> None:
    """Put the data into a node as it was before `replaced`."""
    beside = node["_data"]
    notes = {one["url"]: str(one.get("valueString", "")) for one in beside["extension"] if one.get("url") in _OURS}
    rest = [one for one in beside["extension"] if one.get("url") not in _OURS]
    left = {name: value for name, value in beside.items() if name != "extension"} | ({"extension": rest} if rest else {})
    added = notes.get(ADDED, "").split()
    members: list[tuple[str, Any]] = []
    for name, value in node.items():
        if name == "_data":
            members += [("data", laid_out(text, notes.get(LAYOUT, ""))), *([("_data", left)] if left else [])]
        elif name not in added:
            members.append((name, value))
    node.clear()
    node.update(members)


def layout_of(text: str) -> str | None:
    """Return how base64 is broken into lines, such as `76 0d0a`; "" where it is not, None where it is in no such way."""
    bare = "".join(text.split())
    if text == bare:
        return ""
    first = _SPACE.search(text)
    if first is None:
        raise AssertionError
    found = f"{first.start()} {first[0].encode().hex()}"
    for layout in (found, found + " end"):
        if laid_out(bare, layout) == text:
            return layout
    return None


def laid_out(bare: str, layout: str) -> str:
    """Return base64 broken into lines."""
    if not layout:
        return bare
    width, separator, *end = layout.split()
    mark, step = bytes.fromhex(separator).decode(), max(1, int(width))
    return mark.join(bare[start : start + step] for start in range(0, len(bare), step)) + (mark if end else "")


def may_concern(resource: Resource, limit: int) -> bool:
    """Tell whether `concerns` has to be asked: it takes three times as long, and every write asks this."""
    json = encode(resource)
    return len(json) > limit or b'"_data":' in json


def concerns(node: Node, limit: int) -> bool:
    """Tell whether a resource may hold more than `limit` letters of data, or refers to bytes."""
    for name, value in node.items():
        kind = type(value)
        if kind is str:
            if name == "data" and len(value) > limit:
                return True
        elif kind is dict:
            if name == "_data" or concerns(value, limit):
                return True
        elif kind is list:
            for item in value:
                if type(item) is not dict:
                    break
                if concerns(item, limit):
                    return True
    return False


def holders(resource: Resource) -> Iterator[tuple[Node, str]]:
    """Yield every Attachment and Binary of a resource, with its FHIRPath."""
    type_ = resource.get("resourceType", "")
    yield from _holders(resource, type_, type_)


def _holders(node: Node, type_: str, path: str) -> Iterator[tuple[Node, str]]:
    if type_ in ("Attachment", "Binary"):
        yield node, path
    described = TYPES.get(type_)
    for name, value in node.items():
        if not isinstance(value, dict | list):
            continue
        element = described.elements.get(name) if described else None
        inner = element.type if element else ""
        items = value if isinstance(value, list) else [value]
        for number, item in enumerate(items):
            if isinstance(item, dict):
                where = f"{path}.{name}[{number}]" if isinstance(value, list) else f"{path}.{name}"
                yield from _holders(item, item.get("resourceType", inner) if inner in ("Resource", "") else inner, where)


def digests(resource: Resource) -> frozenset[str]:
    """Return the SHA-256 of all bytes that a resource refers to."""
    if not may_concern(resource, 1 << 62) or not concerns(resource, 1 << 62):
        return frozenset()
    return frozenset(found for node, _ in holders(resource) if (found := digest_of(node)))


async def inlined(resource: Resource, whole: Callable[[str], Awaitable[bytes]]) -> Resource:
    """Return a resource with the data in it; `whole` returns the bytes of a SHA-256."""
    if not concerns(resource, 1 << 62):
        return resource
    found: Resource = copied(resource)
    for node, _ in holders(found):
        if sha256 := digest_of(node):
            _given_back(node, base64.b64encode(await whole(sha256)).decode())
    return found


def copied(node: Any) -> Any:
    """Return a copy of the tree, whose leaves are shared."""
    if isinstance(node, dict):
        return {name: copied(value) for name, value in node.items()}
    return [copied(item) for item in node] if isinstance(node, list) else node


def decoded(data: str, path: str) -> bytes:
    """Return the bytes of a base64Binary.

    Raises:
        FhirError: 400, it is none.
    """
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(f"{path}.data is not base64.", f"{path}.data", code="value") from None
