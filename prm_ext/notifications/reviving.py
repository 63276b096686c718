"""Dead letters: deliveries that have failed for good, and are to be tried once more.

A delivery keeps its id and all that was tried; what follows is counted anew, and makes new Communications.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from fhir_server.exchange import Call, Context
from fhir_server.fhir.outcome import FhirError, conflict
from fhir_server.store.database import Document
from prm_ext.notifications.planning import TYPE
from prm_ext.notifications.records import Deliveries
from prm_ext.notifications.results import message_id
from prm_ext.notifications.settings import NotificationSettings

_ATTEMPTS: Final = 5
_OUTRUN: Final = frozenset({409, 412})
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Dead:
    """Which dead letters are meant."""

    tenant: str = ""
    reason: str = ""
    """The failure, such as `transient`."""
    channel: str = ""
    """The one that was tried last."""
    since: datetime | None = None
    """Those that failed at or after this."""

    def filter(self) -> Document:
        """Return the filter of MongoDB."""
        found: Document = {"state": "done", "status": "failed"}
        for name, value in (("t", self.tenant), ("failure", self.reason), ("messages.channel", self.channel)):
            if value:
                found[name] = value
        return found | ({"updated": {"$gte": self.since}} if self.since is not None else {})


async def dead_letters(deliveries: Deliveries, dead: Dead) -> AsyncIterator[Document]:
    """Yield dead letters in the order of their ids; those that are revived meanwhile do not disturb it."""
    last = ""
    while True:
        page = await deliveries.collection.find({**dead.filter(), "_id": {"$gt": last}}).sort("_id", 1).limit(_BATCH).to_list()
        for found in page:
            yield found
        if len(page) < _BATCH:
            return
        last = page[-1]["_id"]


async def revive(
    ctx: Context, deliveries: Deliveries, settings: NotificationSettings, found: Document, nonce: str = ""
) -> Document | None:
    """Let a dead letter wait for its turn again; return what it has become, None where it is none (any more).

    By the `nonce`, which is noted, whoever asks twice knows that it was done.

    Raises:
        FhirError: the request can not be made active again: it was withdrawn or deleted, or that is not allowed.
    """
    if not is_dead(found):
        return None
    version = await _reactivated(ctx, found["request"])
    now = ctx.now()
    expires = now + timedelta(hours=settings.of(ctx.tenant).max_age_hours)

    def waiting(one: Document) -> Document | None:
        # What was never tried may have been planned anew by that version, with the time that has passed.
        planned = one["version"] == version and one["state"] == "waiting" and not one.get("messages")
        return {**living(one, version, now, expires), "revived": nonce} if is_dead(one) or planned else None

    return await deliveries.advance(found, waiting)


def is_dead(found: Mapping[str, Any]) -> bool:
    """Tell whether a delivery has failed for good."""
    return bool(found["state"] == "done" and found["status"] == "failed")


def living(found: Document, version: int, now: datetime, expires: datetime) -> Document:
    """Return a dead letter as one that waits, by a version of its request that is not older than what it was planned by."""
    kept = {name: value for name, value in found.items() if name not in ("failure", "code", "text", "lookups", "checks")}
    channels = found["channels"]
    messages = list(found.get("messages") or ()) or [_untried(found)]
    return kept | {
        "messages": messages,
        "state": "waiting",
        "status": "queued",
        "version": max(found["version"], version),
        "due": now,
        "expires": expires,
        "since": len(messages),
        "lane": channels[0] if channels else "",
        "updated": now,
        "stale": now,
    }


def _untried(found: Document) -> Document:
    """Return what stands for a message that there has never been, since its Communication says why."""
    why = {name: found.get(name, "") for name in ("failure", "code", "text")}
    channel = next(iter(found["channels"]), "")
    return {"id": message_id(found, 0), "status": "failed", "channel": channel, "tries": [], "receipts": [], **why}


async def _reactivated(ctx: Context, id_: str) -> int:
    """Make a request active again; return its version."""
    for attempt in range(1, _ATTEMPTS + 1):
        reply = await ctx.dispatch(ctx, Call("read", TYPE, id_))
        resource = reply.resource or {}
        if resource["status"] == "active":
            break
        if resource["status"] != "completed":
            raise conflict(f"Its CommunicationRequest is {resource['status']}: it can not be sent any more.")
        active = {name: value for name, value in resource.items() if name != "statusReason"} | {"status": "active"}
        try:
            reply = await ctx.dispatch(ctx, Call("update", TYPE, id_, resource=active, if_match=f'W/"{reply.version}"'))
            break
        except FhirError as error:
            if error.status not in _OUTRUN or attempt == _ATTEMPTS:
                raise
    return int(reply.version)
