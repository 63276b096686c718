"""From a message in the inbox to a Communication, with its files, and to what it asks for.

https://hl7.org/fhir/R4/communication.html, docs/notifications/inbound.md. A message may be dealt with again at any time: its
Communication has an id that follows from the provider's, and is stored in one transaction with all that follows from it.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import structlog
from pymongo.errors import PyMongoError

from fhir_server.events.consumer import ContextOf
from fhir_server.exchange import Context, Resource
from fhir_server.fhir.outcome import FhirError
from fhir_server.store.database import Document
from fhir_server.store.versions import instant
from prm_ext.notifications import codes
from prm_ext.notifications.answering import ours
from prm_ext.notifications.fetching import PostedFile, TwilioFile
from prm_ext.notifications.inbound_media import fetch, waiting
from prm_ext.notifications.inbox import Inbox
from prm_ext.notifications.means import Means, MeansOf
from prm_ext.notifications.orders import deterministic_id, stored, transact
from prm_ext.notifications.replies import Replies
from prm_ext.notifications.senders import Sender, sender_of
from prm_ext.notifications.settings import NotificationSettings

TYPE: Final = "Communication"
LEASE: Final = timedelta(seconds=60)
MEDIA_LEASE: Final = timedelta(minutes=5)
POSTED: Final = timedelta(days=3)
"""How long SendGrid posts an email that was not taken: https://www.twilio.com/docs/sendgrid/for-developers/parsing-email."""
LONGEST_PAUSE: Final = timedelta(minutes=15)
SWEEP: Final = 200
AT_ONCE: Final = 8
SWEEP_SECONDS: Final = 2.0
TASK: Final = "notifications-inbound"
_ATTEMPTS: Final = 5
_TOO_LATE: Final = frozenset({409, 412})


class Inbound:
    """Deals with messages that have come in."""

    def __init__(self, means: MeansOf) -> None:
        self._means = means

    async def deal(self, ctx: Context, id_: str) -> Resource | None:
        """Deal with a message, unless somebody else does; return what to answer at once, if anything, as a Communication.

        Raises:
            FhirError, PyMongoError: that can not be done now, and is done later.
        """
        inbox = Inbox(ctx.repo.database)
        found = await inbox.take(id_, ctx.now(), LEASE)
        if found is None:
            return None
        try:
            return await self._deal(ctx, await self._means(ctx), inbox, found)
        except (FhirError, PyMongoError):
            await inbox.note(found, due=ctx.now() + pause(found["tries"]))
            raise

    async def attach(self, ctx: Context, id_: str, files: Sequence[bytes]) -> bool:
        """Take the files that have come with a message; False: not all could be taken now, and they have to come again.

        Raises:
            FhirError, PyMongoError: the same.
        """
        inbox = Inbox(ctx.repo.database)
        found = await inbox.hold(id_, ctx.now(), MEDIA_LEASE)
        if found is None:
            return await inbox.is_done(id_)
        media, again = found["media"], True

        def file_of(place: int) -> PostedFile:
            return PostedFile(media[place]["mime"], files[place] if place < len(files) else None)

        try:
            again = await fetch(ctx, file_of, found, communication_id(found))
        finally:
            if again:
                await inbox.note(found, held=ctx.now())
        if not again:
            await inbox.finish(found, ctx.now())
        return not again

    async def sweep(self, context_of: ContextOf, ctx: Context) -> None:
        """Deal with what was left, of all tenants."""
        inbox, places = Inbox(ctx.repo.database), asyncio.Semaphore(AT_ONCE)
        await inbox.prepare()

        async def one(id_: str, tenant: str) -> None:
            # Each is a task, and so has a context of its own.
            structlog.contextvars.bind_contextvars(tenant=tenant)
            async with places:
                try:
                    await self._again(await context_of(tenant), id_)
                except Exception as error:  # noqa: BLE001 -- one that fails must not keep the others waiting
                    structlog.get_logger().error("unforeseen", exc_info=error)

        due = await inbox.due(ctx.now(), SWEEP)
        await asyncio.gather(*(one(*each) for each in due))

    async def _again(self, ctx: Context, id_: str) -> None:
        try:
            async with asyncio.timeout(MEDIA_LEASE.total_seconds()):
                await self.deal(ctx, id_)
        except FhirError as error:
            wrong = [issue.code for issue in error.issues]
            structlog.get_logger().error("a message can not be dealt with", message=id_, status=error.status, codes=wrong)
        except (PyMongoError, TimeoutError) as error:
            structlog.get_logger().warning("a message is dealt with later", message=id_, reason=type(error).__name__)

    async def _deal(self, ctx: Context, means: Means, inbox: Inbox, found: Document) -> Resource | None:
        settings = means.settings.of(ctx.tenant)
        communication, answer = communication_id(found), None
        if found["stage"] == "new":
            found, answer = await self._understand(ctx, means, inbox, found, communication)
            if found["media"]:
                due = found["at"] + POSTED if _is_posted(found) else ctx.now() + MEDIA_LEASE
                found = await inbox.note(found, stage="media", tries=1, due=due)
                if _is_posted(found):
                    return answer

        def file_of(place: int) -> TwilioFile | PostedFile:
            file = found["media"][place]
            return PostedFile(file["mime"], None) if _is_posted(found) else TwilioFile(settings, file["url"])

        if found["media"] and await fetch(ctx, file_of, found, communication):
            await inbox.note(found, due=ctx.now() + pause(found["tries"]))
        else:
            await inbox.finish(found, ctx.now())
        return answer

    async def _understand(
        self, ctx: Context, means: Means, inbox: Inbox, found: Document, id_: str
    ) -> tuple[Document, Resource | None]:
        """Store a message with what follows from it; return it with what it means, and what to answer at once."""
        settings = means.settings.of(ctx.tenant)
        replies, about = Replies(ctx, settings), f"{TYPE}/{id_}"
        for attempt in range(_ATTEMPTS):
            sender = await sender_of(ctx, means, found)
            if "meaning" not in found:
                # Once and for all: what has been done about it changes what the same words would mean.
                found = await inbox.note(found, meaning=await replies.meaning(found, sender))
            await replies.begin_again(found)
            try:
                if await ctx.repo.current(TYPE, id_) is None:
                    communication = communication_of(settings, found, sender, id_)
                    await transact(ctx, [stored(communication), *await replies.entries(found, sender, about)])
            except FhirError as error:
                if error.status not in _TOO_LATE or attempt == _ATTEMPTS - 1:
                    raise
                continue
            return found, await replies.stop(found, sender, about)
        raise AssertionError


