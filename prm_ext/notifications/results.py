"""What clients see of a delivery: a Communication for each channel that was tried, and the status of the request.

https://hl7.org/fhir/R4/communication.html. The table of statuses is in docs/notifications/README.md. It is made from the
record of the delivery alone, so it may be made again at any time, and by whoever comes first.
"""

import uuid
from collections.abc import Mapping
from typing import Any, Final

from fhir_server.events.consumer import ContextOf
from fhir_server.exchange import Context, Resource
from fhir_server.interactions.writing import commit, indexed
from fhir_server.store.database import Document
from fhir_server.store.versions import Version, instant
from fhir_server.store.writes import VersionConflictError
from prm_ext.notifications.codes import (
    ANOTHER_CHANNEL,
    CONTENT_SID,
    NOT_DONE,
    PROVIDER,
    READ_AT,
    REASON,
    TOPIC,
    medium,
)
from prm_ext.notifications.means import Means
from prm_ext.notifications.records import OPEN

ATTEMPTS: Final = 20
_NAMESPACE: Final = uuid.UUID("6f4a7a0e-2f0b-5c1e-9c53-0f9e6a1d7b42")
_STATUS: Final[Mapping[str, str]] = {
    "queued": "preparation",
    "sending": "in-progress",
    "sent": "in-progress",
    "delivered": "completed",
    "read": "completed",
    "cancelled": "stopped",
}
_NOT_DONE: Final[Mapping[str, tuple[str, str]]] = {
    "opted-out": ("patient-objection", "Patient Objection"),
    "address": ("invalid-phone-number", "Invalid Phone Number"),
    "unreachable": ("recipient-unavailable", "Recipient Unavailable"),
    "no-address": ("recipient-unavailable", "Recipient Unavailable"),
    "deceased": ("recipient-unavailable", "Recipient Unavailable"),
    "family": ("family-objection", "Family Objection"),
    "unknown": ("unknown", "Unknown"),
}
_TOPICS: Final[Mapping[str, tuple[str, str]]] = {
    "appointment-reminder": ("appointment-reminder", "Appointment Reminder"),
    "lab-results": ("report-labs", "Report Labs"),
}


class Results:
    """Writes what clients see."""

    def __init__(self, means: Means, context_of: ContextOf) -> None:
        self._means = means
        self._context_of = context_of

    async def show(self, found: Document) -> None:
        """Bring the Communications and the request of a delivery in line with it."""
        await self.show_in(await self._context_of(found["t"]), found)

    async def show_in(self, ctx: Context, found: Document, request: Version | None = None) -> None:
        """Do so in the context of the delivery's tenant; a version of the request that was just read spares reading it."""
        for place, message in enumerate(found.get("messages") or ()):
            await self._communication(ctx, found, place, message, request)
        if not found.get("messages") and found["state"] == "done" and (found["status"] == "failed" or "withdrawn" in found):
            # Nothing was ever tried; that it is not done has to be told all the same. What ends a whole request says so itself.
            await self._communication(ctx, found, 0, _untried(found), request)
        if found["state"] == "done":
            await self._request(ctx, found)
        await self._means.deliveries.shown(found)

    async def _communication(
        self, ctx: Context, found: Document, place: int, message: Mapping[str, Any], request: Version | None
    ) -> None:
        is_new = len(message["tries"]) == 1 and not message.get("receipts")
        for number in range(ATTEMPTS):
            # Most are seen here for the first time; one that is there after all is met as a conflict.
            previous = None if is_new and not number else await ctx.repo.current("Communication", message["id"])
            if previous is not None and previous.resource is None:
                return  # Somebody has deleted it.
            before = previous.resource if previous is not None else None
            if before is not None:
                # Read after what is to be replaced, so that it is not older than what that was made of.
                found = await self._means.deliveries.get(found["_id"]) or found
                message = found["messages"][place] if found.get("messages") else message
            if before is None and request is None:
                request = await ctx.repo.current("CommunicationRequest", found["request"])
            base = before if before is not None else _made(found, place, message, request)
            resource = _moved(base, found, message)
            if before is not None and all(before.get(name) == resource.get(name) for name in _MOVING):
                return
            try:
                # No claims on the provider's ids: the id of the Communication is made of what they belong to.
                await commit(ctx, indexed(ctx, resource, id_=message["id"], method="PUT", previous=previous))
            except VersionConflictError:
                continue
            return
        raise VersionConflictError("Communication", message["id"])

    async def _request(self, ctx: Context, found: Document) -> None:
        """Complete a request when nothing of it is open any more."""
        if not found.get("alone"):
            open_: Document = {"t": ctx.tenant, "request": found["request"], "state": {"$in": list(OPEN)}}
            if await self._means.deliveries.collection.count_documents(open_, limit=1):
                return
        for _ in range(ATTEMPTS):
            previous = await ctx.repo.current("CommunicationRequest", found["request"])
            resource = previous.resource if previous is not None else None
            if resource is None or resource["status"] != "active" or resource.get("doNotPerform"):
                return
            # Read after it: who revived the delivery has made the request active again before.
            found = await self._means.deliveries.get(found["_id"]) or found
            if found["state"] != "done":
                return
            changed = {**resource, "status": "completed"}
            if found["status"] == "failed":
                changed["statusReason"] = _reason(found)
            try:
                await commit(ctx, indexed(ctx, changed, id_=found["request"], method="PUT", previous=previous))
            except VersionConflictError:
                continue
            return
        raise VersionConflictError("CommunicationRequest", found["request"])


