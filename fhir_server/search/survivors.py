"""Searches by the id of a patient who has been merged into another: they find what is the survivor's now.

What still names the source (records of what was so at the time, and what is written in the very moment of the merge) is
found as well.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from fhir_server.exchange import Context
from fhir_server.fhir.outcome import Issue
from fhir_server.fhir.reference import ID, parse
from fhir_server.search.conditions import AllOf, AnyOf, Chain, Condition, Has, InCompartment, Match, Negation
from fhir_server.search.query import SearchQuery, TypeQuery
from fhir_server.store.redirects import redirects_of

PATIENT: Final = "Patient"


async def following(ctx: Context, query: SearchQuery) -> SearchQuery:
    """Return the search with survivors beside the merged patients that it names, and issues that say so."""
    redirects = redirects_of(ctx.repo.database)
    if redirects.idle(ctx.tenant) or not await redirects.refresh(ctx.tenant):
        return query
    parts: list[TypeQuery] = []
    issues: dict[str, Issue] = {}
    for part in query.parts:
        found, survivors = await _following(ctx, part)
        parts.append(found)
        issues |= {source: _issue(source, target) for source, target in survivors.items()}
    return replace(query, parts=tuple(parts), issues=(*query.issues, *issues.values())) if issues else query


async def following_criteria(ctx: Context, query: TypeQuery) -> TypeQuery:
    """Return the criteria of a conditional interaction likewise."""
    redirects = redirects_of(ctx.repo.database)
    if redirects.idle(ctx.tenant) or not await redirects.refresh(ctx.tenant):
        return query
    return (await _following(ctx, query))[0]


async def _following(ctx: Context, query: TypeQuery) -> tuple[TypeQuery, Mapping[str, str]]:
    redirects = redirects_of(ctx.repo.database)
    named = {id_ for id_ in _named(query.condition, ctx.base_url) if redirects.may_be_merged(ctx.tenant, id_)}
    survivors = await redirects.survivors(ctx.tenant, named) if named else {}
    if survivors and ctx.access is not None:
        # That there was such a patient is told only to those who may see that.
        seen = {version.id for version in await ctx.repo.currents((PATIENT, id_) for id_ in survivors)}
        survivors = {source: target for source, target in survivors.items() if source in seen}
    if not survivors:
        return query, survivors
    conditions = tuple(_followed(part, survivors, ctx.base_url) for part in query.condition.conditions)
    return replace(query, condition=AllOf(conditions)), survivors


def _issue(source: str, target: str) -> Issue:
    text = f"Patient/{source} has been merged into Patient/{target}, whose record is searched as well."
    return Issue("informational", text, severity="warning")


def _named(condition: Condition, base_url: str) -> Iterator[str]:
    """Yield the ids of the patients that a condition names."""
    match condition:
        case Match():
            yield from filter(None, (_patient(condition, value, base_url) for value in condition.values))
        case InCompartment(reference) if reference.startswith(f"{PATIENT}/"):
            yield reference.removeprefix(f"{PATIENT}/")
        case _:
            for part in _inside(condition):
                yield from _named(part, base_url)


def _inside(condition: Condition) -> Iterable[Condition]:
    match condition:
        case AllOf(conditions) | AnyOf(conditions):
            return conditions
        case Chain(_, branches):
            return [part for _, part in branches]
        case Has(_, _, part) | Negation(part):
            return (part,)
        case _:
            return ()


def _patient(match: Match, value: str, base_url: str) -> str:
    """Return the id of the patient that a value names; "" where it names none."""
    parameter = match.parameter
    if parameter.code == "_id":
        return value if parameter.resource_type == PATIENT and not match.modifier else ""
    if parameter.type != "reference" or match.modifier not in ("", PATIENT):
        return ""
    if ID.fullmatch(value):
        return value if not parameter.target or PATIENT in parameter.target else ""
    reference = parse(value, base_url)
    return reference.id if reference.target and reference.type == PATIENT and not reference.version else ""


def _followed(condition: Condition, survivors: Mapping[str, str], base_url: str) -> Condition:
    match condition:
        case Match():
            return _match(condition, survivors, base_url)
        case InCompartment(reference):
            type_, _, id_ = reference.partition("/")
            return InCompartment(f"{type_}/{survivors.get(id_, id_)}") if type_ == PATIENT else condition
        case AllOf(conditions):
            return AllOf(tuple(_followed(part, survivors, base_url) for part in conditions))
        case AnyOf(conditions):
            return AnyOf(tuple(_followed(part, survivors, base_url) for part in conditions))
        case Chain(_, branches):
            return replace(condition, branches=tuple((type_, _followed(part, survivors, base_url)) for type_, part in branches))
        case Has():
            return replace(condition, condition=_followed(condition.condition, survivors, base_url))
        case Negation(part):
            return Negation(_followed(part, survivors, base_url))
        case _:
            return condition


def _match(match: Match, survivors: Mapping[str, str], base_url: str) -> Match:
    named = [_patient(match, value, base_url) for value in match.values]
    prefix = "" if match.parameter.code == "_id" else f"{PATIENT}/"
    added = [f"{prefix}{survivors[id_]}" for id_ in named if id_ in survivors]
    return replace(match, values=(*match.values, *added)) if added else match
