"""The Task by which a person decides whether two patients are one.

https://hl7.org/fhir/R4/task.html, docs/matching.md

There is one Task a pair, for ever: its id follows from the ids of the two, so nobody is asked twice, whoever finds the pair,
and however many do at once.
"""

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from fhir_server.exchange import Context, Resource
from fhir_server.matching import Assessment
from fhir_server.search.access import Access
from fhir_server.search.types import token
from fhir_server.store.versions import Version, instant

TYPE: Final = "Task"
SYSTEM: Final = "urn:prm:duplicates"
CODE: Final = "duplicate-review"
PAIR_SYSTEM: Final = "urn:prm:duplicates:pair"
OPEN: Final = frozenset({"draft", "requested", "received", "accepted", "ready", "in-progress", "on-hold"})
"""States of a Task that waits for a decision: https://hl7.org/fhir/R4/valueset-task-status.html."""
MERGED, NOT_DUPLICATE, SUPERSEDED = "merged", "not-duplicate", "superseded"
_STATUS: Final = {MERGED: "completed", NOT_DUPLICATE: "rejected", SUPERSEDED: "cancelled"}
_DISPLAY: Final = {
    CODE: "Decide whether two patients are one person",
    MERGED: "The two have been merged",
    NOT_DUPLICATE: "The two are different persons",
    SUPERSEDED: "Another Task is about the same two",
    "patient": "One of the two patients",
    "score": "Probability that the two are one person",
    "grade": "Match grade",
    "evidence": "What speaks for and against it: field, level, bits",
}
_BYTES: Final = 16

Pair = tuple[str, str]


def pair_of(one: str, other: str) -> Pair:
    """Return the ids of two patients in the order that their Task has them."""
    return (one, other) if one <= other else (other, one)


def review_id(pair: Pair) -> str:
    """Return the id of the Task of a pair."""
    return f"dup-{hashlib.sha256('|'.join(pair).encode()).hexdigest()[: 2 * _BYTES]}"


def review(ctx: Context, pair: Pair, assessment: Assessment | None) -> Resource:
    """Return the open Task of a pair."""
    now = instant(ctx.now())
    inputs = [_input("patient", valueReference=_reference(id_)) for id_ in pair]
    if assessment is not None:
        inputs += [
            _input("score", valueDecimal=Decimal(str(assessment.score))),
            _input("grade", valueCode=assessment.grade),
            *(_input("evidence", valueString=f"{one.field}: {one.level} ({one.bits:+.1f})") for one in assessment.evidence),
        ]
    return {
        "resourceType": TYPE,
        "identifier": [{"system": PAIR_SYSTEM, "value": "|".join(pair)}],
        "status": "requested",
        "intent": "proposal",
        "priority": "routine",
        "code": _concept(CODE),
        "description": f"Patient/{pair[0]} and Patient/{pair[1]} may be one person.",
        "focus": _reference(pair[1]),
        "for": _reference(pair[0]),
        "authoredOn": now,
        "lastModified": now,
        "input": inputs,
    }


def decided(ctx: Context, task: Resource, decision: str, reason: str = "") -> Resource:
    """Return a Task with the decision `merged`, `not-duplicate` or `superseded`."""
    found = task | {
        "status": _STATUS[decision],
        "businessStatus": _concept(decision),
        "lastModified": instant(ctx.now()),
    }
    if reason:
        found["note"] = [*task.get("note", ()), {"time": instant(ctx.now()), "text": reason}]
    return found


def is_open(task: Resource) -> bool:
    """Tell whether a Task waits for a decision."""
    return task.get("status") in OPEN


def members(task: Resource) -> frozenset[str]:
    """Return the ids of the patients that a Task is about now; one where the two have been merged."""
    references = (task.get(name, {}).get("reference", "") for name in ("for", "focus"))
    return frozenset(text.rpartition("/")[2] for text in references if text)


async def reviews_of(ctx: Context, ids: Iterable[str]) -> list[Version]:
    """Return all Tasks about pairs in which these patients are, decided or not."""
    wanted = [f"Patient/{id_}" for id_ in sorted(set(ids))]
    if not wanted or TYPE not in await ctx.repo.existing_types():
        return []
    about: dict[str, Any] = {"$or": [{"s.subject": {"$in": wanted}}, {"s.focus": {"$in": wanted}}]}
    access = Access(ctx)
    code = {"s.code": token.entry(CODE, SYSTEM)}
    async with access.find(TYPE, {"$and": [about, code]}, {"s": 0}) as cursor:
        return [Version.from_document(TYPE, document) async for document in cursor]


def by_partner(reviews: Iterable[Version], id_: str) -> Mapping[str, Version]:
    """Return the Tasks of a patient by the id of the other; an open one hides none that is decided."""
    found: dict[str, Version] = {}
    for one in reviews:
        for other in members(one.resource or {}) - {id_}:
            if other not in found or is_open(found[other].resource or {}):
                found[other] = one
    return found


def _input(kind: str, **value: Any) -> dict[str, Any]:
    return {"type": _concept(kind), **value}


def _concept(code: str) -> dict[str, Any]:
    return {"coding": [{"system": SYSTEM, "code": code, "display": _DISPLAY[code]}]}


def _reference(id_: str) -> dict[str, Any]:
    return {"reference": f"Patient/{id_}", "type": "Patient"}
