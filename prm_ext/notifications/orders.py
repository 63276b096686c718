"""CommunicationRequests that the product writes by itself: for appointments, by rules, in answer to messages.

https://hl7.org/fhir/R4/communicationrequest.html. Their ids follow from what they are for, so that whatever asks for one
again finds it there.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from fhir_server.exchange import Call, Context, Resource
from fhir_server.store.versions import instant
from prm_ext.notifications import codes

TYPE: Final = "CommunicationRequest"
_NAMESPACE: Final = uuid.UUID("0b6f2f0e-51c4-5d55-9c1e-8f7f7d0b6a11")


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be said to whom."""

    recipient: Resource
    """A reference."""
    kind: str
    """Of the notification (`codes.KINDS`)."""
    subject: str = ""
    """The patient whom it is about, such as `Patient/1`."""
    template: str = ""
    """Its canonical URL."""
    text: str = ""
    """Without a template."""
    about: Sequence[str] = ()
    language: str = ""
    """Of the text."""
    priority: str = ""
    security: Sequence[Mapping[str, Any]] = ()
    """Labels of what it is about, which its message must not lose."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Other elements."""


def deterministic_id(*parts: str) -> str:
    """Return an id that follows from parts."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(parts)))


def resource_of(order: Order, id_: str, now: datetime) -> Resource:
    """Return the request, active."""
    found: Resource = {
        "resourceType": TYPE,
        "id": id_,
        "status": "active",
        "category": codes.category(order.kind),
        "authoredOn": instant(now),
        "recipient": [order.recipient],
        **order.more,
    }
    if order.security:
        found["meta"] = {"security": [dict(one) for one in order.security]}
    if order.template:
        found["extension"] = [{"url": codes.INSTANTIATES, "valueCanonical": order.template}, *found.get("extension", ())]
    if order.subject:
        found["subject"] = {"reference": order.subject}
    if order.about:
        found["about"] = [{"reference": one} for one in order.about]
    if order.text:
        found["payload"] = [{"contentString": order.text}]
    for name in ("language", "priority"):
        if value := getattr(order, name):
            found[name] = value
    return found


def stored(resource: Resource) -> Resource:
    """Return the entry of a transaction that stores a resource, as long as nobody else has changed it."""
    request = {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}
    if version := resource.get("meta", {}).get("versionId"):
        request["ifMatch"] = f'W/"{version}"'
    return {"resource": resource, "request": request}


async def transact(ctx: Context, entries: Sequence[Resource]) -> None:
    """Store all entries or none.

    Raises:
        FhirError: 409 or 412, others were faster.
    """
    if entries:
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
        await ctx.dispatch(ctx, Call("transaction", resource=bundle))
