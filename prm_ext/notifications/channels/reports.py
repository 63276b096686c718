"""What providers report of messages, in our words.

Pure translations: in whatever order and however often reports come, each becomes the same Receipt with the same `key`. What
is no report of how far a message is becomes nothing; what is not understood does no harm.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from prm_ext.notifications.channels.channel import Delivery, Failure, Receipt
from prm_ext.notifications.channels.email_words import REFERENCE, message_id_of
from prm_ext.notifications.channels.errors import Errors
from prm_ext.notifications.channels.masking import mask
from prm_ext.notifications.channels.twilio_words import CALL, FAILED, MESSAGE

_SENDGRID: Final[Mapping[str, Delivery]] = {
    "processed": "sending",
    "deferred": "sending",
    "delivered": "delivered",
    "open": "read",
    "click": "read",
    "bounce": "failed",
    "dropped": "failed",
}
_SENDGRID_OBJECTIONS: Final = frozenset({"spamreport", "unsubscribe", "group_unsubscribe"})
_SES: Final[Mapping[str, Delivery]] = {
    "Send": "sending",
    "DeliveryDelay": "sending",
    "Delivery": "delivered",
    "Open": "read",
    "Click": "read",
    "Bounce": "failed",
    "Reject": "failed",
    "Rendering Failure": "failed",
}
_NO_SUCH_NUMBER: Final = frozenset({"404", "410", "484", "604"})
"""SIP responses: https://www.rfc-editor.org/rfc/rfc3261#section-21."""


@dataclass(frozen=True, slots=True)
class Objection:
    """The recipient of a message wants no more of them: said to the provider, and reported by it."""

    key: str
    at: datetime
    code: str
    reference: str = ""
    provider_id: str = ""


def twilio_message(form: Mapping[str, str], reference: str, now: datetime, errors: Errors) -> Receipt | None:
    """Translate a status callback of a message: https://www.twilio.com/docs/messaging/guides/track-outbound-message-status.

    Args:
        form: the first value of each name.
        reference: ours, from the URL.
        now: when it came; reports hold no time but that of SMS being delivered, in minutes.
        errors: what codes mean.
    """
    sid = form.get("MessageSid") or form.get("SmsSid", "")
    said = (form.get("MessageStatus") or form.get("SmsStatus", "")).lower()
    status = MESSAGE.get(said)
    if not sid or status is None:
        return None
    key, code = f"twilio:{sid}:{said}", form.get("ErrorCode", "") or said
    if status != "failed":
        return Receipt(key, status, now, reference, sid)
    failure = FAILED.get(said) or errors.classify("twilio", code).failure
    return Receipt(key, status, now, reference, sid, failure, code, mask(form.get("ErrorMessage", "")))


def twilio_call(form: Mapping[str, str], reference: str, now: datetime, errors: Errors) -> Receipt | None:
    """Translate a status callback of a call: https://www.twilio.com/docs/voice/api/call-resource#statuscallback."""
    sid, said = form.get("CallSid", ""), form.get("CallStatus", "").lower()
    status = CALL.get(said)
    if not sid or status is None:
        return None
    key, at = f"twilio:{sid}:{said}", _rfc2822(form.get("Timestamp", ""), now)
    if status != "failed":
        return Receipt(key, status, at, reference, sid)
    code, sip = form.get("ErrorCode", ""), form.get("SipResponseCode", "")
    failure: Failure
    if said in FAILED:
        failure = FAILED[said]
    elif code:
        failure = errors.classify("twilio", code).failure
    else:
        failure = "address" if sip in _NO_SUCH_NUMBER else "transient"
    return Receipt(
        key, status, at, reference, sid, failure, code or (f"sip-{sip}" if sip else said), mask(form.get("ErrorMessage", ""))
    )


def sendgrid_events(events: Any, now: datetime, errors: Errors) -> Iterator[Receipt]:
    """Translate the events of a webhook: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event."""
    for event in _objects(events):
        kind = _text(event, "event")
        status = _SENDGRID.get(kind)
        place = _sendgrid_place(event)
        if status is None or not any(place):
            continue
        key, at = _sendgrid_key(event), _unix(event.get("timestamp"), now)
        if status != "failed":
            yield Receipt(key, status, at, *place)
            continue
        code = _sendgrid_code(event, errors)
        text = mask(_text(event, "reason") or _text(event, "response"))
        yield Receipt(key, status, at, *place, errors.classify("sendgrid", code, 400).failure, code, text)


