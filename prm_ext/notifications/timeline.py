"""What has happened to a notification, in its order."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from fhir_server.store.database import Document
from fhir_server.store.versions import instant
from prm_ext.notifications.mapping import Seen, asked_at
from prm_ext.notifications.output import TimelineEntry

_ORDER: Final = ("created", "scheduled", "attempt", "sent", "delivered", "read", "failed", "cancelled")
_NOTICEABLE_SECONDS: Final = 5


def timeline_of(seen: Seen, now: datetime) -> list[TimelineEntry]:
    """Return all that has happened, and when it is due where that is still to come."""
    found = seen.delivery
    if found is None:
        return [TimelineEntry(at=asked_at(seen.request), event="created")]
    entries = sorted(_entries(found, now), key=lambda one: (one[0], _ORDER.index(one[1]["event"])))
    return [TimelineEntry(at=instant(at), **{name: value for name, value in one.items() if value}) for at, one in entries]


def _entries(found: Document, now: datetime) -> Iterator[tuple[datetime, dict[str, Any]]]:
    yield found["created"], {"event": "created"}
    if found["state"] in ("waiting", "held") and (found["due"] - now).total_seconds() > _NOTICEABLE_SECONDS:
        yield found["due"], {"event": "scheduled", "channel": found.get("lane")}
    for message in found.get("messages") or ():
        yield from _of_message(message)
    if found["status"] in ("failed", "cancelled"):
        why = {"outcome": found.get("failure"), "code": found.get("code"), "text": found.get("text")}
        yield found["updated"], {"event": found["status"], **why}


def _of_message(message: Mapping[str, Any]) -> Iterator[tuple[datetime, dict[str, Any]]]:
    common = {"channel": message.get("channel"), "provider": message.get("provider"), "communication_id": message["id"]}
    for attempt in message["tries"]:
        ended = instant(attempt["ended"]) if "ended" in attempt else None
        what = {"outcome": attempt["outcome"], "code": attempt.get("code"), "text": attempt.get("text"), "ended_at": ended}
        yield attempt["at"], {"event": "attempt", **common, **what}
    for event in ("sent", "delivered", "read"):
        if event in message:
            yield message[event], {"event": event, **common}
