"""What becomes of a delivery: pure functions from one state of its document to the next (`records`).

https://hl7.org/fhir/R4/communication-definitions.html#Communication.status is what clients see of it; `results` makes that.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from fhir_server.store.database import Document
from prm_ext.notifications.channels.channel import Accepted, Failure, Outcome, Receipt, Refused, Unknown
from prm_ext.notifications.records import RANK, Status
from prm_ext.notifications.settings import NotificationSettings

UNREACHABLE: Final = frozenset({"30003", "no-answer", "busy"})
"""Codes of phones that do not answer: worth another try after a long pause, and no more than that."""
UNREACHABLE_TRIES: Final = 2
UNREACHABLE_PAUSE: Final = timedelta(minutes=10)
LOOKUP_PAUSE: Final = timedelta(seconds=5)
"""How long a provider has to show a message whose answer was lost."""
_FINAL: Final = frozenset({"delivered", "read", "failed"})


@dataclass(frozen=True, slots=True)
class Rules:
    """What bounds tries, at a time."""

    settings: NotificationSettings
    now: datetime
    jitter: float = 0.0
    """Between -1 and 1."""

    @classmethod
    def at(cls, settings: NotificationSettings, now: datetime) -> "Rules":
        """Return the rules with a jitter of chance."""
        return cls(settings, now, random.uniform(-1, 1))  # noqa: S311 -- it only spreads load

    def pause(self, tries: int, retry_after: float | None) -> timedelta:
        """Return how long to wait after so many tries: doubled each time, a fifth more or less, no less than was asked for."""
        seconds = min(self.settings.backoff_seconds * 2 ** min(tries - 1, 30), self.settings.backoff_max_seconds)
        return timedelta(seconds=max(seconds * (1 + 0.2 * self.jitter), retry_after or 0.0))


def message_of(found: Mapping[str, Any]) -> Document | None:
    """Return the message that is being tried; None before there is one, and after one was given up for another channel."""
    messages = found.get("messages") or ()
    return messages[-1] if messages and messages[-1]["status"] != "failed" else None


def given_up(found: Mapping[str, Any]) -> frozenset[str]:
    """Return the channels that have failed for good in this life of a delivery: before it was revived, all had."""
    lately = (found.get("messages") or ())[found.get("since", 0) :]
    return frozenset(one["channel"] for one in lately if one["status"] == "failed")


def others_left(found: Mapping[str, Any]) -> bool:
    """Tell whether another channel than the current one may be tried, as far as the request says.

    Where it names none, that is found out when it is tried; where there is none then, the delivery ends as this one failed.
    """
    tried_ = given_up(found) | {(message_of(found) or {}).get("channel")}
    return not found["channels"] or any(channel not in tried_ for channel in found["channels"])


def unknown_try(found: Mapping[str, Any]) -> Document | None:
    """Return the try of the current message of which nobody knows what came of it."""
    message = message_of(found)
    tries = message["tries"] if message is not None else ()
    return tries[-1] if tries and tries[-1]["outcome"] == "unknown" else None


def is_accepted(found: Mapping[str, Any]) -> bool:
    """Tell whether the provider has the current message, and has not said yet that it failed."""
    message = message_of(found)
    return message is not None and bool(message["tries"]) and message["tries"][-1]["outcome"] == "accepted"


def tried(found: Document, message: Document, now: datetime) -> Document:
    """Note, before a provider is called, that a message is handed to it: a new one, or the current one again."""
    one = {"at": now, "outcome": "unknown"}
    messages = list(found.get("messages") or ())
    if messages and messages[-1]["id"] == message["id"]:
        last = messages[-1]
        messages[-1] = {**last, **message, "tries": [*last["tries"], one], "receipts": last["receipts"]}
    else:
        messages.append({**message, "status": "queued", "tries": [one], "receipts": []})
    status = _higher(found["status"], "sending")
    return {**found, "messages": messages, "status": status, "lane": message["channel"], "updated": now}


def concluded(found: Document, outcome: Outcome, rules: Rules, *, reports: bool, others: bool) -> Document:
    """Note what came of the last try. `reports`: receipts will come; `others`: another channel can be tried."""
    if isinstance(outcome, Accepted):
        return _accepted(found, outcome, rules, reports=reports)
    if isinstance(outcome, Unknown):
        changed = _with_message(found, {}, {"outcome": "unknown", "text": outcome.text, "ended": rules.now})
        return _waiting(changed, rules.now + LOOKUP_PAUSE, rules.now)
    return failed(_with_message(found, {}, _refusal(outcome, rules.now)), outcome, rules, others=others)


def not_taken(found: Document, now: datetime) -> Document:
    """Note that the provider never had the message of the last try, so that it can be tried again."""
    return _with_message(found, {}, {"outcome": "lost", "ended": now})


def failed(found: Document, refused: Refused, rules: Rules, *, others: bool) -> Document:
    """Decide what follows from a failure of the current message: the same again later, another channel, or the end."""
    message = message_of(found)
    if message is None:
        return ended(found, "failed", refused.failure, refused.code, refused.text, rules.now)
    due = _again(message, refused, rules)
    if due is not None and due < found["expires"]:
        return _waiting(found, due, rules.now)
    closed = _with_message(found, {"status": "failed", **_why(refused)}, {})
    if others:
        return _waiting({**closed, "lane": ""}, rules.now, rules.now)
    return ended(closed, "failed", refused.failure, refused.code, refused.text, rules.now)


def received(found: Document, receipt: Receipt, rules: Rules) -> Document | None:
    """Note what a provider says of a message; None where it says nothing new.

    A status moves upward only, so that a report which comes late, or twice, changes nothing.
    """
    place = _place_of(found, receipt)
    message = found["messages"][place]
    if receipt.key in message["receipts"] or message["status"] in ("failed", "read"):
        return None
    noted = {"receipts": [*message["receipts"], receipt.key]}
    if RANK[receipt.status] <= RANK[message["status"]] or (receipt.status == "failed" and message["status"] == "delivered"):
        return None
    if receipt.status == "failed":
        return _reported_failure(found, place, receipt, noted, rules)
    times = {"sent": receipt.at} if receipt.status in ("sent", "delivered", "read") and "sent" not in message else {}
    if receipt.status in ("delivered", "read"):
        times["delivered"] = message.get("delivered", receipt.at)
    if receipt.status == "read":
        times["read"] = receipt.at
    changed = _with_message(found, {**noted, **times, "status": receipt.status}, _seen(receipt, rules.now), place)
    status = _higher(found["status"], receipt.status)
    changed = {**changed, "status": status, "updated": rules.now, "stale": rules.now, **_known_as(changed, place, receipt)}
    # Delivered after all, though it is about to be tried again: that is the end of it.
    if receipt.status in _FINAL:
        return _done(changed)
    return _awaiting(changed, rules) if found["state"] == "waiting" and is_accepted(changed) else changed


def ended(found: Document, status: Status, failure: str, code: str, text: str, now: datetime) -> Document:
    """End a delivery for a reason of ours or of the provider's."""
    why = {"failure": failure, "code": code, "text": text}
    message = message_of(found)
    if message is not None:
        found = _with_message(found, {"status": status, **why}, {})
    return _done({**found, **why, "status": status, "updated": now, "stale": now})


