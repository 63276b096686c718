"""The parameters of a search, parsed.

https://hl7.org/fhir/R4/search.html

`parse_query` is pure: it turns names and values into conditions on resources and into what is wanted of the result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from fhir_server.config import Settings
from fhir_server.exchange import Params
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import Issue, bad_request, not_supported
from fhir_server.fhir.subset import Summary, parse_elements, parse_summary
from fhir_server.search.conditions import AllOf, Condition
from fhir_server.search.filter_expression import parse_filter
from fhir_server.search.registry import Registry, SearchParameter
from fhir_server.search.terms import TermParser, UnknownParameterError, check_text, split_values

Total = Literal["", "none", "estimate", "accurate"]
ALL: Final = "*"
_OF_THE_WEB = frozenset({"_format", "_pretty"})


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of `_sort`: https://hl7.org/fhir/R4/search.html#sort."""

    parameter: SearchParameter
    descending: bool


@dataclass(frozen=True, slots=True)
class Include:
    """One `_include` or `_revinclude`: https://hl7.org/fhir/R4/search.html#revinclude."""

    source: str
    """The type whose parameter it is; `*` is any."""
    code: str
    """The reference parameter; `*` is each."""
    target: str = ""
    """The type that it must lead to; "" is any."""
    reverse: bool = False
    iterate: bool = False


