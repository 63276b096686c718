"""Between flat JSON and CommunicationRequest: https://hl7.org/fhir/R4/communicationrequest.html, docs/prm/notifications.md."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from fhir_server.exchange import Resource
from fhir_server.resources.communication_request import IDEMPOTENCY
from fhir_server.store.database import Document
from fhir_server.store.versions import instant
from prm_ext.notifications import codes
from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.orders import Order, resource_of
from prm_ext.notifications.schemas import Repeat, When, Window

REQUESTERS: Final = frozenset(
    {"Practitioner", "PractitionerRole", "Organization", "Patient", "RelatedPerson", "Device"},
)
"""https://hl7.org/fhir/R4/communicationrequest-definitions.html#CommunicationRequest.requester"""
_UNITS: Final = {"minute": "min", "hour": "h", "day": "d", "week": "wk", "month": "mo", "year": "a"}
_FIELDS: Final = {
    "occurrenceDateTime": "send_at",
    "occurrencePeriod": "period",
    "occurrenceTiming": "repeat",
    "recipient": "to",
    "subject": "patient_id",
    "about": "about",
    "payload": "body",
    "medium": "channel",
    "priority": "priority",
    "category": "category",
}
_STATUS: Final = {"completed": "sent", "revoked": "cancelled", "entered-in-error": "cancelled"}
_NOTICEABLE: Final = timedelta(seconds=5)
"""So much later than it was asked for something is scheduled."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a CommunicationRequest is to say."""

    patient: str = ""
    to: str = ""
    """In the form of E.164, or an email address."""
    channel: Channel | None = None
    subject: str = field(default="", repr=False)
    body: str = field(default="", repr=False)
    template: str = ""
    """`url|version`."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    media: Sequence[str] = ()
    about: Sequence[str] = ()
    priority: str = "routine"
    kind: str = "message"
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    when: Mapping[str, Any] = field(default_factory=dict)
    """`occurrence[x]`, if any; what repeats has `extension` instead, which holds a Timing."""
    campaign: str = ""
    key: str = ""
    """By which it is known again, if it is asked for twice."""
    requester: str = ""
    security: Sequence[Mapping[str, Any]] = ()


def request_of(wanted: Wanted, now: datetime) -> Resource:
    """Return the CommunicationRequest, without an id."""
    recipient: Resource = {"reference": f"Patient/{wanted.patient}"} if wanted.patient else {}
    if wanted.to:
        recipient["extension"] = [{"url": codes.ADDRESS, "valueString": wanted.to}]
    more: dict[str, Any] = {name: value for name, value in wanted.when.items() if name != "extension"}
    if wanted.channel:
        more["medium"] = [codes.medium(wanted.channel)]
    if extensions := [*wanted.when.get("extension", ()), *_extensions(wanted)]:
        more["extension"] = extensions
    if wanted.key:
        more["identifier"] = [{"system": IDEMPOTENCY, "value": wanted.key}]
    if wanted.campaign:
        more["groupIdentifier"] = {"system": codes.CAMPAIGN, "value": wanted.campaign}
    if wanted.requester.partition("/")[0] in REQUESTERS:
        more["requester"] = {"reference": wanted.requester}
    subject = f"Patient/{wanted.patient}" if wanted.patient else ""
    order = Order(
        recipient,
        wanted.kind,
        subject=subject,
        template=wanted.template,
        about=wanted.about,
        priority=wanted.priority,
        security=wanted.security,
        more=more,
    )
    found = resource_of(order, "", now)
    del found["id"]
    if payload := [
        *_texts(wanted.body),
        *({"contentReference": {"reference": f"DocumentReference/{one}"}} for one in wanted.media),
    ]:
        found["payload"] = payload
    return found


def _texts(body: str) -> list[Resource]:
    return [{"contentString": body}] if body else []


def _extensions(wanted: Wanted) -> list[Resource]:
    found: list[Resource] = []
    if wanted.subject:
        found.append({"url": codes.SUBJECT, "valueString": wanted.subject})
    if wanted.variables:
        values = [{"url": name, "valueString": value} for name, value in wanted.variables.items() if value != ""]
        found += [{"url": codes.VARIABLES, "extension": values}] if values else []
    if wanted.metadata:
        found.append({"url": codes.METADATA, "valueString": json.dumps(wanted.metadata, ensure_ascii=False)})
    return found


def occurrence_of(when: When) -> dict[str, Any]:
    """Return `occurrence[x]`; of what repeats `extension` with a Timing, which R4 has no place for."""
    if when.send_at is not None:
        return {"occurrenceDateTime": _text(when.send_at)}
    if when.period is not None:
        return {"occurrencePeriod": _period(when.period)}
    return {"extension": [{"url": codes.TIMING, "valueTiming": {"repeat": _timing(when.repeat or Repeat())}}]}


def rescheduled(request: Resource, when: Mapping[str, Any]) -> Resource:
    """Return a request that is due at another time; `when` as `occurrence_of` gives it."""
    found = {name: value for name, value in request.items() if not name.startswith("occurrence") and name != "extension"}
    others = [one for one in request.get("extension", ()) if one.get("url") != codes.TIMING]
    found |= {name: value for name, value in when.items() if name != "extension"}
    extensions = [*when.get("extension", ()), *others]
    return found | ({"extension": extensions} if extensions else {})


def _period(window: Window) -> Resource:
    start = {"start": _text(window.start)} if window.start is not None else {}
    return {**start, "end": _text(window.end)}


def _timing(repeat: Repeat) -> Resource:
    found: Resource = {"period": repeat.every, "periodUnit": _UNITS[repeat.unit]}
    if not repeat.times:
        found["frequency"] = repeat.frequency
    if repeat.days:
        found["dayOfWeek"] = list(dict.fromkeys(repeat.days))
    if repeat.times:
        found["timeOfDay"] = [f"{one}:00" for one in dict.fromkeys(repeat.times)]
    if repeat.count is not None:
        found["count"] = repeat.count
    ends = {name: _text(value) for name, value in (("start", repeat.start), ("end", repeat.end)) if value is not None}
    return found | ({"boundsPeriod": ends} if ends else {})


def _text(moment: datetime | date) -> str:
    return moment.isoformat(timespec="milliseconds") if isinstance(moment, datetime) else moment.isoformat()


def field_of(expression: str) -> str:
    """Return the flat field that a FHIRPath in a CommunicationRequest is about, or nothing."""
    name = expression.removeprefix("CommunicationRequest.").partition(".")[0].partition("[")[0]
    return _FIELDS.get(name, "" if "." in expression or expression == "CommunicationRequest" else expression)


@dataclass(frozen=True, slots=True)
class Seen:
    """What whoever asks may see of a notification."""

    request: Resource
    delivery: Document | None
    """None as long as it is not planned."""
    with_text: bool
    """What a message said, when it was made."""
    with_address: bool
    """The addresses of the recipient."""
    template_id: str = ""


def flat(tenant: str, seen: Seen) -> dict[str, Any]:
    """Return a notification in its flat form."""
    request, found = seen.request, seen.delivery or {}
    message: Document = (found.get("messages") or [{}])[-1]
    channels = codes.channels_of(request.get("medium"))
    recipient: Resource = next(iter(request.get("recipient", ())), request.get("subject", {}))
    who = str(found.get("recipient", recipient.get("reference", "")))
    values = {
        "id": found["_id"].partition("/")[2] if found else request["id"],
        "org_id": tenant,
        "channel": message.get("channel") or (channels[0] if channels else None),
        "to": _address(seen, found.get("given") or _given(recipient), message),
        "subject": _subject(seen, message),
        "body": _body(seen, message),
        "template_id": seen.template_id or None,
        "metadata": metadata_of(request),
        "status": found.get("status") or _STATUS.get(request["status"], "queued"),
        "sent_at": _last(found, "sent"),
        "created_at": instant(found["created"]) if found else asked_at(request),
        "updated_at": instant(found["updated"]) if found else request["meta"]["lastUpdated"],
        "patient_id": _id_of(who, "Patient") or _id_of(request.get("subject", {}).get("reference", ""), "Patient"),
        "appointment_id": next(
            filter(None, (_id_of(one.get("reference", ""), "Appointment") for one in request.get("about", ()))), None
        ),
        "category": codes.kind_of(request.get("category")),
        "priority": request.get("priority", "routine"),
        "scheduled_at": _scheduled(request, found),
        "delivered_at": _last(found, "delivered"),
        "read_at": _last(found, "read"),
        "provider": message.get("provider"),
        "provider_message_id": _provider_id(message),
        "attempts": sum(len(one["tries"]) for one in found.get("messages") or ()),
        "campaign_id": found.get("campaign") or _campaign(request),
        "template": message.get("template") or template_of(request) or None,
        "request_id": request["id"],
        "communication_id": message.get("id"),
    }
    return values | _failure(found)


def asked_at(request: Resource) -> str:
    """Return when a request was asked for, where it is not planned yet."""
    meta = request["meta"]
    return str(meta["lastUpdated"] if meta["versionId"] == "1" else request.get("authoredOn") or meta["lastUpdated"])


def _failure(found: Mapping[str, Any]) -> dict[str, Any]:
    if found.get("status") != "failed":
        return {"error": None, "error_reason": None, "error_code": None}
    reason = found.get("failure") or "transient"
    return {"error": found.get("text") or reason, "error_reason": reason, "error_code": found.get("code") or None}


def _address(seen: Seen, given: str, message: Mapping[str, Any]) -> str | None:
    if given:
        return given
    return str(message["to"]) if seen.with_address and "to" in message else None


def _subject(seen: Seen, message: Mapping[str, Any]) -> str | None:
    made = message.get("subject") if seen.with_text else None
    return made or _extension(seen.request, codes.SUBJECT) or None


def _body(seen: Seen, message: Mapping[str, Any]) -> str | None:
    if seen.with_text and message.get("body"):
        return str(message["body"])
    texts = [one["contentString"] for one in seen.request.get("payload", ()) if "contentString" in one]
    return "\n".join(texts) or None


def _scheduled(request: Resource, found: Mapping[str, Any]) -> str | None:
    if "at" not in found:
        begin: str | None = request.get("occurrenceDateTime") or request.get("occurrencePeriod", {}).get("start")
        return begin
    return instant(found["at"]) if found["at"] - found["created"] > _NOTICEABLE else None


def _last(found: Mapping[str, Any], name: str) -> str | None:
    moments = [one[name] for one in found.get("messages") or () if name in one]
    return instant(moments[-1]) if moments else None


def _provider_id(message: Mapping[str, Any]) -> str | None:
    return next((one["provider_id"] for one in reversed(message.get("tries", ())) if one.get("provider_id")), None)


def _campaign(request: Resource) -> str | None:
    group = request.get("groupIdentifier", {})
    return str(group.get("value")) if group.get("system") == codes.CAMPAIGN else None


def _given(recipient: Resource) -> str:
    return _extension(recipient, codes.ADDRESS)


def _extension(node: Mapping[str, Any], url: str) -> str:
    return next((str(one.get("valueString", "")) for one in node.get("extension", ()) if one.get("url") == url), "")


def _id_of(reference: str, type_: str) -> str | None:
    found, _, id_ = reference.rpartition("/")
    return id_ if found.rpartition("/")[2] == type_ else None


def template_of(request: Resource) -> str:
    """Return the template of a request, as `url|version`, or nothing."""
    return next(
        (str(one.get("valueCanonical", "")) for one in request.get("extension", ()) if one.get("url") == codes.INSTANTIATES), ""
    )


def metadata_of(request: Resource) -> dict[str, Any]:
    """Return what whoever asked for a request has noted with it."""
    try:
        found = json.loads(_extension(request, codes.METADATA) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
