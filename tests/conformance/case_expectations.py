"""What a case may expect of an answer: one function for each kind of expectation, which tells what is wrong."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import fhirpathpy
import httpx
from fhirpathpy.models import models
from lxml import etree

_FHIR = {"f": "http://hl7.org/fhir"}


class Answer:
    """A response with the pages that follow it, and the names that cases give to resources."""

    def __init__(self, pages: list[httpx.Response], aliases: Mapping[str, str]) -> None:
        self.first = pages[0]
        self.pages = pages
        self._aliases = aliases

    @cached_property
    def resource(self) -> Any:
        """The first page's resource; an empty object where it is no JSON."""
        return _resource(self.first)

    @cached_property
    def entries(self) -> list[dict[str, Any]]:
        """The entries of all pages."""
        return [entry for page in self.pages for entry in _resource(page).get("entry", ())]

    def found(self, mode: str = "") -> list[str]:
        """Return `Type/id` of the entries of this search mode, or of all."""
        return [self._named(entry) for entry in self.entries if mode in ("", _mode(entry)) and "resource" in entry]

    def wanted(self, aliases: Iterable[str]) -> list[str]:
        """Return what the cases mean by these names, readable when it is compared with what was found."""
        return [f"{alias} ({self._aliases[alias]})" for alias in aliases]

    def _named(self, entry: dict[str, Any]) -> str:
        # What stands in a stored Bundle need not have an id.
        reference = f"{entry['resource']['resourceType']}/{entry['resource'].get('id', '')}"
        return next((f"{alias} ({known})" for alias, known in self._aliases.items() if known == reference), reference)


def mistakes(expected: Mapping[str, Any], answer: Answer) -> list[str]:
    """Return what is wrong with the answer; a wrong status makes the rest pointless."""
    unknown = expected.keys() - _CHECKS.keys() - {"status", "pages"}
    assert not unknown, f"the cases expect what nobody checks: {unknown}"
    status = expected.get("status", answer.first.status_code)
    if answer.first.status_code not in (status if isinstance(status, list) else [status]):
        return [f"status {answer.first.status_code}, not {status}: {answer.first.text[:300]}"]
    wrong = [f"page {number}: status {page.status_code}" for number, page in enumerate(answer.pages) if page.is_error and number]
    if expected.get("pages") and len(set(answer.found())) != len(answer.found()):
        wrong.append(f"entries stand twice on the pages: {answer.found()}")
    for name, value in expected.items():
        if name in _CHECKS:
            wrong += _CHECKS[name](answer, value)
    return wrong


def _resource(page: httpx.Response) -> Any:
    try:
        found = page.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _mode(entry: dict[str, Any]) -> str:
    return str(entry.get("search", {}).get("mode", "match"))


def _same(what: str, found: Any, wanted: Any) -> list[str]:
    return [] if found == wanted else [f"{what}: {found!r}, not {wanted!r}"]


def _headers(answer: Answer, patterns: dict[str, str]) -> list[str]:
    found = {name: answer.first.headers.get(name, "") for name in patterns}
    return [f"{name}: {found[name]!r} is not {text!r}" for name, text in patterns.items() if not re.search(text, found[name])]


def _outcome(answer: Answer, wanted: bool) -> list[str]:
    if "xml" in answer.first.headers.get("content-type", ""):
        found = bool(etree.fromstring(answer.first.content).xpath("self::f:OperationOutcome/f:issue", namespaces=_FHIR))
    else:
        found = answer.resource.get("resourceType") == "OperationOutcome" and bool(answer.resource.get("issue"))
    return _same("the body is an OperationOutcome with issues", found, wanted)


def _page_max(answer: Answer, most: int) -> list[str]:
    sizes = [sum(_mode(entry) == "match" for entry in _resource(page).get("entry", ())) for page in answer.pages]
    return [f"pages of {sizes} matches, more than {most}"] if max(sizes) > most else []


def _relations(answer: Answer) -> set[str]:
    return {link["relation"] for link in answer.resource.get("link", ())}


def _links(answer: Answer, relations: list[str]) -> list[str]:
    return _same("links that are missing", set(relations) - _relations(answer), set())


def _no_links(answer: Answer, relations: list[str]) -> list[str]:
    return _same("links that must not be there", set(relations) & _relations(answer), set())


def _lacking(answer: Answer, aliases: list[str], mode: str) -> list[str]:
    return _same("missing", sorted(set(answer.wanted(aliases)) - set(answer.found(mode))), [])


def _fhirpath(answer: Answer, expressions: list[str]) -> list[str]:
    results = {text: fhirpathpy.evaluate(answer.resource, text, {}, models["r4"]) for text in expressions}
    return [f"{text} is {result}" for text, result in results.items() if result != [True]]


def _xpath(answer: Answer, expressions: list[str]) -> list[str]:
    root = etree.fromstring(answer.first.content)
    return [f"{text} does not hold" for text in expressions if root.xpath(text, namespaces=_FHIR) is not True]


def _json_equals(answer: Answer, values: dict[str, Any]) -> list[str]:
    return [line for pointer, wanted in values.items() for line in _same(pointer, _at(answer.resource, pointer), wanted)]


def _at(found: Any, pointer: str) -> Any:
    for step in pointer.strip("/").split("/"):
        try:
            found = found[int(step)] if isinstance(found, list) else found[step]
        except (KeyError, IndexError, ValueError):
            return None
    return found


_Check = Callable[[Answer, Any], list[str]]
_CHECKS: Mapping[str, _Check] = {
    "headers": _headers,
    "bundle": lambda answer, type_: _same("Bundle.type", answer.resource.get("type"), type_),
    "match": lambda answer, aliases: _same("matches", sorted(answer.found("match")), sorted(answer.wanted(aliases))),
    "include": lambda answer, aliases: _same("includes", sorted(answer.found("include")), sorted(answer.wanted(aliases))),
    "order": lambda answer, aliases: _same("order", answer.found("match"), answer.wanted(aliases)),
    "ids": lambda answer, ids: _same("ids", sorted(name.partition("/")[2] for name in answer.found("match")), sorted(ids)),
    "count": lambda answer, count: _same("number of entries", len(answer.entries), count),
    "total": lambda answer, total: _same("Bundle.total", answer.resource.get("total"), total),
    "page_max": _page_max,
    "links": _links,
    "nolinks": _no_links,
    "match_superset": lambda answer, aliases: _lacking(answer, aliases, "match"),
    "any_superset": lambda answer, aliases: _lacking(answer, aliases, ""),
    "any_excludes": lambda answer, aliases: _same("wrongly there", set(answer.wanted(aliases)) & set(answer.found()), set()),
    "outcome": _outcome,
    "fhirpath": _fhirpath,
    "xpath": _xpath,
    "json_equals": _json_equals,
    "body_regex": lambda answer, text: _same(f"{text} is in the body", bool(re.search(text, answer.first.text)), True),
    "body_not_contains": lambda answer, text: _same(f"{text} is in the body", text in answer.first.text, False),
    "raw_equals": lambda answer, text: _same("body", answer.first.text, text),
    "empty_body": lambda answer, empty: _same("the body is empty", not answer.first.content.strip(), empty),
}