@dataclass(frozen=True, slots=True)
class TypeQuery:
    """What is searched in one resource type."""

    type: str
    condition: AllOf
    sort: tuple[SortKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """What is wanted of the result: https://hl7.org/fhir/R4/search.html#return."""

    count: int
    total: Total = ""
    summary: Summary = "false"
    elements: tuple[str, ...] = ()
    includes: tuple[Include, ...] = ()
    cursor: str = ""
    explain: bool = False

    @property
    def counts_only(self) -> bool:
        """Whether no resources are wanted, only how many there are."""
        return self.count == 0 or self.summary == "count"


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A parsed search."""

    parts: tuple[TypeQuery, ...]
    """One for each type that is searched, in their order."""
    results: Results
    understood: Params = ()
    """The parameters that were heeded, as the client wrote them."""
    issues: tuple[Issue, ...] = ()
    """What was ignored, and why."""


def parse_query(
    types: Sequence[str], params: Params, registry: Registry, settings: Settings, *, strict: bool = False
) -> SearchQuery:
    """Parse the parameters of a search over `types`.

    Raises:
        FhirError: 400 for a malformed name or value, for what is over a bound and, under `strict`, for a parameter that
            one of the types does not have. Without `strict` such a parameter is ignored, with an issue.
    """
    _check_size(params, settings)
    reading = _Reading(tuple(types), TermParser(registry, settings), settings)
    for name, value in params:
        if name in _OF_THE_WEB:
            continue
        try:
            heeded = reading.read(name, value)
        except UnknownParameterError as error:
            if strict:
                raise bad_request(
                    f"{error} Leave {name!r} out, or search with `Prefer: handling=lenient`.", code="not-supported"
                ) from None
            reading.issues.append(Issue("not-supported", f"{error} The parameter {name!r} was ignored.", severity="warning"))
            continue
        if heeded:
            reading.understood.append((name, value))
    return reading.query()


def parse_criteria(type_: str, criteria: Params, registry: Registry, settings: Settings) -> TypeQuery:
    """Parse the criteria of a conditional interaction: https://hl7.org/fhir/R4/http.html#cond-update.

    Raises:
        FhirError: 400 for whatever is not a condition on resources of the type: ignoring it would widen the criteria.
    """
    _check_size(criteria, settings)
    terms = TermParser(registry, settings)
    conditions: list[Condition] = []
    for name, value in criteria:
        if name in _OF_THE_WEB:
            continue
        if name.partition(":")[0] in _RESULT_PARAMETERS:
            raise bad_request(f"{name!r} is no criterion: conditional interactions take search parameters of {type_} only.")
        if not split_values(value):
            raise bad_request(f"The criterion {name!r} has no value.")
        try:
            conditions.append(_condition(terms, type_, name, value))
        except UnknownParameterError as error:
            raise bad_request(f"{error} Conditional interactions never ignore a criterion.", code="not-supported") from None
    if not conditions:
        raise bad_request(f"The criteria are empty: name at least one search parameter of {type_}.", code="required")
    return TypeQuery(type_, AllOf(tuple(conditions)))


def _check_size(params: Params, settings: Settings) -> None:
    if len(params) > settings.max_search_params:
        raise bad_request(f"The search has {len(params)} parameters, more than {settings.max_search_params}.", code="too-costly")
    for name, value in params:
        check_text(name, value)


def _condition(terms: TermParser, type_: str, name: str, value: str) -> Condition:
    if name == "_filter":
        return parse_filter(terms, type_, value)
    if name == "_query":
        raise not_supported(f"_query={value!r}: this server knows no named query.")
    return terms.parse(type_, name, value)


@dataclass(slots=True)
class _Reading:
    """A search while its parameters are read, one after the other."""

    types: tuple[str, ...]
    terms: TermParser
    settings: Settings
    understood: list[tuple[str, str]] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    conditions: dict[str, list[Condition]] = field(default_factory=dict)
    sort: dict[str, list[SortKey]] = field(default_factory=dict)
    includes: list[Include] = field(default_factory=list)
    count: int | None = None
    total: Total = ""
    summary: Summary = "false"
    elements: tuple[str, ...] = ()
    cursor: str = ""
    explain: bool = False

    def read(self, name: str, value: str) -> bool:
        """Read one parameter; return whether it had a meaning (one without a value has none)."""
        if not value.strip():
            return False
        reader = _RESULT_PARAMETERS.get(name.partition(":")[0])
        if reader is not None:
            return reader(self, name, value)
        found = [_condition(self.terms, type_, name, value) for type_ in self.types] if split_values(value) else []
        for type_, condition in zip(self.types, found, strict=False):
            self.conditions.setdefault(type_, []).append(condition)
        return bool(found)

    def query(self) -> SearchQuery:
        """Return what has been read."""
        parts = tuple(
            TypeQuery(type_, AllOf(tuple(self.conditions.get(type_, ()))), tuple(self.sort.get(type_, ())))
            for type_ in self.types
        )
        count = self.settings.default_count if self.count is None else min(self.count, self.settings.max_count)
        results = Results(count, self.total, self.summary, self.elements, tuple(self.includes), self.cursor, self.explain)
        return SearchQuery(parts, results, tuple(self.understood), tuple(self.issues))

    def read_sort(self, name: str, value: str) -> bool:
        _no_modifier(name)
        for part in split_values(value):
            code, descending = part.removeprefix("-").strip(), part.startswith("-")
            keys = [SortKey(self.terms.parameter(type_, code), descending) for type_ in self.types]
            for type_, key in zip(self.types, keys, strict=True):
                self.sort.setdefault(type_, []).append(key)
        return True

    def read_count(self, name: str, value: str) -> bool:
        _no_modifier(name)
        if not (value.isascii() and value.isdigit()) or len(value) > 18:  # noqa: PLR2004 -- beyond any number of resources
            raise bad_request(f"_count={value[:40]!r} is not a non-negative integer.")
        self.count = int(value)
        return True

    def read_total(self, name: str, value: str) -> bool:
        _no_modifier(name)
        if value not in ("none", "estimate", "accurate"):
            raise bad_request(f"_total={value!r} is none of none, estimate, accurate.")
        self.total = value  # type: ignore[assignment]  # narrowed by the line above
        return True

    def read_summary(self, name: str, value: str) -> bool:
        _no_modifier(name)
        self.summary = parse_summary(value)
        return True

    def read_elements(self, name: str, value: str) -> bool:
        _no_modifier(name)
        self.elements += parse_elements(value)
        return True

    def read_contained(self, name: str, value: str) -> bool:
        if name == "_contained" and value == "false":
            return True
        raise not_supported(
            f"{name}={value!r} is not supported: contained resources are not searched; _contained=false is the only value."
        )

    def read_cursor(self, name: str, value: str) -> bool:
        _no_modifier(name)
        self.cursor = value
        return False

    def read_explain(self, name: str, value: str) -> bool:
        _no_modifier(name)
        if value not in ("true", "false"):
            raise bad_request(f"_explain={value!r} is neither true nor false.")
        self.explain = value == "true"
        return True

    def read_type(self, name: str, value: str) -> bool:
        """`_type` has chosen `types` already, where a search is over several."""
        if len(self.types) == 1 and value != self.types[0]:
            raise UnknownParameterError(f"_type is for searches over several types; this one is over {self.types[0]} only.")
        _no_modifier(name)
        return True

    def read_include(self, name: str, value: str) -> bool:
        keyword, _, modifier = name.partition(":")
        if modifier not in ("", "iterate", "recurse"):
            raise bad_request(f"{name!r}: the only modifier of {keyword} is :iterate.")
        include = _include(value, reverse=keyword == "_revinclude", iterate=modifier != "")
        if ALL not in (include.source, include.code):
            parameter = self.terms.parameter(include.source, include.code)
            if parameter.type != "reference":
                raise bad_request(
                    f"{name}={value!r}: {include.code} is of type {parameter.type}; only references lead to resources."
                )
        self.includes.append(include)
        if len(self.includes) > self.settings.max_search_params:
            raise bad_request(f"More than {self.settings.max_search_params} includes are not allowed.", code="too-costly")
        return True


def _include(value: str, *, reverse: bool, iterate: bool) -> Include:
    parts = value.split(":")
    if parts == [ALL]:
        return Include(ALL, ALL, reverse=reverse, iterate=iterate)
    source, code, target = (*parts, "", "")[:3]
    if not 2 <= len(parts) <= 3 or not code:  # noqa: PLR2004 -- the parts that the message names
        raise bad_request(f"{value!r} is not of the form Type:parameter, Type:parameter:TargetType, Type:* or *.")
    for type_ in (source, target):
        if type_ and type_ not in RESOURCE_TYPES:
            raise bad_request(f"{value!r}: {type_!r} is not a resource type of FHIR R4.")
    return Include(source, code, target, reverse=reverse, iterate=iterate)


def _no_modifier(name: str) -> None:
    if ":" in name:
        raise bad_request(f"{name!r}: {name.partition(':')[0]} takes no modifier.")


_RESULT_PARAMETERS: Final[dict[str, Callable[[_Reading, str, str], bool]]] = {
    "_sort": _Reading.read_sort,
    "_count": _Reading.read_count,
    "_total": _Reading.read_total,
    "_summary": _Reading.read_summary,
    "_elements": _Reading.read_elements,
    "_contained": _Reading.read_contained,
    "_containedType": _Reading.read_contained,
    "_cursor": _Reading.read_cursor,
    "_explain": _Reading.read_explain,
    "_type": _Reading.read_type,
    "_include": _Reading.read_include,
    "_revinclude": _Reading.read_include,
}