def unconfirmed(found: Document, now: datetime) -> Document:
    """End the waiting for receipts: nobody knows whether the message has arrived. One that comes late still counts."""
    return _done({**found, "unconfirmed": True, "updated": now, "stale": now})


def later(found: Document, due: datetime, now: datetime, **values: Any) -> Document:
    """Give back what was begun until it is due, with nothing tried."""
    return _waiting({**found, **values}, due, now, stale=False)


def _accepted(found: Document, outcome: Accepted, rules: Rules, *, reports: bool) -> Document:
    message = message_of(found) or {}
    now, status = rules.now, outcome.status
    more = _times(status, now) if "sent" not in message else {}
    attempt = {"outcome": "accepted", "provider_id": outcome.provider_id, "ended": now}
    # A receipt may have been faster than the answer.
    more["status"] = _higher(message.get("status", "queued"), status)
    changed = _with_message(found, more, attempt)
    name = f"{message.get('provider', '')}|{outcome.provider_id}"
    ids = found.get("provider_ids") or []
    changed |= {"provider_ids": ids if name in ids or not outcome.provider_id else [*ids, name]}
    changed |= {"status": _higher(found["status"], status), "updated": now, "stale": now}
    if not reports or more["status"] in _FINAL:
        if not reports:
            changed["status"] = _higher(changed["status"], "sent")
        return _done(changed)
    return _awaiting(changed, rules)


