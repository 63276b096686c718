"""What has to be delivered, and how far it is: one document for each message to one recipient.

    {_id: "tenant/request" or "tenant/request~occurrence~place", t: tenant, rev: counted with each change,
     request: its id, version: the one that this was planned by, occurrence: "" or the time of one of several,
     at: when it is to be sent, recipient: "Patient/1", given: an address that the request names, alone: no other delivery,
     channels: those that the request names, lane: channel or "", priority: 0 to 3, kind, campaign, template,
     state, status, due: when to look at it again, expires, token, lease, stale,
     messages: [one for each channel that was tried, the last is the current one:
         {id: of the Communication, channel, to, provider, sender, status, body, subject, html…, tries: [
             {at, outcome: "unknown" until it is known, code, text, provider_id, ended}],
          receipts: [keys], sent, delivered, read, failure, code, text}],
     provider_ids: ["twilio|SM…"], failure, code, text: why it failed, created, updated,
     since: how many of the messages belong to a life that ended in failure, before it was revived}

MongoDB holds the truth, and every step is one conditional change of one document; the broker only carries ids. States:

    waiting ──claimed by a dispatcher──▶ queued ──begun by a worker──▶ sending ──▶ sent ──receipts──▶ done
       ▲────────────── again later (a retry, a limit, quiet hours, a lost lease) ──────┘

`queued`, `sending` and `sent` have a `lease`: whoever holds them longer has died, or the provider is silent. What clients
see of it, `Communication` and `CommunicationRequest`, is made from it by `prm_ext.notifications.results`; `stale` says
that this is still to be done.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from pymongo import ASCENDING, DESCENDING, IndexModel, ReplaceOne, UpdateOne
from pymongo.errors import DuplicateKeyError
from pymongo.write_concern import WriteConcern

from fhir_server.exchange import utc_now
from fhir_server.store.batcher import Batcher
from fhir_server.store.database import Database, Document
from fhir_server.store.search import Search

COLLECTION: Final = "_deliveries"
FOUND: Final = "_deliveries_found"
"""Messages that a provider turned out to have, by its id, and whose they are."""
FOUND_SECONDS: Final = 7 * 86_400
_ON_ONE: Final = WriteConcern(w=1)
"""For what may be lost and done again."""
State = Literal["waiting", "queued", "sending", "sent", "done", "held"]
Status = Literal["queued", "sending", "sent", "delivered", "read", "failed", "cancelled"]

RANK: Final[Mapping[str, int]] = {"queued": 0, "sending": 1, "sent": 2, "delivered": 3, "read": 4, "failed": 5, "cancelled": 6}
"""Status moves upward only; what is `delivered` or `read` does not fail any more."""
PRIORITY: Final[Mapping[str, int]] = {"stat": 0, "asap": 1, "urgent": 2, "routine": 3}
OPEN: Final[tuple[State, ...]] = ("waiting", "queued", "sending", "sent", "held")

INDEXES: Final = (
    # The dispatcher: what is due, and whose. `state` is among the keys, so that no document has to be read.
    IndexModel(
        [("state", ASCENDING), ("due", ASCENDING), ("t", ASCENDING), ("lane", ASCENDING), ("priority", ASCENDING)],
        partialFilterExpression={"state": "waiting"},
    ),
    IndexModel(
        [("state", ASCENDING), ("t", ASCENDING), ("lane", ASCENDING), ("priority", ASCENDING), ("due", ASCENDING)],
        partialFilterExpression={"state": "waiting"},
    ),
    # Leases that have run out, by state.
    IndexModel(
        [("state", ASCENDING), ("lease", ASCENDING), ("t", ASCENDING), ("lane", ASCENDING)],
        partialFilterExpression={"lease": {"$exists": True}},
    ),
    IndexModel([("stale", ASCENDING)], partialFilterExpression={"stale": {"$exists": True}}),
    # What was claimed in one go, and what a worker holds.
    IndexModel([("token", ASCENDING)], partialFilterExpression={"token": {"$exists": True}}),
    # Receipts and replies.
    IndexModel([("messages.id", ASCENDING)], partialFilterExpression={"messages.id": {"$exists": True}}),
    IndexModel([("provider_ids", ASCENDING)], partialFilterExpression={"provider_ids": {"$exists": True}}),
    IndexModel(
        [("t", ASCENDING), ("messages.to", ASCENDING), ("updated", DESCENDING)],
        partialFilterExpression={"messages.to": {"$exists": True}},
    ),
    # The list of the product.
    IndexModel([("t", ASCENDING), ("created", DESCENDING), ("_id", DESCENDING)]),
    IndexModel([("t", ASCENDING), ("status", ASCENDING), ("created", DESCENDING), ("_id", DESCENDING)]),
    IndexModel([("t", ASCENDING), ("recipient", ASCENDING), ("created", DESCENDING), ("_id", DESCENDING)]),
    IndexModel([("t", ASCENDING), ("request", ASCENDING), ("created", ASCENDING)]),
    IndexModel(
        [("t", ASCENDING), ("campaign", ASCENDING), ("status", ASCENDING)],
        partialFilterExpression={"campaign": {"$exists": True}},
    ),
)


def key(tenant: str, request: str, occurrence: str = "", place: str = "") -> str:
    """Return the `_id` of a delivery: to the recipient in a place (the first has none), at an occurrence where it repeats."""
    return f"{tenant}/{request}" if not occurrence and not place else f"{tenant}/{request}~{occurrence}~{place}"


Step = Callable[[Document], Document | None]
"""Returns what a delivery becomes, or None where nothing is to be changed. It may be called again with what others have made
of it, or it has itself."""


@dataclass(frozen=True, slots=True)
class _Begin:
    """A claim that somebody begins to work on."""

    id: str
    token: str
    now: datetime
    until: datetime
    mark: str

    @property
    def change(self) -> Document:
        """The change that takes it, where it is still claimed."""
        values = {"state": "sending", "lease": self.until, "updated": self.now, "mark": self.mark}
        return {"q": {"_id": self.id, "state": "queued", "token": self.token}, "u": {"$set": values, "$inc": {"rev": 1}}}


def _is_made(wanted: Document, now: tuple[int, str | None] | None) -> bool:
    """Tell whether a change was made; where it was followed by others already, it is not known and counts as not made."""
    return now == (wanted["rev"], wanted["mark"])


class Deliveries:
    """The collection, and its conditional changes. All times are in UTC."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.collection = database.collection(COLLECTION)
        self.found = database.collection(FOUND)
        self._prepared = False
        # What many workers' threads do at once goes together: a round trip costs as much for one as for twenty.
        self._replacer: Batcher[Document, bool] = Batcher(self._replace, parallel=1)
        self._beginner: Batcher[_Begin, Document | None] = Batcher(self._begin, parallel=1)
        self._shower: Batcher[Document, None] = Batcher(self._show, parallel=1)

    async def prepare(self) -> None:
        """Make the indexes, once a process."""
        if not self._prepared:
            await self.collection.create_indexes(list(INDEXES))
            await self.found.create_index("at", expireAfterSeconds=FOUND_SECONDS)
            self._prepared = True

    async def insert(self, documents: Sequence[Document]) -> bool:
        """Insert new deliveries by the shortest way; False: it is not known whether all are there."""
        return await self._database.insert(COLLECTION, documents)

    async def get(self, id_: str) -> Document | None:
        """Return a delivery."""
        return await self._one({"_id": id_})

    async def _one(self, wanted: Document) -> Document | None:
        search = Search(COLLECTION, wanted, {}, (), 1, self._database.settings.search_timeout_ms)
        return next(iter(await self._database.find(search)), None)

    async def advance(self, found: Document, step: Step) -> Document | None:
        """Change a delivery that was read, from what it is by now; return what it has become.

        None, and nothing is changed, where `step` says so or the delivery is gone.
        """
        while True:
            changed = step(found)
            if changed is None:
                return None
            changed = {**changed, "rev": found["rev"] + 1, "mark": secrets.token_hex(8)}
            if await self._replacer(changed):
                return changed
            latest = await self.get(found["_id"])
            if latest is None:
                return None
            found = latest

    async def _replace(self, wanted: list[Document]) -> list[bool]:
        """Replace documents that are still of the revision before; tell which were."""
        by_rev = [{"q": {"_id": one["_id"], "rev": one["rev"] - 1}, "u": one} for one in wanted]
        if await self._database.update(COLLECTION, by_rev):
            return [True] * len(wanted)
        changes = [ReplaceOne(one["q"], one["u"]) for one in by_rev]
        done = await self.collection.bulk_write(changes, ordered=False)
        if done.matched_count == len(wanted):
            return [True] * len(wanted)
        # Some were faster. A mark tells whose change one is, also where both have counted to the same revision.
        marks = self.collection.find({"_id": {"$in": [one["_id"] for one in wanted]}}, {"rev": 1, "mark": 1})
        now = {one["_id"]: (one["rev"], one.get("mark")) async for one in marks}
        return [_is_made(one, now.get(one["_id"])) for one in wanted]

    async def claim(self, ids: Sequence[str], token: str, now: datetime, lease: timedelta) -> list[Document]:
        """Take those of the waiting that nobody else has taken, for a bounded time; return their ids and priorities."""
        await self.collection.update_many(
            {"_id": {"$in": list(ids)}, "state": "waiting"},
            {"$set": {"state": "queued", "token": token, "lease": now + lease, "updated": now}, "$inc": {"rev": 1}},
            # Without it MongoDB reads all that wait: 500 claims a second in place of 24,000.
            hint="_id_",
        )
        return await self.collection.find({"token": token, "state": "queued"}, {"_id": 1, "priority": 1}).to_list()

    async def release(self, token: str, now: datetime) -> None:
        """Give back what was claimed and not begun."""
        change: Document = {
            "$set": {"state": "waiting", "updated": now},
            "$unset": {"lease": "", "token": ""},
            "$inc": {"rev": 1},
        }
        await self.collection.update_many({"token": token, "state": "queued"}, change)

    async def begin(self, id_: str, token: str, now: datetime, lease: timedelta) -> Document | None:
        """Begin to work on what was claimed; None where it is no longer ours: another has it, or it is done."""
        return await self._beginner(_Begin(id_, token, now, now + lease, secrets.token_hex(8)))

    async def _begin(self, wanted: "list[_Begin]") -> list[Document | None]:
        changes = [one.change for one in wanted]
        if not await self._database.update(COLLECTION, changes):
            await self.collection.bulk_write([UpdateOne(one["q"], one["u"]) for one in changes], ordered=False)
        ids = {"_id": {"$in": [one.id for one in wanted]}, "state": "sending"}
        search = Search(COLLECTION, ids, {}, (), len(wanted), self._database.settings.search_timeout_ms)
        begun = {found.get("mark"): found for found in await self._database.find(search)}
        return [begun.get(one.mark) for one in wanted]

    async def expire(self, now: datetime) -> int:
        """Let what was held too long be taken again, by whom it was held whatever; return how many."""
        change: Document = {
            "$set": {"state": "waiting", "due": now, "updated": now},
            "$unset": {"lease": "", "token": ""},
            "$inc": {"rev": 1},
        }
        done = await self.collection.update_many({"state": {"$in": ["queued", "sending", "sent"]}, "lease": {"$lt": now}}, change)
        return done.modified_count

    async def shown(self, found: Document) -> None:
        """Note that clients see a delivery as it was read, unless it has been changed since."""
        await self._shower({"q": {"_id": found["_id"], "rev": found["rev"]}, "u": {"$unset": {"stale": ""}}})

    async def _show(self, wanted: list[Document]) -> list[None]:
        if not await self._database.update(COLLECTION, wanted, _ON_ONE.document):
            changes = [UpdateOne(one["q"], one["u"]) for one in wanted]
            await self.collection.with_options(write_concern=_ON_ONE).bulk_write(changes, ordered=False)
        return [None] * len(wanted)

    async def take(self, provider: str, provider_id: str, id_: str) -> bool:
        """Note that a message which was looked for is that of a delivery; False where it is another's already."""
        name = f"{provider}|{provider_id}"
        try:
            await self.found.insert_one({"_id": name, "t": id_.partition("/")[0], "delivery": id_, "at": utc_now()})
        except DuplicateKeyError:
            return await self.found.count_documents({"_id": name, "delivery": id_}) == 1
        return True

    async def by_message(self, reference: str) -> Document | None:
        """Return the delivery that a message of ours, by the id of its Communication, belongs to."""
        return await self._one({"messages.id": reference})

    async def by_provider_id(self, provider: str, provider_id: str) -> Document | None:
        """Return the delivery that a message belongs to, by the provider's id of it."""
        return await self._one({"provider_ids": f"{provider}|{provider_id}"})

    async def of_request(self, tenant: str, request: str) -> list[Document]:
        """Return the deliveries of a request."""
        return await self.collection.find({"t": tenant, "request": request}).to_list()

    async def is_planned(self, tenant: str, request: str, version: int) -> bool:
        """Tell whether the only delivery of a request follows this version of it already, or a later one."""
        wanted: Document = {"_id": key(tenant, request), "alone": True, "version": {"$gte": version}}
        return await self.collection.find_one(wanted, {"_id": 1}) is not None

    async def first_of(self, tenant: str, request: str) -> Document | None:
        """Return the delivery of a request that was planned first."""
        return await self.collection.find_one({"t": tenant, "request": request}, sort=[("created", ASCENDING)])

    async def sent_to(self, tenant: str, addresses: Iterable[str], limit: int = 20) -> list[Document]:
        """Return the latest deliveries to addresses, the newest first."""
        wanted = {"t": tenant, "messages.to": {"$in": sorted(addresses)}}
        return await self.collection.find(wanted).sort("updated", DESCENDING).limit(limit).to_list()
