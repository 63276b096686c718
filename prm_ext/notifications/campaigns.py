"""Campaigns: one message to many, and how far the writing of its requests is.

    {_id: "tenant/id", t: tenant, rev: counted with each change, name, state, who: who asked (`acting`),
     message: what each is to get, source: "listed" or "search", search: the parameters, place: behind what is handled,
     total, handled, accepted, refused, refusals: the first of them, failures: in a row, error, created, updated}

    {_id: "tenant/id/00000", t: tenant, recipients: [{patient, to, variables}]}: those listed, in pieces

A campaign is taken up by a task (`campaigning`) that writes a piece of requests and then notes how far it is. A piece that
is taken up twice is written once: each request has an identifier of campaign and recipient, which is claimed.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from pymongo import ASCENDING, DESCENDING, IndexModel

from fhir_server.store.database import Database, Document
from prm_ext.notifications.records import Deliveries

COLLECTION: Final = "_campaigns"
RECIPIENTS: Final = "_campaign_recipients"
PIECE: Final = 100
"""Requests that are written together."""
SHOWN: Final = 100
"""Refusals that are kept."""
State = Literal["queued", "running", "completed", "cancelling", "cancelled", "failed"]
OPEN: Final[tuple[State, ...]] = ("queued", "running", "cancelling")


class Ledger:
    """The campaigns of all tenants."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection(COLLECTION)
        self._recipients = database.collection(RECIPIENTS)
        self._prepared = False

    async def prepare(self) -> None:
        """Make the indexes, once."""
        if not self._prepared:
            open_ = IndexModel(
                [("state", ASCENDING), ("updated", ASCENDING)], partialFilterExpression={"state": {"$in": list(OPEN)}}
            )
            listed = IndexModel([("t", ASCENDING), ("created", DESCENDING), ("_id", DESCENDING)])
            await self.collection.create_indexes([open_, listed])
            self._prepared = True

    async def add(self, campaign: Document, recipients: Sequence[Document]) -> None:
        """Keep a campaign; its recipients are durable before it can be taken up.

        Raises:
            DuplicateKeyError: it is there already.
        """
        await self.prepare()
        for number, start in enumerate(range(0, len(recipients), PIECE)):
            piece = {"t": campaign["t"], "recipients": list(recipients[start : start + PIECE])}
            await self._recipients.replace_one({"_id": f"{campaign['_id']}/{number:05d}"}, piece, upsert=True)
        await self.collection.insert_one(campaign)

    async def get(self, tenant: str, id_: str) -> Document | None:
        """Return a campaign."""
        return await self.collection.find_one({"_id": f"{tenant}/{id_}"})

    async def piece(self, campaign: Document) -> list[Document]:
        """Return the listed recipients behind those that are handled; none at the end."""
        number = campaign["handled"] // PIECE
        found = await self._recipients.find_one({"_id": f"{campaign['_id']}/{number:05d}"})
        return list(found["recipients"]) if found is not None else []

    async def forget(self, campaign: Document) -> None:
        """Remove the list of recipients of a campaign that has come to its end."""
        await self._recipients.delete_many({"_id": {"$gte": f"{campaign['_id']}/", "$lt": f"{campaign['_id']}0"}})

    async def next(self, tenant: str = "") -> Document | None:
        """Return the campaign (of a tenant) that has waited longest, so that all go on by turns."""
        condition: Document = {"state": {"$in": list(OPEN)}} | ({"t": tenant} if tenant else {})
        return await self.collection.find_one(condition, sort=[("updated", ASCENDING)])

    async def note(self, campaign: Document, values: Mapping[str, Any], now: datetime) -> bool:
        """Change a campaign as it was read; False where somebody else has changed it since."""
        change: Document = {"$set": {**values, "updated": now}, "$inc": {"rev": 1}}
        done = await self.collection.update_one({"_id": campaign["_id"], "rev": campaign["rev"]}, change)
        return done.matched_count == 1

    async def pages(self, condition: Document, place: tuple[datetime, str] | None, limit: int) -> list[Document]:
        """Return campaigns, the newest first."""
        await self.prepare()
        behind: Document = {}
        if place is not None:
            behind = {"$or": [{"created": {"$lt": place[0]}}, {"created": place[0], "_id": {"$lt": place[1]}}]}
        order = [("created", DESCENDING), ("_id", DESCENDING)]
        return (
            await self.collection.find({"$and": [condition, behind]} if behind else condition).sort(order).limit(limit).to_list()
        )


async def counts_of(deliveries: Deliveries, tenant: str, ids: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return how many messages there are in each status, by campaign."""
    group = {"_id": {"campaign": "$campaign", "status": "$status"}, "n": {"$sum": 1}}
    match = {"t": tenant, "campaign": {"$in": list(ids)}}
    found: dict[str, dict[str, int]] = {}
    async for row in await deliveries.collection.aggregate([{"$match": match}, {"$group": group}]):
        found.setdefault(row["_id"]["campaign"], {})[row["_id"]["status"]] = row["n"]
    return found


async def untried(deliveries: Deliveries, tenant: str, campaign: str, behind: str) -> AsyncIterator[Document]:
    """Yield a piece of the deliveries of a campaign that nobody has tried yet."""
    condition: Document = {
        "t": tenant,
        "campaign": campaign,
        "status": "queued",
        "_id": {"$gt": behind},
        "state": {"$in": ["waiting", "held", "queued"]},
    }
    async for found in deliveries.collection.find(condition).sort("_id", ASCENDING).limit(PIECE):
        yield found


def key_of(campaign: str, recipient: Mapping[str, Any]) -> str:
    """Return what tells the request of a recipient from all others, without naming an address."""
    to = recipient.get("to") or ""
    address = hashlib.sha256(to.encode()).hexdigest()[:16] if to else ""
    return "/".join(part for part in (campaign, recipient.get("patient") or "", address) if part)
