"""The named query `fuzzy` of patients: `Patient?_query=fuzzy&q=…`.

https://hl7.org/fhir/R4/search.html#query, docs/search/fuzzy.md
"""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Final

from fhir_server.exchange import Context, Params
from fhir_server.fhir.outcome import bad_request, not_supported
from fhir_server.search import include
from fhir_server.search.access import Access, Document
from fhir_server.search.compile import Compiler, exact_bounds
from fhir_server.search.conditions import Match
from fhir_server.search.fuzzy.find import FIELDS, MOST, Finder, Ranked, Sought
from fhir_server.search.fuzzy.typed import Number, Typed, read
from fhir_server.search.query import Results, SearchQuery, parse_query
from fhir_server.search.registry import Registry
from fhir_server.search.run import SearchResult, registry_of
from fhir_server.search.sort import Filter
from fhir_server.search.survivors import following
from fhir_server.search.values import escape
from fhir_server.store.versions import Version

NAME: Final = "fuzzy"
TEXT: Final = "q"
DEFINITION: Final = "Patients by what somebody types: words of a name, date of birth, phone number or MRN, in any order."
_TYPE: Final = "Patient"
_REFUSED: Final = ("_sort", "_cursor", "_explain")


async def search_fuzzily(ctx: Context, type_: str, params: Params, *, strict: bool = False) -> SearchResult:
    """Return the patients that fit best, with their scores; other search parameters narrow whom to look among.

    Raises:
        FhirError: 400 for another named query or type, for a text without anything to search for, for `_sort` or
            `_cursor`, and as for any search.
    """
    named = [value for name, value in params if name == "_query"]
    if named != [NAME] or type_ != _TYPE:
        text = f"_query={named[0]!r} of {type_}: the only named query is Patient?_query={NAME}&{TEXT}=…, asked for once."
        raise not_supported(text)
    texts = [value for name, value in params if name == TEXT]
    if len(texts) != 1 or not texts[0].strip():
        raise bad_request(f"_query={NAME} needs the parameter {TEXT} once, with what was typed.", code="required")
    for name, _ in params:
        if name.partition(":")[0] in _REFUSED:
            raise not_supported(f"{name} does not go with _query={NAME}: the best matches come first, in one page.")
    registry = registry_of(ctx)
    others = tuple(pair for pair in params if pair[0] not in ("_query", TEXT))
    query = await following(ctx, parse_query((_TYPE,), others, registry, ctx.settings, strict=strict))
    access = Access(ctx)
    ranked = await _found(access, registry, query, read(texts[0]))
    understood = (("_query", NAME), (TEXT, texts[0]), *query.understood)
    return await _result(access, registry, query, ranked, understood)


async def _found(access: Access, registry: Registry, query: SearchQuery, typed: Typed) -> list[Ranked]:
    compiler = Compiler(access, registry)
    compiled = await compiler.compile(_TYPE, query.parts[0].condition)
    narrow = (await compiled.resolve(access, exact_bounds(access))).filter
    typed = _permitted(typed, registry)
    dates = [one for ways in typed.dates if (one := await _by(compiler, registry, "birthdate", ways))]
    numbers = [await _by_number(access, compiler, registry, number) for number in typed.numbers]
    fields = [field for code, field in FIELDS.items() if registry.get(_TYPE, code) is not None]
    projection = include.projection(registry, (_TYPE,), query.results.includes, fields)
    return await Finder(access, Sought(typed, narrow, dates, numbers), projection).best(min(query.results.count, MOST) or MOST)


def _permitted(typed: Typed, registry: Registry) -> Typed:
    """Return the items that whoever is asking may search by."""
    if registry.get(_TYPE, "name") is None:
        typed = replace(typed, words=(), open="")
    return typed if registry.get(_TYPE, "birthdate") is not None else replace(typed, dates=())


async def _by(compiler: Compiler, registry: Registry, code: str, values: Iterable[str]) -> Filter | None:
    """Return the filter of a parameter; None where whoever is asking may not use it."""
    parameter = registry.get(_TYPE, code)
    if parameter is None:
        return None
    return (await compiler.compile(_TYPE, Match(parameter, "", tuple(values)))).filter


async def _by_number(access: Access, compiler: Compiler, registry: Registry, number: Number) -> list[Filter]:
    whole = " ".join(number.texts)
    ways = [await _by(compiler, registry, "identifier", _identifiers(access, number))]
    if number.may_be_phone:
        ways.append(await _by(compiler, registry, "phone", (escape(whole),)))
    if "@" in whole:
        ways.append(await _by(compiler, registry, "email", (escape(whole),)))
    if number.dates:
        ways.append(await _by(compiler, registry, "birthdate", number.dates))
    return [way for way in ways if way is not None]


def _identifiers(access: Access, number: Number) -> tuple[str, ...]:
    """Return the values of identifiers that may be meant: people leave out what all of them begin with."""
    texts = dict.fromkeys((*number.texts, "".join(number.texts)))
    prefix = access.settings.of(access.repo.tenant).mrn_prefix.partition("{")[0]
    found = dict.fromkeys(text for one in texts for text in (one, one.upper()))
    if number.digits:
        found |= dict.fromkeys(prefix + text for text in texts)
    return tuple("|".join(escape(part) for part in text.split("|", 1)) for text in found)


async def _result(
    access: Access, registry: Registry, query: SearchQuery, ranked: list[Ranked], understood: Params
) -> SearchResult:
    results: Results = query.results
    answer = SearchResult(understood=understood, results=results, issues=query.issues, total=len(ranked))
    if results.counts_only:
        return answer
    shown = ranked[: results.count]
    rows: list[tuple[str, Document]] = [(_TYPE, one.document) for one in shown]
    included, issues = await include.included(access, registry, results.includes, rows)
    return SearchResult(
        matches=tuple(Version.from_document(_TYPE, one.document) for one in shown),
        scores=tuple(Decimal(str(one.score)) for one in shown),
        included=included,
        total=len(ranked),
        understood=understood,
        results=results,
        issues=(*query.issues, *issues),
    )
