"""Patients that are probably one person: found when one is created, kept as Tasks until a person has decided.

docs/matching.md
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from fhir_server.exchange import Context, Resource
from fhir_server.fhir.outcome import FhirError, Issue
from fhir_server.interactions.reading import living
from fhir_server.interactions.writing import commit, drafted
from fhir_server.matching import Assessment, Grade
from fhir_server.resources import reviews
from fhir_server.resources.matches import TYPE, Candidate, find_matches, sought
from fhir_server.resources.reviews import MERGED, NOT_DUPLICATE, SUPERSEDED, SYSTEM, Pair, decided, is_open, members, pair_of
from fhir_server.store.repository import Repository
from fhir_server.store.versions import Version
from fhir_server.store.writes import VersionConflictError, Write

FLOOR: Final[Grade] = "probable"
"""What is at least as sure is taken for a duplicate."""
ATTEMPTS: Final = 10
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A patient that may be the same person as another, and the Task about the two where there is one."""

    version: Version
    assessment: Assessment
    task: Version | None = None


async def before_create(ctx: Context, resource: Resource) -> None:
    """Refuse a Patient that is probably there already, where the setting `duplicates` says so.

    Raises:
        FhirError: 409, naming the patients; only those that whoever asks may search.
    """
    if ctx.settings.of(ctx.tenant).duplicates != "reject" or is_checked(resource):
        return
    wanted = sought(ctx, resource)
    found = await find_matches(ctx, wanted, floor=FLOOR)
    if found.candidates:
        tag = f"meta.tag {SYSTEM}|{NOT_DUPLICATE}"
        advice = f" If it is another person, say so by {tag}; if it is the same, update the one that is there."
        raise FhirError(409, [_issue(one, "error", advice) for one in found.candidates[:_SHOWN]])


async def after_create(ctx: Context, version: Version) -> tuple[Issue, ...]:
    """Look for patients that a new one duplicates, make a Task about each, and return what is to be said of it.

    Under `duplicates=reject` there is something to find only where whoever created it may not search the other.
    """
    if version.resource is None or ctx.settings.of(ctx.tenant).duplicates == "off" or is_checked(version.resource):
        return ()
    everything = whole(ctx)
    wanted = sought(everything, version.resource)
    found = await find_matches(everything, wanted, without={version.id}, floor=FLOOR)
    if not found.candidates:
        return ()
    await suspect(everything, {pair_of(version.id, one.version.id): one.assessment for one in found.candidates})
    visible = await _visible(ctx, found.candidates)
    advice = " A Task asks a person to decide."
    # That there is somebody whom the principal may not see must not show.
    return tuple(_issue(one, "warning", advice) for one in found.candidates[:_SHOWN] if one.version.id in visible)


async def _visible(ctx: Context, candidates: Iterable[Candidate]) -> frozenset[str]:
    """Return the ids of those that whoever asks may read."""
    ids = [one.version.id for one in candidates]
    if ctx.access is None:
        return frozenset(ids)
    return frozenset(version.id for version in await ctx.repo.currents((TYPE, id_) for id_ in ids))


def is_checked(resource: Resource) -> bool:
    """Tell whether a Patient carries the tag that says that it has been checked and is no duplicate."""
    tags = resource.get("meta", {}).get("tag", ())
    return any(tag.get("system") == SYSTEM and tag.get("code") == NOT_DUPLICATE for tag in tags)


def _issue(one: Candidate, severity: str, advice: str) -> Issue:
    who = one.version.reference
    sure = "certainly" if one.grade == "certain" else "probably"
    text = f"{who} is {sure} the same person (score {one.assessment.score:.4f}).{advice}"
    return Issue("duplicate", text, (TYPE,), "error" if severity == "error" else "warning")


def whole(ctx: Context) -> Context:
    """Return the context with all resources in view, whatever its principal may see: for what the server does by itself."""
    repo = ctx.repo
    found = Repository(repo.database, repo._committer, repo.tenant, repo.session)  # noqa: SLF001 -- the same view, wider
    return replace(ctx, repo=found, access=None)


async def suspect(ctx: Context, pairs: Mapping[Pair, Assessment | None]) -> int:
    """Make a Task for each pair that nobody has been asked about yet; return how many were made."""
    known = await _known(ctx, pairs)
    new = {pair: assessment for pair, assessment in pairs.items() if pair not in known}
    writes = [await _review(ctx, pair, assessment) for pair, assessment in new.items()]
    if not writes:
        return 0
    try:
        await commit(ctx, *writes)
    except VersionConflictError:
        if ctx.repo.session is not None or len(writes) == 1:
            return 0  # Somebody else has just made the same.
        return sum([await suspect(ctx, {pair: assessment}) for pair, assessment in new.items()])
    return len(writes)


