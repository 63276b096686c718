"""Messages that have come in and are not dealt with yet: kept before the provider is answered, since it asks only once.

    {_id: "tenant/provider/its id", t, provider, id, channel, from, to, body, media: [{url, mime, name}], place, reply_to,
     opt_out, subject, whole, references, doubt,
     at, stage: "new" | "media" | "done", due: when to deal with it (again), held: while files are taken, tries, meaning, expires}

Addresses are in their normal form. Whoever deals with one takes it for a time by moving `due`. When it is done only who
wrote when remains, for as long as `KEPT`: the message itself is a Communication by then.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from pymongo import ASCENDING, DESCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from fhir_server.store.database import Database, Document
from prm_ext.notifications.channels.channel import Channel

COLLECTION: Final = "_inbox"
KEPT: Final = timedelta(days=30)
_CONTENT: Final = (
    "body",
    "media",
    "place",
    "name",
    "reply_to",
    "opt_out",
    "meaning",
    "subject",
    "whole",
    "references",
    "doubt",
    "held",
)

INDEXES: Final = (
    IndexModel([("due", ASCENDING)], partialFilterExpression={"due": {"$exists": True}}),
    IndexModel([("t", ASCENDING), ("channel", ASCENDING), ("from", ASCENDING), ("at", DESCENDING)]),
    IndexModel([("expires", ASCENDING)], expireAfterSeconds=0),
)


@dataclass(frozen=True, slots=True)
class File:
    """A file of a message, still at its provider."""

    url: str
    """Of an email, whose files come with it, what tells the file from others."""
    mime: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as a provider hands it over."""

    provider: str
    id: str
    """The provider's."""
    channel: Channel
    sender: str
    """Who has written: a number in E.164, or an email address."""
    to: str
    """The number or address of ours that it came to."""
    body: str = field(default="", repr=False)
    media: tuple[File, ...] = ()
    place: str = field(default="", repr=False)
    """A place that was sent along, in words."""
    reply_to: str = ""
    """The provider's id of the message that it quotes."""
    opt_out: str = ""
    """`STOP`, `START` or `HELP`, where the provider has understood that, and has answered."""
    subject: str = field(default="", repr=False)
    whole: str = field(default="", repr=False)
    """An email with what it quotes, where it quotes something."""
    references: tuple[str, ...] = ()
    """What an email answers, the likeliest first: our references, and ids of emails."""
    doubt: str = ""
    """Why an email is for people to judge: `mailbox.judging.Doubt`."""


class Inbox:
    """The collection. All times are in UTC."""

    def __init__(self, database: Database) -> None:
        self._collection = database.collection(COLLECTION)
        self._prepared = False

    async def prepare(self) -> None:
        """Make the indexes, once a process."""
        if not self._prepared:
            await self._collection.create_indexes(list(INDEXES))
            self._prepared = True

    async def keep(self, tenant: str, message: Incoming, now: datetime) -> str:
        """Keep a message, once however often it comes; return what it is known by."""
        id_ = f"{tenant}/{message.provider}/{message.id}"
        values = asdict(message)
        values["from"] = values.pop("sender")
        document: Document = {"_id": id_, "t": tenant, **values, "at": now, "stage": "new", "due": now, "tries": 0}
        document["media"] = [asdict(one) for one in message.media]
        with contextlib.suppress(DuplicateKeyError):
            await self._collection.insert_one(document)
        return id_

    async def take(self, id_: str, now: datetime, lease: timedelta) -> Document | None:
        """Take a message to deal with it, for a bounded time; None where there is nothing (left) to do, or another does it."""
        found: Document | None = await self._collection.find_one_and_update(
            {"_id": id_, "due": {"$lte": now}},
            {"$set": {"due": now + lease}, "$inc": {"tries": 1}},
            return_document=ReturnDocument.AFTER,
        )
        return found

    async def note(self, found: Document, **values: Any) -> Document:
        """Keep what has become of a message so far."""
        await self._collection.update_one({"_id": found["_id"]}, {"$set": values})
        return {**found, **values}

    async def hold(self, id_: str, now: datetime, lease: timedelta) -> Document | None:
        """Take a message whose files have come with it, for a bounded time; None where it waits for none, or another has it."""
        free: Document = {"$or": [{"held": {"$exists": False}}, {"held": {"$lte": now}}]}
        found: Document | None = await self._collection.find_one_and_update(
            {"_id": id_, "stage": "media", **free}, {"$set": {"held": now + lease}}, return_document=ReturnDocument.AFTER
        )
        return found

    async def is_done(self, id_: str) -> bool:
        """Tell whether nothing is left to do about a message."""
        return await self._collection.count_documents({"_id": id_, "stage": "done"}, limit=1) == 1

    async def count(self, tenant: str, channel: Channel, address: str, since: datetime, limit: int) -> int:
        """Return how many messages somebody has sent since, at most so many."""
        wanted = {"t": tenant, "channel": channel, "from": address, "at": {"$gte": since}}
        return await self._collection.count_documents(wanted, limit=limit)

    async def finish(self, found: Document, now: datetime) -> None:
        """Forget what a message said."""
        change: Document = {
            "$set": {"stage": "done", "expires": now + KEPT},
            "$unset": dict.fromkeys(("due", "tries", *_CONTENT), ""),
        }
        await self._collection.update_one({"_id": found["_id"]}, change)

    async def due(self, now: datetime, limit: int) -> list[tuple[str, str]]:
        """Return what waits to be dealt with, the longest first: ids, with their tenants."""
        found = self._collection.find({"due": {"$lte": now}}, {"t": 1}).sort("due", ASCENDING).limit(limit)
        return [(one["_id"], one["t"]) async for one in found]

    async def last(self, tenant: str, channel: Channel, address: str, senders: Iterable[str] = ()) -> datetime | None:
        """Return when somebody has written last over a channel, to one of several numbers of ours or to any of them.

        WhatsApp lets anything be sent for a day after that, and only approved templates later.
        """
        wanted: Document = {"t": tenant, "channel": channel, "from": address}
        if numbers := list(senders):
            wanted["to"] = {"$in": numbers}
        found = await self._collection.find_one(wanted, {"at": 1}, sort=[("at", DESCENDING)])
        return found["at"] if found is not None else None
