"""Keeps messages in an outbox of the database instead of sending them: what a server without configuration does.

{_id: reference, t, channel, to, sender, subject, body, html, language, media, content, at}
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import PyMongoError

from fhir_server.exchange import utc_now
from fhir_server.fhir.outcome import bad_request
from fhir_server.store.database import Database, Document
from prm_ext.notifications.channels.channel import Accepted, Channel, Message, Outcome, Receipt, Unknown

COLLECTION: Final = "_outbox"
NAME: Final = "console"


@dataclass(frozen=True, slots=True)
class OutboxPage:
    """Messages, the newest first."""

    messages: Sequence[Document]
    next: str
    """The cursor of the page behind, or nothing."""


class Console:
    """A Provider that reaches nobody. A message that is sent again with the same reference is still one."""

    name = NAME
    reports = False
    looks_up = True

    def __init__(self, database: Database) -> None:
        self._collection = database.collection(COLLECTION)
        self._prepared = False

    async def send(self, message: Message) -> Outcome:
        """Put a message into the outbox."""
        try:
            await self._prepare()
            await self._collection.update_one({"_id": message.reference}, {"$setOnInsert": _document(message)}, upsert=True)
        except PyMongoError as error:
            return Unknown(f"The outbox did not answer: {type(error).__name__}")
        return Accepted(message.reference, "delivered")

    async def find(self, message: Message) -> Outcome | None:
        """Look for a message by its reference."""
        try:
            found = await self._collection.find_one({"_id": message.reference}, {"_id": 1})
        except PyMongoError as error:
            return Unknown(f"The outbox did not answer: {type(error).__name__}")
        return Accepted(message.reference, "delivered") if found else None

    async def status(self, message: Message, provider_id: str) -> Receipt | None:
        """Return that a message lies in the outbox."""
        found = await self._collection.find_one({"_id": provider_id}, {"at": 1})
        if found is None:
            return None
        return Receipt(f"{NAME}:{provider_id}", "delivered", found["at"], message.reference, provider_id)

    async def close(self) -> None:
        """Nothing is held."""

    async def outbox(
        self, tenant: str, *, limit: int = 50, cursor: str = "", channel: Channel | None = None, to: str = ""
    ) -> OutboxPage:
        """Return a page of a tenant's outbox, the newest first.

        Raises:
            FhirError: 400, the cursor is none.
        """
        await self._prepare()
        wanted: Document = {"t": tenant} | ({"channel": channel} if channel else {}) | ({"to": to} if to else {})
        if cursor:
            at, id_ = _read(cursor)
            wanted["$or"] = [{"at": {"$lt": at}}, {"at": at, "_id": {"$lt": id_}}]
        order = [("at", DESCENDING), ("_id", DESCENDING)]
        found = await self._collection.find(wanted).sort(order).limit(limit + 1).to_list()
        page = found[:limit]
        return OutboxPage(page, _cursor(page[-1]) if len(found) > limit and page else "")

    async def _prepare(self) -> None:
        if not self._prepared:
            await self._collection.create_index([("t", ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)])
            self._prepared = True


def _document(message: Message) -> Document:
    now = utc_now()
    values: Document = {
        "t": message.tenant,
        "channel": message.channel,
        "to": message.to,
        "sender": message.sender,
        "subject": message.subject,
        "body": message.body,
        # As MongoDB keeps it, so that cursors are exact.
        "at": now.replace(microsecond=now.microsecond // 1000 * 1000),
    }
    others: Document = {
        "html": message.html,
        "language": message.language,
        "media": [{"url": one.url, "mime": one.mime, "name": one.name} for one in message.media],
        "content": {"sid": message.content_sid, "variables": dict(message.content_variables)} if message.content_sid else None,
    }
    return values | {name: value for name, value in others.items() if value}


def _cursor(document: Document) -> str:
    at: datetime = document["at"]
    return base64.urlsafe_b64encode(json.dumps([at.timestamp(), document["_id"]]).encode()).decode()


def _read(cursor: str) -> tuple[datetime, str]:
    try:
        at, id_ = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return datetime.fromtimestamp(float(at), UTC), str(id_)
    except (ValueError, TypeError, binascii.Error, OverflowError, OSError) as error:
        raise bad_request("`cursor` is none that this list gave; begin without one.") from error
