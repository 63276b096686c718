"""The events of notifications: NOTIFICATION_QUEUED, _SENT, _DELIVERED, _READ, _FAILED, _CANCELLED, _RECEIVED (docs/events.md)."""

from collections.abc import Mapping
from typing import Any, Final

from fhir_server.events.event import Named, Naming
from fhir_server.store.changes import Change, Elements
from prm_ext.notifications.codes import ANOTHER_CHANNEL, CAMPAIGN, NOT_DONE, PROVIDER, READ_AT, REASON, channels_of, kind_of

_WITHDRAWN: Final = frozenset({"revoked", "entered-in-error"})
_FAILED: Final = frozenset({"not-done", "stopped"})
_CANCELLED: Final = "cancelled"


def request_event(change: Change) -> Named | None:
    """Return what a new version of a CommunicationRequest means: it is asked for, or withdrawn."""
    before, status = (change.previous or {}).get("status"), change.elements.get("status")
    data = {"notification_id": change.id, **_facts(change.elements)}
    if change.deleted or (status in _WITHDRAWN and before not in _WITHDRAWN):
        return Named("NOTIFICATION_CANCELLED", data)
    if status == "active" and before != "active":
        return Named("NOTIFICATION_QUEUED", data)
    return None


def message_event(change: Change) -> Named | None:
    """Return what a new version of a Communication means that a CommunicationRequest led to, or that came in; else None."""
    elements, before = change.elements, change.previous or {}
    request = _request_of(elements)
    if change.deleted:
        return None
    if not request:
        return _received(change)
    name = next((name for name, holds in _STEPS if holds(elements) and not holds(before)), "")
    if not name:
        return None
    data = {"notification_id": request, **_facts(elements)}
    return Named(name, data | _reason(elements) if name == "NOTIFICATION_FAILED" else data)


def _received(change: Change) -> Named | None:
    """Return what is said of a message that somebody has sent to us, as its provider told."""
    elements = change.elements
    is_ours = any(str(one.get("system", "")).startswith(PROVIDER) for one in elements.get("identifier", ()))
    if change.version != 1 or "sender" not in elements or not is_ours:
        return None
    answered = next((one.get("reference", "") for one in elements.get("inResponseTo", ()) if isinstance(one, Mapping)), "")
    data = {"communication_id": change.id, **_facts(elements)}
    return Named("NOTIFICATION_RECEIVED", data | ({"in_response_to": answered} if answered else {}))


def _is_read(elements: Elements) -> bool:
    return any(one.get("url") == READ_AT for one in elements.get("extension", ()))


def _is_failed(elements: Elements) -> bool:
    codes = _codes(elements)
    return elements.get("status") in _FAILED and not {_CANCELLED, ANOTHER_CHANNEL} & {code for _, code in codes}


_STEPS: Final = (
    ("NOTIFICATION_FAILED", _is_failed),
    ("NOTIFICATION_READ", _is_read),
    ("NOTIFICATION_DELIVERED", lambda elements: "received" in elements),
    ("NOTIFICATION_SENT", lambda elements: "sent" in elements),
)
"""The latest first: what has happened in between is not told apart."""


def _request_of(elements: Elements) -> str:
    references = [str(one.get("reference", "")) for one in elements.get("basedOn", ()) if isinstance(one, Mapping)]
    return next((one.rpartition("/")[2] for one in references if "CommunicationRequest/" in one), "")


def _facts(elements: Elements) -> dict[str, Any]:
    group = elements.get("groupIdentifier", {})
    found = {
        "category": kind_of(elements.get("category")) if elements.get("category") else "",
        "channel": next(iter(channels_of(elements.get("medium"))), ""),
        "campaign_id": group.get("value", "") if group.get("system") == CAMPAIGN else "",
    }
    return {name: value for name, value in found.items() if value}


def _codes(elements: Elements) -> list[tuple[str, str]]:
    codings = elements.get("statusReason", {}).get("coding", ())
    return [(one.get("system", ""), one.get("code", "")) for one in codings]


def _reason(elements: Elements) -> dict[str, str]:
    codes = _codes(elements)
    reason = next((code for system, code in codes if system == REASON), "")
    code = next((code for system, code in codes if system not in (REASON, NOT_DONE)), "")
    return {name: value for name, value in (("reason", reason), ("code", code)) if value}


REQUESTS = Naming(
    request_event, elements=frozenset({"status", "category", "medium", "groupIdentifier", "subject"}), previous=True
)
MESSAGES = Naming(
    message_event,
    elements=frozenset({"status", "statusReason", "sent", "received", "extension", "basedOn", "category", "medium", "subject"})
    | {"identifier", "sender", "inResponseTo"},
    previous=True,
)