def sendgrid_objections(events: Any, now: datetime) -> Iterator[Objection]:
    """Return who has unsubscribed, or called a message spam."""
    for event in _objects(events):
        kind = _text(event, "event")
        place = _sendgrid_place(event)
        if kind in _SENDGRID_OBJECTIONS and any(place):
            yield Objection(_sendgrid_key(event), _unix(event.get("timestamp"), now), kind, *place)


def ses_event(message: Mapping[str, str], now: datetime, errors: Errors) -> Receipt | None:
    """Translate an event in a message of SNS.

    https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
    """
    event, kind = _ses(message)
    status = _SES.get(kind)
    place = _ses_place(event)
    if status is None or not any(place):
        return None
    about = _object(event, _ses_member(kind))
    at = _iso(_text(about, "timestamp") or _text(_object(event, "mail"), "timestamp"), now)
    key = f"ses:{place[1]}:{kind}:{_text(about, 'feedbackId') or _text(about, 'timestamp')}"
    if status != "failed":
        return Receipt(key, status, at, *place)
    code, text = kind.replace(" ", ""), _text(about, "reason") or _text(about, "errorMessage")
    if kind == "Bounce":
        code = f"{_text(about, 'bounceType')}.{_text(about, 'bounceSubType')}"
        text = next((_text(one, "diagnosticCode") for one in _objects(about.get("bouncedRecipients"))), "")
    known = errors.known("ses", code)
    failure: Failure = known.failure if known else "address" if code.startswith("Permanent") else "transient"
    return Receipt(key, status, at, *place, failure, code, mask(text))


def ses_objection(message: Mapping[str, str], now: datetime) -> Objection | None:
    """Return who has called a message spam, or unsubscribed."""
    event, kind = _ses(message)
    place = _ses_place(event)
    if kind not in ("Complaint", "Subscription") or not any(place):
        return None
    about = _object(event, kind.lower())
    key = f"ses:{place[1]}:{kind}:{_text(about, 'feedbackId') or _text(about, 'timestamp')}"
    return Objection(key, _iso(_text(about, "timestamp"), now), kind, *place)


def _sendgrid_place(event: Mapping[str, Any]) -> tuple[str, str]:
    return _text(event, REFERENCE), message_id_of(_text(event, "sg_message_id"))


def _sendgrid_key(event: Mapping[str, Any]) -> str:
    own = _text(event, "sg_event_id")
    if own:
        return f"sendgrid:{own}"
    return "sendgrid:" + ":".join((*_sendgrid_place(event), _text(event, "event"), str(event.get("timestamp", ""))))


def _sendgrid_code(event: Mapping[str, Any], errors: Errors) -> str:
    kind = _text(event, "event")
    if kind == "bounce":
        return "blocked" if _text(event, "type") == "blocked" else "bounce"
    reason = _text(event, "reason")
    return reason if errors.known("sendgrid", reason) else kind


def _ses(message: Mapping[str, str]) -> tuple[Mapping[str, Any], str]:
    try:
        found: Any = json.loads(message.get("Message", ""))
    except ValueError:
        found = {}
    event = found if isinstance(found, dict) else {}
    return event, _text(event, "eventType") or _text(event, "notificationType")


def _ses_place(event: Mapping[str, Any]) -> tuple[str, str]:
    mail = _object(event, "mail")
    tags = _object(mail, "tags").get(REFERENCE)
    reference = tags[0] if isinstance(tags, list) and tags and isinstance(tags[0], str) else ""
    return reference, _text(mail, "messageId")


def _ses_member(kind: str) -> str:
    return {"DeliveryDelay": "deliveryDelay", "Rendering Failure": "failure"}.get(kind, kind.lower())


def _objects(value: Any) -> Iterable[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _unix(value: Any, now: datetime) -> datetime:
    try:
        return datetime.fromtimestamp(int(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return now


def _iso(text: str, now: datetime) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return now
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _rfc2822(text: str, now: datetime) -> datetime:
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return now
    return found if found.tzinfo else found.replace(tzinfo=UTC)