_MOVING: Final = ("status", "statusReason", "sent", "received", "identifier", "extension")


def _made(found: Document, place: int, message: Mapping[str, Any], version: Version | None) -> Resource:
    """Return the Communication of a message, but for what moves."""
    request = (version.resource if version is not None else None) or {}
    resource: Resource = {
        "resourceType": "Communication",
        "id": message["id"],
        "basedOn": [{"reference": f"CommunicationRequest/{found['request']}"}],
        "status": "preparation",
    }
    if found.get("template"):
        resource["instantiatesCanonical"] = [message.get("template") or found["template"]]
    if place:
        resource["partOf"] = [{"reference": f"Communication/{found['messages'][0]['id']}"}]
    for name in ("category", "priority", "subject", "about", "encounter", "sender", "reasonCode", "reasonReference", "meta"):
        if name in request:
            resource[name] = request[name]
    answered = [one for one in request.get("about", ()) if one.get("reference", "").startswith("Communication/")]
    if answered:
        resource["inResponseTo"] = answered
    if "meta" in request:
        resource["meta"] = {name: value for name, value in request["meta"].items() if name in ("security", "tag")}
        if not resource["meta"]:
            del resource["meta"]
    if message.get("channel"):
        resource["medium"] = [medium(message["channel"])]
    _add_recipient(resource, request, found)
    _add_content(resource, request, message, found["kind"])
    return resource


def _add_recipient(resource: Resource, request: Resource, found: Mapping[str, Any]) -> None:
    who = found["recipient"]
    named = [one for one in request.get("recipient", ()) if one.get("reference", "").endswith(who)] if who else []
    if named:
        resource["recipient"] = named[:1]
    elif who:
        resource["recipient"] = [{"reference": who}]
    elif request.get("recipient"):
        resource["recipient"] = request["recipient"][:1]
    contained = [one for one in request.get("contained", ()) if f"#{one.get('id')}" == who]
    if contained:
        resource["contained"] = contained
    if who.startswith("Patient/"):
        resource.setdefault("subject", {"reference": who})


def _add_content(resource: Resource, request: Resource, message: Mapping[str, Any], kind: str) -> None:
    texts = [{"contentString": message["body"]}] if message.get("body") else []
    rest = [one for one in request.get("payload", ()) if "contentString" not in one]
    if texts or rest:
        resource["payload"] = [*texts, *rest]
    topic: Resource = {}
    if kind in _TOPICS:
        code, display = _TOPICS[kind]
        topic["coding"] = [{"system": TOPIC, "code": code, "display": display}]
    if message.get("subject"):
        topic["text"] = message["subject"]
    if topic:
        resource["topic"] = topic


