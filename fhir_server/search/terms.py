"""One `name=value` of a search, parsed to a condition.

https://hl7.org/fhir/R4/search.html#modifiers, https://hl7.org/fhir/R4/search.html#chaining,
https://hl7.org/fhir/R4/search.html#has
"""

import re
from dataclasses import dataclass

from fhir_server.config import Settings
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import bad_request, not_supported
from fhir_server.search.conditions import Chain, Condition, Has, Match, OnList
from fhir_server.search.registry import Registry, SearchParameter
from fhir_server.search.values import split_escaped

MANY_TARGETS = 24
"""From so many possible types on, a chain must name the one that it means."""
_LIST_ID = re.compile(r"(?:List/)?([A-Za-z0-9.-]{1,64})|\$current-[a-z]+")


class UnknownParameterError(Exception):
    """A search names a parameter that its type does not have."""


def split_values(text: str) -> tuple[str, ...]:
    """Return the values that unescaped commas separate, without empty ones, with their escapes."""
    return tuple(value for value in split_escaped(text, ",") if value)


def check_text(name: str, value: str) -> None:
    """Refuse characters that no resource can hold and that MongoDB does not take.

    Raises:
        FhirError: 400.
    """
    for text in (name, value):
        if "\x00" in text or (not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)):
            raise bad_request(
                f"The parameter {name[:40]!r} holds a character (NUL, or half of a surrogate pair) that no resource can."
            )


@dataclass(frozen=True, slots=True)
class TermParser:
    """Parses terms by the parameters of a registry, within the bounds of the settings."""

    registry: Registry
    settings: Settings

    def parse(self, type_: str, name: str, value: str, depth: int = 0) -> Condition:
        """Return the condition on resources of `type_` that `name=value` asks for.

        Raises:
            UnknownParameterError: some type on the way has no such parameter.
            FhirError: 400, the name or the value is malformed or beyond a bound.
        """
        if depth > self.settings.max_chain_depth:
            raise not_supported(
                f"{name!r}: more than {self.settings.max_chain_depth} links in a chain are not allowed.", status=400
            )
        if name.partition(":")[0] == "_has":
            return self._has(type_, name, value, depth)
        head, dot, rest = name.partition(".")
        code, _, modifier = head.partition(":")
        if dot:
            return self._chain(type_, code, modifier, rest, value, depth)
        values = self.values(name, value)
        if code == "_list":
            return _on_list(modifier, values)
        return Match(self.parameter(type_, code), modifier, values)

    def parameter(self, type_: str, code: str) -> SearchParameter:
        """Return a parameter of a type.

        Raises:
            UnknownParameterError: there is none.
        """
        found = self.registry.get(type_, code)
        if found is None:
            raise UnknownParameterError(f"{type_} has no search parameter {code!r}.")
        if not found.filled:
            raise UnknownParameterError(f"The search parameter {code!r} of {type_} is new, and `reindex` has not filled it yet.")
        return found

    def values(self, name: str, text: str) -> tuple[str, ...]:
        """Return the values that commas separate, at least one.

        Raises:
            FhirError: 400 without any, or with too many.
        """
        values = split_values(text)
        if not values:
            raise bad_request(f"The parameter {name!r} has no value.")
        if len(values) > self.settings.max_search_values:
            raise bad_request(
                f"The parameter {name!r} has {len(values)} values, more than {self.settings.max_search_values}.",
                code="too-costly",
            )
        return values

    def _has(self, type_: str, name: str, value: str, depth: int) -> Condition:
        parts = name.split(":", 3)
        if len(parts) != 4 or not all(parts):  # noqa: PLR2004 -- the four parts that the message names
            raise bad_request(f"{name!r} is not of the form _has:Type:reference-parameter:parameter.")
        _, source, code, rest = parts
        if source not in RESOURCE_TYPES:
            raise bad_request(f"{name!r}: {source!r} is not a resource type of FHIR R4.")
        parameter = self._reference(source, code)
        if parameter.target and type_ not in parameter.target:
            raise bad_request(f"{name!r}: {source}.{code} never refers to a {type_}, only to {', '.join(parameter.target)}.")
        return Has(source, parameter, self.parse(source, rest, value, depth + 1))

    def _chain(self, type_: str, code: str, modifier: str, rest: str, value: str, depth: int) -> Condition:
        parameter = self._reference(type_, code)
        targets = self.chain_targets(parameter, modifier)
        branches: list[tuple[str, Condition]] = []
        for target in targets:
            try:
                branches.append((target, self.parse(target, rest, value, depth + 1)))
            except UnknownParameterError as error:
                unknown = error
        if not branches:
            raise unknown
        return Chain(parameter, tuple(branches))

    def chain_targets(self, parameter: SearchParameter, modifier: str) -> tuple[str, ...]:
        """Return the types that a chain may lead to.

        Raises:
            FhirError: 400 for an impossible type, or where a type has to be named.
        """
        if modifier:
            if modifier not in RESOURCE_TYPES:
                raise bad_request(f"{parameter.code}:{modifier}: {modifier!r} is not a resource type of FHIR R4.")
            if parameter.target and modifier not in parameter.target:
                raise bad_request(f"{parameter.code} never refers to a {modifier}, only to {', '.join(parameter.target)}.")
            return (modifier,)
        if not 0 < len(parameter.target) < MANY_TARGETS:
            raise not_supported(
                f"{parameter.code} may refer to any type: name the one that is meant, as in {parameter.code}:Patient.name."
            )
        return tuple(parameter.target)

    def _reference(self, type_: str, code: str) -> SearchParameter:
        parameter = self.parameter(type_, code)
        if parameter.type != "reference":
            raise bad_request(
                f"{type_}.{code} is of type {parameter.type}, so nothing can be chained to it; only references lead on."
            )
        return parameter


def _on_list(modifier: str, values: tuple[str, ...]) -> OnList:
    if modifier:
        raise not_supported(f"_list:{modifier} is not supported; _list takes no modifier.")
    ids = []
    for value in values:
        match = _LIST_ID.fullmatch(value)
        if match is None:
            raise bad_request(f"_list={value!r} is neither the id of a List nor a name such as $current-allergies.")
        if match[1] is None:
            raise not_supported(f"_list={value!r}: functional lists are not supported; name the id of a List.")
        ids.append(match[1])
    return OnList(tuple(ids))
