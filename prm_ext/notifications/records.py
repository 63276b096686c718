"""What has to be delivered, and how far it is: one document for each message to one recipient.

    {_id: "tenant/request" or "tenant/request~occurrence~recipient", t, request, version, recipient, place, kind, …}

MongoDB holds the truth, and every step is one conditional change of one document; the broker only carries ids. States:

    waiting ──claimed by a dispatcher──▶ queued ──begun by a worker──▶ sending ──▶ sent ──receipts──▶ done
       ▲────────────── again later (a retry, a limit, quiet hours, a lost lease) ──────┘

`queued`, `sending` and `sent` have a `lease`: whoever holds them longer has died, or the provider is silent. What clients
see of it, `Communication` and `CommunicationRequest`, is made from it by `prm_ext.notifications.results`; `stale` says
that this is still to be done.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pymongo import ASCENDING, DESCENDING, IndexModel, ReturnDocument

from fhir_server.store.database import Database, Document

COLLECTION: Final = "_deliveries"
State = Literal["waiting", "queued", "sending", "sent", "done", "held"]
Status = Literal["queued", "sending", "sent", "delivered", "read", "failed", "cancelled"]

RANK: Final[Mapping[str, int]] = {"queued": 0, "sending": 1, "sent": 2, "delivered": 3, "read": 4, "failed": 5, "cancelled": 6}
"""Status moves upward only; what is `delivered` or `read` does not fail any more."""
PRIORITY: Final[Mapping[str, int]] = {"stat": 0, "asap": 1, "urgent": 2, "routine": 3}
OPEN: Final[tuple[State, ...]] = ("waiting", "queued", "sending", "sent", "held")

INDEXES: Final = (
    # The dispatcher: is something due, and whose.
    IndexModel([("due", ASCENDING), ("t", ASCENDING), ("priority", ASCENDING)], partialFilterExpression={"state": "waiting"}),
    IndexModel([("t", ASCENDING), ("priority", ASCENDING), ("due", ASCENDING)], partialFilterExpression={"state": "waiting"}),
    # Leases that have run out, by state.
    IndexModel([("state", ASCENDING), ("lease", ASCENDING)], partialFilterExpression={"lease": {"$exists": True}}),
    IndexModel([("stale", ASCENDING)], partialFilterExpression={"stale": {"$exists": True}}),
    # What was claimed in one go, and what a worker holds.
    IndexModel([("token", ASCENDING)], partialFilterExpression={"token": {"$exists": True}}),
    # Receipts and replies.
    IndexModel([("messages", ASCENDING)], partialFilterExpression={"messages": {"$exists": True}}),
    IndexModel([("provider_ids", ASCENDING)], partialFilterExpression={"provider_ids": {"$exists": True}}),
    IndexModel(
        [("t", ASCENDING), ("address", ASCENDING), ("created", DESCENDING)],
        partialFilterExpression={"address": {"$exists": True}},
    ),
    # The list of the product.
    IndexModel([("t", ASCENDING), ("created", DESCENDING), ("_id", DESCENDING)]),
    IndexModel([("t", ASCENDING), ("status", ASCENDING), ("created", DESCENDING), ("_id", DESCENDING)]),
    IndexModel([("t", ASCENDING), ("recipient", ASCENDING), ("created", DESCENDING), ("_id", DESCENDING)]),
    IndexModel([("t", ASCENDING), ("request", ASCENDING)]),
    IndexModel(
        [("t", ASCENDING), ("campaign", ASCENDING), ("status", ASCENDING)],
        partialFilterExpression={"campaign": {"$exists": True}},
    ),
)


def key(tenant: str, request: str, occurrence: str = "", place: int = 0) -> str:
    """Return the `_id` of a delivery: of the recipient in this place, at this occurrence of a request that repeats."""
    return f"{tenant}/{request}" if not occurrence and not place else f"{tenant}/{request}~{occurrence}~{place}"


class Deliveries:
    """The collection, and its conditional changes. All times are given in UTC."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection(COLLECTION)
        self._prepared = False

    async def prepare(self) -> None:
        """Make the indexes, once a process."""
        if not self._prepared:
            await self.collection.create_indexes(list(INDEXES))
            self._prepared = True

    async def get(self, id_: str) -> Document | None:
        """Return a delivery."""
        return await self.collection.find_one({"_id": id_})

    async def change(self, id_: str, where: Document, update: Document | Sequence[Document]) -> Document | None:
        """Change a delivery if it is as `where` says, and return what it has become; None where it is not."""
        found: Document | None = await self.collection.find_one_and_update(
            {"_id": id_, **where}, update, return_document=ReturnDocument.AFTER
        )
        return found

    async def claim(self, ids: Sequence[str], token: str, now: datetime, lease: timedelta) -> list[Document]:
        """Take those of the waiting that nobody else has taken, for a bounded time; return them."""
        await self.collection.update_many(
            {"_id": {"$in": list(ids)}, "state": "waiting"},
            {"$set": {"state": "queued", "token": token, "lease": now + lease, "updated": now}},
            # Without it MongoDB reads all that wait: 500 claims a second in place of 24,000.
            hint="_id_",
        )
        return [found async for found in self.collection.find({"token": token, "state": "queued"}, {"_id": 1, "priority": 1})]

    async def begin(self, id_: str, token: str, now: datetime, lease: timedelta) -> Document | None:
        """Begin to send what was claimed; None where it is no longer ours: another has it, or it has been sent."""
        return await self.change(
            id_,
            {"state": "queued", "token": token},
            {"$set": {"state": "sending", "lease": now + lease, "updated": now}},
        )

    async def later(self, id_: str, token: str, due: datetime, now: datetime, **values: Any) -> Document | None:
        """Give back what is ours until it is due."""
        change: Document = {
            "$set": {"state": "waiting", "due": due, "updated": now, **values},
            "$unset": {"lease": "", "token": ""},
        }
        return await self.change(id_, {"token": token, "state": {"$in": ["queued", "sending"]}}, change)

    async def expired(self, state: State, now: datetime, limit: int) -> list[Document]:
        """Return those whose lease has run out."""
        return await self.collection.find({"state": state, "lease": {"$lt": now}}).limit(limit).to_list()

    async def by_message(self, reference: str) -> Document | None:
        """Return the delivery that a message of ours, by the id of its Communication, belongs to."""
        return await self.collection.find_one({"messages": reference})

    async def by_provider_id(self, provider: str, provider_id: str) -> Document | None:
        """Return the delivery that a message belongs to, by the provider's id of it."""
        return await self.collection.find_one({"provider_ids": f"{provider}|{provider_id}"})

    async def of_request(self, tenant: str, request: str) -> list[Document]:
        """Return the deliveries of a request."""
        return await self.collection.find({"t": tenant, "request": request}).to_list()

    async def sent_to(self, tenant: str, addresses: Iterable[str], limit: int = 20) -> list[Document]:
        """Return the latest deliveries to addresses, the newest first."""
        wanted = {"t": tenant, "address": {"$in": sorted(addresses)}}
        return await self.collection.find(wanted).sort("created", DESCENDING).limit(limit).to_list()