async def keep_dealing(means: MeansOf, context_of: ContextOf) -> None:
    """Deal with what was left, for as long as the server runs."""
    ctx, inbound = await context_of("default"), Inbound(means)
    while True:
        await inbound.sweep(context_of, ctx)
        await asyncio.sleep(SWEEP_SECONDS)


def _is_posted(found: Document) -> bool:
    """Tell whether the files of a message come with it, and not from its provider later."""
    return bool(found["channel"] == "email")


def pause(tries: int) -> timedelta:
    """Return how long to wait after so many tries."""
    return min(timedelta(seconds=5 * 2.0 ** min(tries - 1, 20)), LONGEST_PAUSE)


def communication_id(found: Document) -> str:
    """Return the id of the Communication of a message, the same however often it comes."""
    return deterministic_id(found["t"], "inbound", found["provider"], found["id"])


def communication_of(settings: NotificationSettings, found: Document, sender: Sender, id_: str) -> Resource:
    """Return the Communication of a message, its files still to come."""
    resource: Resource = {
        "resourceType": TYPE,
        "id": id_,
        "identifier": [{"system": codes.PROVIDER + found["provider"], "value": found["id"]}],
        "status": "completed",
        "category": codes.category("message"),
        "medium": [codes.medium(found["channel"])],
        "sender": sender.reference(),
        "recipient": [ours(settings.organisation, found["to"])],
        "received": instant(found["at"]),
    }
    if found.get("doubt"):
        resource["extension"] = [{"url": codes.DOUBT, "valueCode": found["doubt"]}]
    if found.get("subject"):
        resource["topic"] = {"text": found["subject"]}
    if sender.answered is not None:
        resource["inResponseTo"] = [{"reference": sender.answered.reference}]
    if sender.subject:
        resource["subject"] = {"reference": sender.subject}
    elif sender.candidates:
        resource["about"] = [{"reference": one} for one in sender.candidates]
    payload = _payload(found)
    return resource | ({"payload": payload} if payload else {})


def _payload(found: Document) -> list[dict[str, Any]]:
    texts: Sequence[str] = [found["body"], found.get("whole", ""), found["place"]]
    files = [(place, file["mime"]) for place, file in enumerate(found["media"])]
    return [*({"contentString": text} for text in texts if text.strip()), *(waiting(*one) for one in files)]
