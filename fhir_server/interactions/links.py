"""What references become when the resources of a transaction get their ids.

https://hl7.org/fhir/R4/http.html#trules and https://hl7.org/fhir/R4/bundle.html#references
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from fhir_server.exchange import Resource
from fhir_server.fhir.definitions import RESOURCE_TYPES, TYPES

_RESTFUL = re.compile(r"(https?://.+)/([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})")
_CONDITIONAL = re.compile(r"([A-Z][A-Za-z]+)\?.+")
_IN_NARRATIVE = re.compile(r"""((?:href|src)\s*=\s*["'])([^"']+)(["'])""")
LINKING = frozenset({"uri", "url", "oid", "uuid", "canonical"})
"""Primitive types whose values may point at an entry of the Bundle."""


@dataclass(slots=True)
class Links:
    """By what the entries of a Bundle are called, and what they are called from now on (`Patient/123`)."""

    by_url: dict[str, str] = field(default_factory=dict)
    by_base: dict[str, dict[str, str]] = field(default_factory=dict)
    """For each base of absolute fullUrls: relative references and what they become."""

    def add(self, full_url: str, type_: str, id_: str) -> None:
        """Note that the entry with this fullUrl is from now on `type_/id_`."""
        if not full_url:
            return
        new = f"{type_}/{id_}"
        self.by_url[full_url] = new
        restful = _RESTFUL.fullmatch(full_url)
        if restful and restful[2] == type_:
            self.by_base.setdefault(restful[1], {})[f"{type_}/{restful[3]}"] = new

    def seen_from(self, full_url: str) -> dict[str, str]:
        """Return what texts stand for in the entry with this fullUrl."""
        restful = _RESTFUL.fullmatch(full_url) if self.by_base else None
        relative = self.by_base.get(restful[1]) if restful else None
        return self.by_url | relative if relative else self.by_url


def conditional_references(node: Any) -> list[str]:
    """Return the texts of references that are conditions, such as `Patient?identifier=urn:x|1`."""
    found: list[str] = []
    if isinstance(node, dict):
        _collect(node, found)
    return found


def _collect(node: Mapping[str, Any], found: list[str]) -> None:
    for name, value in node.items():
        kind = value.__class__
        if kind is dict:
            _collect(value, found)
        elif kind is list:
            for item in value:
                if item.__class__ is dict:
                    _collect(item, found)
        elif kind is str and name == "reference" and "?" in value:
            parts = _CONDITIONAL.fullmatch(value)
            if parts and parts[1] in RESOURCE_TYPES:
                found.append(value)


def relinked(resource: Resource, links: Links, full_url: str) -> Resource:
    """Return the resource with everything that points at an entry of the Bundle pointing at its resource.

    That is `Reference.reference`, every element of type uri, url, oid, uuid or canonical, and links of narratives.
    """
    known = links.seen_from(full_url)
    if not known:
        return resource
    found: Resource = _object(resource, resource.get("resourceType", ""), known)
    return found


def _object(node: dict[str, Any], type_: str, known: dict[str, str]) -> dict[str, Any]:
    changed = None
    for name, value in node.items():
        new: Any = value
        if isinstance(value, str):
            if value in known:
                if name == "reference" or _element_type(type_, name) in LINKING:
                    new = known[value]
            elif name == "div" and type_ == "Narrative":
                new = _IN_NARRATIVE.sub(lambda found: found[1] + known.get(found[2], found[2]) + found[3], value)
            elif name == "reference" and "#" in value:
                base, _, fragment = value.partition("#")
                new = f"{known[base]}#{fragment}" if base in known else value
        elif isinstance(value, dict):
            new = _object(value, _below(type_, name, value), known)
        elif isinstance(value, list):
            new = _array(value, type_, name, known)
        if new is not value:
            changed = dict(node) if changed is None else changed
            changed[name] = new
    return node if changed is None else changed


def _array(items: list[Any], type_: str, name: str, known: dict[str, str]) -> list[Any]:
    changed = False
    result = []
    for item in items:
        new = item
        if isinstance(item, dict):
            new = _object(item, _below(type_, name, item), known)
        elif isinstance(item, str) and item in known and _element_type(type_, name) in LINKING:
            new = known[item]
        changed = changed or new is not item
        result.append(new)
    return result if changed else items


def _below(type_: str, name: str, value: dict[str, Any]) -> str:
    found = _element_type(type_, name)
    return str(value.get("resourceType", "")) if found == "Resource" else found


@lru_cache(maxsize=16_384)
def _element_type(type_: str, name: str) -> str:
    described = TYPES.get(type_)
    element = described.elements.get(name) if described else None
    return element.type if element else ""
