"""References to a patient, found and pointed at another one.

https://hl7.org/fhir/R4/references.html#literal

What is repointed is `Reference.reference`, wherever it stands, relative or absolute with the server's own base. Logical
references (`identifier`), canonicals, uris and narratives stay as they are, and so does what is a record of something that
was so at the time: see `repointed`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fhir_server.fhir.reference import Reference, parse

Resource = dict[str, Any]
TYPE: Final = "Patient"
RECORDS: Final = frozenset({"AuditEvent"})
"""Types that are never changed: evidence of what was done, to whom it was done then."""
_MARK: Final = "Patient/"
_SNAPSHOTS: Final = frozenset({"document"})


@dataclass(frozen=True, slots=True)
class Move:
    """References to the patient `source` become references to the patient `target`; both are ids on this server."""

    source: str
    target: str
    base_url: str = ""

    def __call__(self, text: str) -> str | None:
        """Return what a reference becomes; None where it is not one to the source."""
        found = self.match(text)
        if found is None:
            return None
        base = f"{self.base_url}/" if "://" in text else ""
        return f"{base}{TYPE}/{self.target}"

    def match(self, text: str) -> Reference | None:
        """Return the reference, taken apart, if it is one to the source."""
        if self.source not in text or _MARK not in text:
            return None
        found = parse(text, self.base_url)
        return found if found.target == (TYPE, self.source) else None


def patient_texts(resource: Mapping[str, Any]) -> list[str]:
    """Return the texts of all references that look like ones to a patient, each as often as it stands there."""
    found: list[str] = []
    if resource.get("resourceType") not in RECORDS:
        _collect(resource, found)
    return found


def _collect(node: Mapping[str, Any], found: list[str]) -> None:
    for name, value in node.items():
        kind = value.__class__
        if kind is str:
            if name == "reference" and _MARK in value:
                found.append(value)
        elif kind is dict:
            _collect(value, found)
        elif kind is list:
            for item in value:
                if item.__class__ is dict and (name != "contained" or item.get("resourceType") != "Parameters"):
                    _collect(item, found)


def patient_ids(resource: Mapping[str, Any], base_url: str) -> Iterator[str]:
    """Yield the ids of the patients of this server that the resource refers to."""
    for text in patient_texts(resource):
        target = parse(text, base_url).target
        if target is not None and target[0] == TYPE:
            yield target[1]


def repointed(resource: Resource, move: Move) -> Resource:
    """Return the resource with its references to the source pointing at the target; itself where there is none to change.

    A reference to a version of the source loses its version, since the target has no such version. Left alone are:

    - AuditEvents, and in a Provenance what names a version of the source or stands in contained Parameters;
    - Bundles that are documents, are signed, or hold the source themselves: their references lead inside;
    - the source, links of the target, and links of the type `replaces`, which tell the history of merges.
    """
    type_ = resource.get("resourceType")
    if type_ in RECORDS or (type_ == TYPE and resource.get("id") == move.source):
        return resource
    if type_ == "Bundle" and _is_closed(resource, move):
        return resource
    change = _unversioned(move) if type_ == "Provenance" else move
    if type_ != TYPE:
        return _object(resource, change)
    links = resource.get("link")
    found = _object({name: value for name, value in resource.items() if name != "link"}, change)
    changed = links if links is None or resource.get("id") == move.target else _links(links, move)
    if changed is links and all(found[name] is resource[name] for name in found):
        return resource
    return {name: changed if name == "link" else found[name] for name in resource}


def _unversioned(move: Move) -> Callable[[str], str | None]:
    def change(text: str) -> str | None:
        return None if "/_history/" in text else move(text)

    return change


def _is_closed(bundle: Resource, move: Move) -> bool:
    if bundle.get("type") in _SNAPSHOTS or "signature" in bundle:
        return True
    inside = (entry.get("resource") or {} for entry in bundle.get("entry", ()))
    return any(one.get("resourceType") == TYPE and one.get("id") == move.source for one in inside)


def _links(links: list[Any], move: Move) -> list[Any]:
    found = [link if link.get("type") == "replaces" else _object(link, move) for link in links]
    return found if any(new is not old for new, old in zip(found, links, strict=True)) else links


def _object(node: dict[str, Any], change: Callable[[str], str | None]) -> dict[str, Any]:
    result = None
    for name, value in node.items():
        new: Any = value
        if isinstance(value, str):
            if name == "reference":
                new = change(value) or value
        elif isinstance(value, dict):
            new = _object(value, change)
        elif isinstance(value, list):
            new = _array(value, name, change)
        if new is not value:
            result = dict(node) if result is None else result
            result[name] = new
    return node if result is None else result


def _array(items: list[Any], name: str, change: Callable[[str], str | None]) -> list[Any]:
    changed = False
    result = []
    for item in items:
        new = item
        if isinstance(item, dict) and (name != "contained" or item.get("resourceType") != "Parameters"):
            new = _object(item, change)
        changed = changed or new is not item
        result.append(new)
    return result if changed else items
