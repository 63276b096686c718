"""The list of notifications: read from the deliveries, in the order of their indexes, as far as whoever asks may see them."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from pymongo import DESCENDING

from fhir_server.exchange import Context
from fhir_server.security.repository import READING
from fhir_server.store.cursor import seal, unseal
from fhir_server.store.database import Document
from prm_ext.notifications.mapping import Seen
from prm_ext.notifications.records import Deliveries
from prm_ext.notifications.seeing import Sight

ROUNDS: Final = 20
"""So many reads make a page, where most of what is read may not be seen; then it is shorter."""
READ: Final = 100
"""The least that is read at once."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which notifications are listed."""

    status: str = ""
    channel: str = ""
    patient: str = ""
    """An id."""
    template: str = ""
    """URL, without a version."""
    campaign: str = ""
    date_from: datetime | date | None = None
    date_to: datetime | date | None = None
    """A date is included."""


@dataclass(frozen=True, slots=True)
class Page:
    """Notifications, the newest first."""

    items: list[Seen]
    next: str
    """The cursor of the page behind, or nothing."""


async def page_of(ctx: Context, deliveries: Deliveries, wanted: Wanted, *, limit: int, cursor: str = "") -> Page:
    """Return a page, filled as far as there is something to see.

    Raises:
        FhirError: 400, the cursor is none of this list; 403, no notification may be seen.
    """
    purpose, sight = _purpose(wanted), Sight(ctx)
    condition = await _condition(ctx, wanted)
    place = await unseal(ctx.repo, purpose, cursor) if cursor else None
    items: list[Seen] = []
    for _ in range(ROUNDS):
        read = await _read(deliveries, condition, place, max(READ, limit + 1))
        items += await sight.seen(read[0])
        place = read[1]
        if place is None or len(items) > limit:
            break
    if len(items) > limit:
        items = items[:limit]
        place = _place(items[-1].delivery or {})
    return Page(items, await seal(ctx.repo, purpose, place) if place is not None else "")


async def _read(
    deliveries: Deliveries, condition: Document, place: list[str] | None, count: int
) -> tuple[list[Document], list[str] | None]:
    """Return so many deliveries, and the place behind them; None at the end."""
    behind: Document = {}
    if place is not None:
        created, id_ = datetime.fromisoformat(place[0]), place[1]
        behind = {"$or": [{"created": {"$lt": created}}, {"created": created, "_id": {"$lt": id_}}]}
    both = {"$and": [condition, behind]} if behind else condition
    order = [("created", DESCENDING), ("_id", DESCENDING)]
    found = await deliveries.collection.find(both).sort(order).limit(count).to_list()
    return found, _place(found[-1]) if len(found) == count else None


def _place(found: Document) -> list[str]:
    return [found["created"].isoformat(), found["_id"]]


async def _condition(ctx: Context, wanted: Wanted) -> Document:
    found: Document = {"t": ctx.tenant}
    if wanted.patient:
        found["recipient"] = {"$in": await _patients(ctx, wanted.patient)}
    for name, value in (("status", wanted.status), ("campaign", wanted.campaign)):
        if value:
            found[name] = value
    ways: list[Document] = []
    if wanted.channel:
        ways.append({"$or": [{"messages.channel": wanted.channel}, {"lane": wanted.channel}]})
    if wanted.template:
        # Any version: `}` follows `|`.
        versions = {"$gte": f"{wanted.template}|", "$lt": f"{wanted.template}}}"}
        ways.append({"$or": [{"template": wanted.template}, {"template": versions}]})
    return found | ({"$and": ways} if ways else {}) | between(wanted.date_from, wanted.date_to)


def between(begin: datetime | date | None, end: datetime | date | None) -> Document:
    """Return the condition that something was asked for within limits; dates are days in UTC, the last one included."""
    limits: Document = {}
    if begin is not None:
        limits["$gte"] = begin if isinstance(begin, datetime) else datetime.combine(begin, time(), UTC)
    if isinstance(end, datetime):
        limits["$lte"] = end
    elif end is not None:
        limits["$lt"] = datetime.combine(end, time(), UTC) + timedelta(days=1)
    return {"created": limits} if limits else {}


async def _patients(ctx: Context, id_: str) -> list[str]:
    """Return the references to a patient, and to those that have been merged into it."""
    version = await ctx.repo.current("Patient", id_)
    links = (version.resource or {}).get("link", ()) if version is not None else ()
    others = [one.get("other", {}).get("reference", "") for one in links if one.get("type") == "replaces"]
    return [f"Patient/{id_}", *(one for one in others if one)]


def _purpose(wanted: Wanted) -> str:
    text = json.dumps(asdict(wanted), default=str, sort_keys=True)
    return f"notifications/{READING}/{hashlib.sha256(text.encode()).hexdigest()}"