async def _known(ctx: Context, pairs: Iterable[Pair]) -> set[Pair]:
    """Return the pairs about which there is a Task, by its id or, where one of them has been merged, by what it refers to."""
    by_id = {reviews.review_id(pair): pair for pair in pairs}
    read = await ctx.repo.currents((reviews.TYPE, id_) for id_ in by_id)
    known = {by_id[version.id] for version in read}
    asked = {id_ for pair in by_id.values() if pair not in known for id_ in pair}
    for version in await reviews.reviews_of(ctx, asked):
        found = sorted(members(version.resource or {}))
        if len(found) == len(("one", "other")):
            known.add((found[0], found[1]))
    return known


async def _review(ctx: Context, pair: Pair, assessment: Assessment | None, previous: Version | None = None) -> Write:
    task = reviews.review(ctx, pair, assessment)
    return await drafted(ctx, task, id_=reviews.review_id(pair), method="PUT", previous=previous)


async def duplicates_of(ctx: Context, id_: str, *, floor: Grade = "possible") -> tuple[Duplicate, ...]:
    """Return the patients that may be the same person as one, the best first, without those that were decided not to be.

    Raises:
        FhirError: 404 or 410 for the patient.
    """
    version = await living(ctx, TYPE, id_)
    wanted = sought(ctx, version.resource or {})
    found = await find_matches(ctx, wanted, without={id_}, floor=floor)
    if not found.candidates:
        return ()
    tasks = reviews.by_partner(await reviews.reviews_of(whole(ctx), [id_]), id_)
    known = [Duplicate(one.version, one.assessment, tasks.get(one.version.id)) for one in found.candidates]
    return tuple(one for one in known if one.task is None or is_open(one.task.resource or {}))


async def decide_not_duplicate(ctx: Context, pair: Pair, reason: str = "") -> Version:
    """Remember that two patients are different persons, and return the Task that says so."""
    everything = whole(ctx)
    existing = [one for one in await reviews.reviews_of(everything, pair) if members(one.resource or {}) == set(pair)]
    id_ = existing[0].id if existing else reviews.review_id(pair)
    for _ in range(ATTEMPTS):
        previous = await everything.repo.current(reviews.TYPE, id_)
        task = previous.resource if previous is not None and previous.resource is not None else None
        found = decided(everything, task or reviews.review(everything, pair, None), NOT_DUPLICATE, reason)
        item = await drafted(everything, found, id_=id_, method="PUT", previous=previous)
        try:
            await commit(everything, item)
        except VersionConflictError:
            if ctx.repo.session is not None:
                raise
            continue
        return item.version
    raise VersionConflictError(reviews.TYPE, id_)


async def close_reviews(ctx: Context, source_id: str, target_id: str) -> tuple[Version, ...]:
    """Close the Task about two patients that have been merged, and all but one of those about them and the same third.

    It may be called before or after the references to the source are moved, within their transaction or after it, and
    again. Returns the Tasks that were closed.
    """
    everything = whole(ctx)
    for _ in range(ATTEMPTS):
        writes = await _closings(everything, source_id, target_id)
        try:
            if writes:
                await commit(everything, *writes)
        except VersionConflictError:
            if ctx.repo.session is not None:
                raise
            continue
        return tuple(item.version for item in writes)
    raise VersionConflictError(reviews.TYPE, reviews.review_id(pair_of(source_id, target_id)))


async def _closings(ctx: Context, source_id: str, target_id: str) -> list[Write]:
    own = await ctx.repo.current(reviews.TYPE, reviews.review_id(pair_of(source_id, target_id)))
    found = {one.id: one for one in await reviews.reviews_of(ctx, (source_id, target_id))}
    if own is not None:
        found[own.id] = own
    closed: list[tuple[Version, str]] = []
    by_partner: dict[str, list[Version]] = {}
    for one in found.values():
        others = members(one.resource or {}) - {source_id, target_id}
        if one is own or not others:
            closed.append((one, MERGED))
        else:
            by_partner.setdefault(min(others), []).append(one)
    for same in by_partner.values():
        same.sort(key=lambda one: (is_open(one.resource or {}), one.id))
        closed += [(one, SUPERSEDED) for one in same[1:]]
    return [await _decision(ctx, one, decision) for one, decision in closed if one.resource and is_open(one.resource)]


async def _decision(ctx: Context, version: Version, decision: str) -> Write:
    task = decided(ctx, version.resource or {}, decision)
    return await drafted(ctx, task, id_=version.id, method="PUT", previous=version)