def _awaiting(found: Document, rules: Rules) -> Document:
    """Wait for receipts."""
    kept = {name: value for name, value in found.items() if name not in ("token", "due")}
    return {**kept, "state": "sent", "lease": rules.now + timedelta(hours=rules.settings.receipt_hours)}


def _times(status: str, now: datetime) -> Document:
    times = {"sent": now} if status in ("sending", "sent", "delivered", "read") else {}
    return times | ({"delivered": now} if status in ("delivered", "read") else {})


def _reported_failure(found: Document, place: int, receipt: Receipt, noted: Document, rules: Rules) -> Document | None:
    changed = _with_message(found, noted, _seen(receipt, rules.now), place)
    changed |= _known_as(changed, place, receipt)
    if place != len(found["messages"]) - 1 or found["state"] in ("done", "queued", "sending"):
        # It was given up, or is being tried again already; what comes of that counts.
        return {**changed, "updated": rules.now}
    failure: Failure = receipt.failure or "transient"
    refused = Refused(failure, receipt.code, receipt.text)
    changed = _with_message(changed, {}, {"outcome": failure, "code": receipt.code, "text": receipt.text})
    return failed(changed, refused, rules, others=others_left(changed))


def _place_of(found: Mapping[str, Any], receipt: Receipt) -> int:
    """Return which message a receipt is about: by our reference, by the provider's id, else the last."""
    messages: Sequence[Mapping[str, Any]] = found["messages"]
    for place, message in enumerate(messages):
        if receipt.reference and message["id"] == receipt.reference:
            return place
        if any(one.get("provider_id") == receipt.provider_id for one in message["tries"] if receipt.provider_id):
            return place
    return len(messages) - 1


def _seen(receipt: Receipt, now: datetime) -> Document:
    """Return what a receipt tells of a try whose answer was lost: that it was taken."""
    if not receipt.provider_id or receipt.status == "failed":
        return {}
    return {"outcome": "accepted", "provider_id": receipt.provider_id, "ended": now}


def _known_as(found: Mapping[str, Any], place: int, receipt: Receipt) -> Document:
    name = f"{found['messages'][place]['provider']}|{receipt.provider_id}"
    ids = found.get("provider_ids") or []
    return {} if not receipt.provider_id or name in ids else {"provider_ids": [*ids, name]}


def _again(message: Mapping[str, Any], refused: Refused, rules: Rules) -> datetime | None:
    """Return when to try the same message again, None for never."""
    if refused.failure != "transient":
        return None
    tries = len(message["tries"])
    if refused.code in UNREACHABLE:
        return rules.now + UNREACHABLE_PAUSE if tries < UNREACHABLE_TRIES else None
    return rules.now + rules.pause(tries, refused.retry_after) if tries < rules.settings.max_attempts else None


def _with_message(found: Document, more: Document, attempt: Document, place: int = -1) -> Document:
    """Return a delivery with something changed of one of its messages, and of the last try of that."""
    messages = list(found["messages"])
    message = {**messages[place], **more}
    if attempt:
        message["tries"] = [*message["tries"][:-1], {**message["tries"][-1], **attempt}]
    messages[place] = message
    return {**found, "messages": messages}


def _refusal(refused: Refused, now: datetime) -> Document:
    return {"outcome": refused.failure, "code": refused.code, "text": refused.text, "ended": now}


def _why(refused: Refused) -> Document:
    return {"failure": refused.failure, "code": refused.code, "text": refused.text}


def _waiting(found: Document, due: datetime, now: datetime, *, stale: bool = True) -> Document:
    changed = {name: value for name, value in found.items() if name not in ("lease", "token")}
    changed |= {"state": "waiting", "due": due, "updated": now}
    return changed | {"stale": now} if stale else changed


def _done(found: Document) -> Document:
    return {name: value for name, value in found.items() if name not in ("lease", "token", "due")} | {"state": "done"}


def _higher(one: str, other: str) -> str:
    return other if RANK[other] > RANK[one] else one
