"""The `_filter` parameter.

https://hl7.org/fhir/R4/search_filter.html

    filter    = term *( ( "and" / "or" ) term )            ; left to right, without precedence
    term      = [ "not" ] "(" filter ")" / paramPath op value
    paramPath = name [ "[" filter "]" ] [ "." paramPath ]  ; a dot follows a reference
    value     = JSON string / any characters up to a space or a closing bracket

Names, operators and values become the same conditions that ordinary parameters make.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Final, NoReturn

from fhir_server.fhir.outcome import FhirError, bad_request, not_supported
from fhir_server.search.conditions import AllOf, AnyOf, Chain, Condition, Match, Negation
from fhir_server.search.registry import SearchParameter
from fhir_server.search.terms import TermParser, UnknownParameterError, check_text
from fhir_server.search.types import string
from fhir_server.search.values import escape

OPERATORS: Final = frozenset(
    {"eq", "ne", "co", "sw", "ew", "gt", "lt", "ge", "le", "ap", "sa", "eb", "pr", "po", "ss", "sb", "in", "ni", "re"}
)
MAX_NESTING: Final = 32
_COMPARISONS: Final = frozenset({"gt", "lt", "ge", "le", "ap", "sa", "eb"})
_ORDERED: Final = frozenset({"number", "date", "quantity"})
_STRING_MODIFIERS: Final = {"eq": string.EQUALS, "co": "contains", "sw": "", "ew": string.ENDS}
_HIERARCHY: Final = {"ss": "below", "sb": "above", "in": "in", "ni": "not-in"}
_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_:-]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_WORD = re.compile(r"[^\s()\[\]\"]+(?:\[[^\s()\[\]\"]*\][^\s()\[\]\"]*)*")


def parse_filter(terms: TermParser, type_: str, text: str) -> Condition:
    """Return the condition that a `_filter` on resources of `type_` states.

    Raises:
        UnknownParameterError: it names a parameter that the type does not have.
        FhirError: 400 with the position of what can not be understood.
    """
    parser = _Parser(terms, text)
    condition = parser.filter(type_)
    parser.expect_end()
    return condition


@dataclass(slots=True)
class _Parser:
    terms: TermParser
    text: str
    position: int = 0
    nesting: int = 0
    operations: int = field(default=0)

    def filter(self, type_: str) -> Condition:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise bad_request(f"_filter is nested deeper than {MAX_NESTING} levels.", code="too-costly")
        condition = self.term(type_)
        while (word := self.take_word("and", "or")) is not None:
            other = self.term(type_)
            condition = AllOf((condition, other)) if word == "and" else AnyOf((condition, other))
        self.nesting -= 1
        return condition

    def term(self, type_: str) -> Condition:
        negated = self.take_word("not") is not None
        if self.take("("):
            condition = self.filter(type_)
            if not self.take(")"):
                self.fail("expected ')'")
            return Negation(condition) if negated else condition
        if negated:
            self.fail("expected '(' after 'not'")
        return self.comparison(type_, 0)

    def comparison(self, type_: str, depth: int) -> Condition:
        if depth > self.terms.settings.max_chain_depth:
            raise not_supported(f"_filter: more than {self.terms.settings.max_chain_depth} links in a chain are not allowed.")
        name = self.match(_NAME)
        if not name:
            self.fail("expected the name of a search parameter")
        code, _, modifier = name.partition(":")
        if self.peek() in ("[", "."):
            return self.chain(type_, code, modifier, depth)
        if modifier:
            self.fail(f"{name!r}: modifiers are written as operators in _filter")
        return self.compared(self.terms.parameter(type_, code))

    def chain(self, type_: str, code: str, modifier: str, depth: int) -> Condition:
        parameter = self.terms.parameter(type_, code)
        if parameter.type != "reference":
            self.fail(f"{code!r} is of type {parameter.type}; only references lead on")
        branches: list[tuple[str, Condition]] = []
        start, end, nesting = self.position, self.position, self.nesting
        unknown = UnknownParameterError(f"{type_}.{code} leads nowhere.")
        for target in self.terms.chain_targets(parameter, modifier):
            self.position, self.nesting = start, nesting
            try:
                branches.append((target, self.link(target, depth)))
                end = self.position
            except UnknownParameterError as error:
                unknown = error
        if not branches:
            raise unknown
        self.position, self.nesting = end, nesting
        return Chain(parameter, tuple(branches))

    def link(self, target: str, depth: int) -> Condition:
        conditions: list[Condition] = []
        if self.take("["):
            conditions.append(self.filter(target))
            if not self.take("]"):
                self.fail("expected ']'")
        if not self.take("."):
            self.fail("expected '.' and the name of a search parameter")
        conditions.append(self.comparison(target, depth + 1))
        return conditions[0] if len(conditions) == 1 else AllOf(tuple(conditions))

    def compared(self, parameter: SearchParameter) -> Condition:
        operator = self.match(_NAME)
        if operator not in OPERATORS:
            self.fail(f"expected an operator ({', '.join(sorted(OPERATORS))}) after {parameter.code!r}")
        self.operations += 1
        if self.operations > self.terms.settings.max_search_params:
            raise bad_request(f"_filter holds more than {self.terms.settings.max_search_params} comparisons.", code="too-costly")
        return _compared(parameter, operator, self.value(parameter))

    def value(self, parameter: SearchParameter) -> str:
        quoted = self.match(_STRING)
        if quoted:
            try:
                text = str(json.loads(quoted))
            except ValueError:
                self.fail(f"{quoted} is not a JSON string")
        else:
            text = self.match(_WORD)
        if not text:
            self.fail("expected a value")
        check_text("_filter", text)
        return escape(text) if parameter.type == "string" else text.replace(",", "\\,")

    def match(self, pattern: re.Pattern[str]) -> str:
        self.skip()
        found = pattern.match(self.text, self.position)
        if found is None:
            return ""
        self.position = found.end()
        return found[0]

    def take(self, character: str) -> bool:
        self.skip()
        if not self.text.startswith(character, self.position):
            return False
        self.position += 1
        return True

    def take_word(self, *words: str) -> str | None:
        start = self.position
        word = self.match(_NAME)
        if word in words:
            return word
        self.position = start
        return None

    def peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def skip(self) -> None:
        found = _SPACE.match(self.text, self.position)
        self.position = found.end() if found else self.position

    def expect_end(self) -> None:
        self.skip()
        if self.position < len(self.text):
            self.fail("expected 'and', 'or' or the end")

    def fail(self, what: str) -> NoReturn:
        raise bad_request(f"_filter can not be understood at character {self.position + 1}: {what} (in {self.text[:200]!r}).")


def _compared(parameter: SearchParameter, operator: str, value: str) -> Condition:
    if operator == "pr":
        if value not in ("true", "false"):
            raise bad_request(f"_filter: {parameter.code} pr takes true or false, not {value!r}.")
        return Match(parameter, "missing", ("false" if value == "true" else "true",))
    if operator == "ne":
        return Negation(_compared(parameter, "eq", value))
    if parameter.type in _ORDERED:
        return _ordered(parameter, operator, value)
    if parameter.type == "string" and operator in _STRING_MODIFIERS:
        return Match(parameter, _STRING_MODIFIERS[operator], (value,))
    if operator == "eq" or (operator == "re" and parameter.type in ("reference", "uri")):
        return Match(parameter, "", (value,))
    if operator in _HIERARCHY and parameter.type in ("token", "uri", "reference"):
        return Match(parameter, _HIERARCHY[operator], (value,))
    raise _not_for(parameter, operator)


def _ordered(parameter: SearchParameter, operator: str, value: str) -> Condition:
    if operator == "eq" or operator in _COMPARISONS:
        return Match(parameter, "", (value if operator == "eq" else operator + value,))
    if operator == "po" and parameter.type == "date":
        apart = AnyOf((Match(parameter, "", ("sa" + value,)), Match(parameter, "", ("eb" + value,))))
        return AllOf((Match(parameter, "missing", ("false",)), Negation(apart)))
    raise _not_for(parameter, operator)


def _not_for(parameter: SearchParameter, operator: str) -> FhirError:
    return not_supported(f"_filter: {operator!r} can not be used with {parameter.code!r}, which is of type {parameter.type}.")