def _moved(resource: Resource, found: Mapping[str, Any], message: Mapping[str, Any]) -> Resource:
    """Return a Communication with what a delivery moves."""
    changed = {name: value for name, value in resource.items() if name not in ("status", "statusReason")}
    changed["status"] = status_of(found, message)
    reason = _reason(message) if message["status"] in ("failed", "cancelled") else _open_reason(found, changed["status"])
    if reason:
        changed["statusReason"] = reason
    if reason and message["status"] == "failed" and _goes_on(found, message):
        reason["coding"].append({"system": REASON, "code": ANOTHER_CHANNEL})
    if "sent" in message:
        changed["sent"] = instant(message["sent"])
    if "delivered" in message:
        changed["received"] = instant(message["delivered"])
    _add_identifiers(changed, message)
    others = [one for one in changed.get("extension", ()) if one.get("url") not in (READ_AT, CONTENT_SID)]
    if "read" in message:
        others.append({"url": READ_AT, "valueDateTime": instant(message["read"])})
    if message.get("content_sid"):
        others.append({"url": CONTENT_SID, "valueString": message["content_sid"]})
    if others:
        changed["extension"] = others
    return changed


def _goes_on(found: Mapping[str, Any], message: Mapping[str, Any]) -> bool:
    """Tell whether a delivery went on, or still does, after a message had failed."""
    messages = found.get("messages") or ()
    place = next((place for place, one in enumerate(messages) if one["id"] == message["id"]), -1)
    last = place == len(messages) - 1
    # What failed before it was revived was the end, at that time.
    return place >= found.get("since", 0) and not (last and found["state"] == "done")


def status_of(found: Mapping[str, Any], message: Mapping[str, Any]) -> str:
    """Return Communication.status of a message."""
    if message["status"] == "failed":
        left = any(one.get("outcome") == "accepted" or one.get("provider_id") for one in message["tries"])
        exhausted = message.get("failure") == "transient"
        return "stopped" if left or exhausted else "not-done"
    if found["state"] == "done" and message["status"] in ("queued", "sending", "sent"):
        # No receipt will come: of some providers there is none, of others it should have come.
        return "unknown" if found.get("unconfirmed") else "completed"
    return _STATUS[message["status"]]


def _open_reason(found: Mapping[str, Any], status: str) -> Resource | None:
    if status != "unknown" or not found.get("unconfirmed"):
        return None
    return {"coding": [{"system": NOT_DONE, "code": "unknown", "display": "Unknown"}], "text": "No receipt has come."}


def _reason(message: Mapping[str, Any]) -> Resource:
    failure = message.get("failure", "")
    codings = []
    if failure == "address" and message.get("channel") == "email":
        codings.append({"system": NOT_DONE, "code": "recipient-unavailable", "display": "Recipient Unavailable"})
    elif failure != "cancelled":
        code, display = _NOT_DONE.get(failure, ("system-error", "System Error"))
        codings.append({"system": NOT_DONE, "code": code, "display": display})
    codings.append({"system": REASON, "code": failure})
    if message.get("code") and message.get("provider"):
        codings.append({"system": PROVIDER + message["provider"], "code": message["code"]})
    return {"coding": codings, **({"text": message["text"]} if message.get("text") else {})}


def _add_identifiers(resource: Resource, message: Mapping[str, Any]) -> None:
    known = list(resource.get("identifier", ()))
    for attempt in message["tries"]:
        if attempt.get("provider_id"):
            identifier = {"system": PROVIDER + message["provider"], "value": attempt["provider_id"]}
            if identifier not in known:
                known.append(identifier)
    if known:
        resource["identifier"] = known


def _untried(found: Mapping[str, Any]) -> Document:
    """Return what stands for the message of a delivery that ended before there was one."""
    why = {name: found.get(name, "") for name in ("failure", "code", "text")}
    channels = found.get("channels") or [""]
    return {"id": message_id(found, 0), "status": "failed", "channel": channels[0], "tries": [], **why}


def message_id(found: Mapping[str, Any], place: int) -> str:
    """Return the id of the Communication of the message in a place, the same whenever it is asked for."""
    return str(uuid.uuid5(_NAMESPACE, f"{found['_id']}/{place}"))
