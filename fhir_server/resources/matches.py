"""Which stored patients may be the person that a Patient describes.

https://hl7.org/fhir/R4/patient-operation-match.html, docs/matching.md

Candidates are those that share a blocking key or an identifier; each is compared under the tenant's model.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fhir_server.exchange import Context, Resource
from fhir_server.matching import FIELD, WEAK, Assessment, Grade, Model, Record, assess, match_keys, model_of, record_of
from fhir_server.search.access import Access, Document
from fhir_server.search.index import entries
from fhir_server.search.run import registry_of
from fhir_server.security.views import shown
from fhir_server.store.versions import Version

TYPE: Final = "Patient"
KEYS: Final = f"s.{FIELD}"
IDENTIFIERS: Final = "s.identifier"
PROJECTION: Final = {**dict.fromkeys(("i", "v", "u", "m", "w", "r"), 1), IDENTIFIERS: 1}
RANKS: Final[dict[Grade, int]] = {"certainly-not": 0, "possible": 1, "probable": 2, "certain": 3}
SHARED: Final = 2
"""So many keys a candidate has to share where there are too many that share one."""
_KINDS: Final = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored patient, and what is to be thought of it."""

    version: Version
    assessment: Assessment

    @property
    def grade(self) -> Grade:
        """How sure it is."""
        return self.assessment.grade


@dataclass(frozen=True, slots=True)
class Matches:
    """Candidates, the best first; `complete` is false where there were too many to look at all of them."""

    candidates: tuple[Candidate, ...] = ()
    complete: bool = True

    def at_least(self, grade: Grade) -> tuple[Candidate, ...]:
        """Return those of a grade or better."""
        return tuple(one for one in self.candidates if RANKS[one.grade] >= RANKS[grade])


@dataclass(frozen=True, slots=True)
class Sought:
    """What is looked for."""

    record: Record
    keys: tuple[str, ...]

    @property
    def is_enough(self) -> bool:
        """Whether somebody can be told from others by it: a name or a birth date alone is borne by many."""
        record = self.record
        if named(record.identifiers) or record.phones or record.emails:
            return True
        return bool(self.keys) and sum(map(bool, (record.names, record.birth, record.addresses))) >= _KINDS


def sought(ctx: Context, patient: Resource) -> Sought:
    """Return what a valid Patient is looked for by; elements that are hidden from whoever asks tell nothing."""
    if ctx.access is not None:
        patient = shown(ctx.access, patient)
    index = entries(ctx.repo.blind(patient), registry_of(ctx), ctx.base_url)
    record = record_of(patient, index.get("identifier", ()))
    return Sought(record, tuple(match_keys(record)))


def named(identifiers: Iterable[str]) -> list[str]:
    """Return the entries of identifiers that have both a value and a system."""
    return sorted(entry for entry in identifiers if not entry.startswith("|") and not entry.endswith("|"))


def model(ctx: Context) -> Model:
    """Return the tenant's model."""
    return model_of(ctx.settings.match_models, ctx.tenant)


async def find_matches(ctx: Context, wanted: Sought, *, without: Collection[str] = (), floor: Grade = "possible") -> Matches:
    """Return the patients that may be who is sought, of a grade or better; those with the ids `without` are left out.

    A patient that has been merged into another stands for that one.
    """
    ours = model(ctx)
    access = Access(ctx)
    keys = [key for key in wanted.keys if RANKS[floor] < RANKS["probable"] or key[0] != WEAK]
    documents, complete = await _documents(access, keys, named(wanted.record.identifiers), ours.candidates)
    found: list[Candidate] = []
    for document in documents:
        if document["i"] not in without:
            version = Version.from_document(TYPE, document)
            found.append(Candidate(version, assess(ours, wanted.record, record_of_document(document, version))))
    kept = [one for one in found if RANKS[one.grade] >= RANKS[floor]]
    kept = [one for one in await _surviving(ctx, kept) if one.version.id not in without]
    kept.sort(key=lambda one: (-one.assessment.bits, one.version.id))
    return Matches(tuple(_only_one_certain(kept)), complete)


def record_of_document(document: Document, version: Version) -> Record:
    """Return the record of a stored patient."""
    return record_of(version.resource or {}, document.get("s", {}).get("identifier", ()))


async def _documents(access: Access, keys: list[str], identifiers: list[str], most: int) -> tuple[list[Document], bool]:
    """Return the candidates, and whether these are all that matter."""
    by_key, by_identifier = await asyncio.gather(
        _read(access, KEYS, keys, most + 1), _read(access, IDENTIFIERS, identifiers, most + 1)
    )
    complete = max(len(by_key), len(by_identifier)) <= most
    if len(by_key) > most:
        by_key = await _sharing(access, keys, most + 1)
        complete = max(len(by_key), len(by_identifier)) <= most
    return list({document["_id"]: document for document in (*by_identifier[:most], *by_key[:most])}.values()), complete


async def _read(access: Access, field: str, values: list[str], limit: int) -> list[Document]:
    if not values:
        return []
    return await access.read(TYPE, {field: {"$in": values}}, PROJECTION, limit=limit)


async def _sharing(access: Access, keys: list[str], limit: int) -> list[Document]:
    """Return those that share several keys; who does not is hardly a match, and never a certain one."""
    shared = {"$gte": [{"$size": {"$setIntersection": [f"${KEYS}", keys]}}, SHARED]}
    pipeline: list[Document] = [
        {"$match": access.scope(TYPE, {KEYS: {"$in": keys}})},
        {"$match": {"$expr": shared}},
        {"$limit": limit},
        {"$project": PROJECTION},
    ]
    with access.in_time():
        return await (await access.aggregate(TYPE, pipeline)).to_list()


async def _surviving(ctx: Context, found: Sequence[Candidate]) -> list[Candidate]:
    """Put survivors in the place of those that have been merged into them."""
    merged = {one.version.id: survivor for one in found if (survivor := survivor_of(one.version.resource or {}))}
    if not merged:
        return list(found)
    known = {one.version.id: one for one in found}
    missing = sorted(set(merged.values()) - known.keys())
    read = {version.id: version for version in await ctx.repo.currents((TYPE, id_) for id_ in missing) if not version.deleted}
    best: dict[str, Candidate] = {}
    for one in found:
        target = merged.get(one.version.id, one.version.id)
        version = known[target].version if target in known else read.get(target)
        if version is None or target in merged:
            continue
        before = best.get(target)
        if before is None or before.assessment.bits < one.assessment.bits:
            best[target] = replace(one, version=version)
    return list(best.values())


def survivor_of(patient: Resource) -> str:
    """Return the id of the patient that this one has been merged into; "" where it has not been."""
    for link in patient.get("link", ()):
        reference = link.get("other", {}).get("reference", "")
        if link.get("type") == "replaced-by" and reference:
            return str(reference.rpartition("/")[2])
    return ""


def _only_one_certain(found: Sequence[Candidate]) -> list[Candidate]:
    """Where several would be certain, none is: https://hl7.org/fhir/R4/patient-operation-match.html."""
    if sum(one.grade == "certain" for one in found) <= 1:
        return list(found)
    return [
        replace(one, assessment=replace(one.assessment, grade="probable")) if one.grade == "certain" else one for one in found
    ]


def explained(assessment: Assessment) -> list[dict[str, Any]]:
    """Return the reasons of an assessment as plain data: field, level and bits."""
    return [{"field": one.field, "level": one.level, "bits": one.bits} for one in assessment.evidence]
