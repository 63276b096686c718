"""From a CommunicationRequest to the deliveries that it asks for, and back when it asks for them no more.

https://hl7.org/fhir/R4/communicationrequest-definitions.html

It follows the change feed, which misses no version and may tell of one twice: what is planned already stays as it is.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from fhir_server.events.event import Event
from fhir_server.exchange import Context, Resource
from fhir_server.fhir.outcome import FhirError
from fhir_server.store.database import Document
from fhir_server.store.versions import Version, instant
from prm_ext.notifications.clock import clock_of
from prm_ext.notifications.codes import ADDRESS, CAMPAIGN, INSTANTIATES, TIMING, channels_of, kind_of
from prm_ext.notifications.hours import zone_of
from prm_ext.notifications.means import Means, MeansOf
from prm_ext.notifications.occurrences import Occurrence, next_occurrence
from prm_ext.notifications.recipients import current_of, everybody
from prm_ext.notifications.records import PRIORITY, key
from prm_ext.notifications.replanning import cancel, hold, resume, show, withdraw
from prm_ext.notifications.withdrawing import name_of, withdrawn, withdrawn_of

TYPE: Final = "CommunicationRequest"
_DUPLICATE_KEY: Final = 11000
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9.-]")


@dataclass(frozen=True, slots=True)
class Target:
    """One recipient of a request."""

    recipient: str
    """Such as `Patient/1`, or `#it` of a contained resource; empty where only an address is given."""
    given: str
    """The address that the request names, if any."""
    place: str
    """What tells it from the other recipients; the first has none."""


class Planner:
    """Plans what requests ask for."""

    def __init__(self, means: MeansOf) -> None:
        self._means = means

    async def handle(self, ctx: Context, event: Event) -> None:
        """Bring the deliveries of a request in line with what it says now."""
        if not self._means.settings.enabled:
            return
        means, version = await self._means(ctx), await ctx.repo.current(TYPE, event.change.id)
        # Most were planned by the process that wrote them (`promptly`).
        if version is not None and not await means.deliveries.is_planned(ctx.tenant, version.id, version.number):
            await plan(ctx, means, version)


async def plan(ctx: Context, means: Means, version: Version) -> None:
    """Bring the deliveries of a request in line with a version of it, unless a later one has been followed already."""
    request = version.resource
    if request is None or request["status"] not in ("active", "on-hold", "draft") or request.get("doNotPerform"):
        await cancel(ctx, means, version)
    elif request["status"] != "active":
        await hold(ctx, means, version)
    else:
        await _plan_occurrence(ctx, means, version, request, None)
        if version.number > 1:
            await resume(ctx, means, version, repeats=timing_of(request) is not None)
            await withdraw(ctx, means, version, request)


async def plan_next(ctx: Context, means: Means, version: Version, after: datetime) -> bool:
    """Plan the occurrence of a request that follows one; False where that was the last."""
    if version.resource is None:
        return False
    return await _plan_occurrence(ctx, means, version, version.resource, after)


async def _plan_occurrence(ctx: Context, means: Means, version: Version, request: Resource, after: datetime | None) -> bool:
    targets = [target async for target in _targets(ctx, request)]
    try:
        occurrence = await occurrence_of(ctx, means, request, targets[0], after)
        refusal: Document = {}
    except FhirError as error:
        # What can not be understood ends at once, and says why.
        occurrence, refusal = Occurrence(ctx.now(), None, ""), _refusal("schedule", _texts(error), ctx.now())
    if occurrence is None and after is None:
        # All of its times have passed, and somebody waits to hear what became of it.
        text = "All times at which it was to be sent have passed."
        occurrence, refusal = Occurrence(ctx.now(), None, ""), _refusal("expired", text, ctx.now())
    if occurrence is None:
        return False
    common = {**facts(ctx, means, version, request, occurrence), **refusal}
    alone = len(targets) == 1 and not occurrence.key
    # The same whoever plans it, and when.
    created = version.last_updated if after is None else ctx.now()
    documents = [
        _document(ctx.tenant, request["id"], occurrence, target, {**common, "alone": alone}, created) for target in targets
    ]
    gone = withdrawn_of(request)
    documents = [withdrawn(one, ctx.now()) if name_of(one) in gone else one for one in documents]
    await _store(means, version.number, documents)
    if occurrence.key and all("withdrawn" in one for one in documents):
        # Nobody will send one of them, and plan what comes next.
        await _plan_occurrence(ctx, means, version, request, occurrence.at)
    if refusal or any("withdrawn" in one for one in documents):
        await show(ctx, means, [one for one in await means.deliveries.of_request(ctx.tenant, request["id"]) if "stale" in one])
    return True


async def occurrence_of(
    ctx: Context, means: Means, request: Resource, target: Target, after: datetime | None
) -> Occurrence | None:
    """Return when a request is due, in the time zone of its first recipient."""
    settings = means.settings.of(ctx.tenant)
    timing = timing_of(request)
    if timing is not None:
        request = {**request, "occurrenceTiming": timing, **await _authored(ctx, means, request)}
    # Of a moment with its own time zone nobody has to know the recipient's.
    timed = timing is None and "T" in str(request.get("occurrenceDateTime", "T"))
    recipient = None if timed else await current_of(ctx, target.recipient)
    zone = zone_of(recipient, settings.time_zone)
    return next_occurrence(request, after=after, zone=zone, now=ctx.now(), clock=clock_of(settings.clock_times))


async def _authored(ctx: Context, means: Means, request: Resource) -> Resource:
    """Return `authoredOn` of a request that does not say: when it was first planned, so that an edit shifts no schedule."""
    if "authoredOn" in request:
        return {}
    first = await means.deliveries.first_of(ctx.tenant, request["id"])
    return {"authoredOn": instant(first["created"])} if first is not None else {}


def timing_of(request: Resource) -> Any:
    """Return when a request is due again and again; None where it is due once."""
    return next((one.get("valueTiming") for one in request.get("extension", ()) if one.get("url") == TIMING), None)


def facts(ctx: Context, means: Means, version: Version, request: Resource, occurrence: Occurrence) -> Document:
    """Return what all deliveries of an occurrence have in common."""
    latest = occurrence.at + timedelta(hours=means.settings.of(ctx.tenant).max_age_hours)
    channels = channels_of(request.get("medium"))
    found: Document = {
        "version": version.number,
        "at": occurrence.at,
        "due": occurrence.at,
        "expires": occurrence.until or latest,
        "channels": list(channels),
        "lane": channels[0] if channels else "",
        "priority": PRIORITY.get(request.get("priority", "routine"), PRIORITY["routine"]),
        "kind": kind_of(request.get("category")),
        "updated": ctx.now(),
    }
    group = request.get("groupIdentifier", {})
    if group.get("system") == CAMPAIGN:
        found["campaign"] = group.get("value", "")
    if template := template_of(request):
        found["template"] = template
    return found


def _texts(error: FhirError) -> str:
    return "; ".join(issue.diagnostics for issue in error.issues)


def _refusal(failure: str, text: str, now: datetime) -> Document:
    return {"failure": failure, "code": "", "text": text, "state": "done", "status": "failed", "stale": now}


def template_of(request: Resource) -> str:
    """Return the canonical URL of the template that a request is made from, or nothing."""
    found = (one.get("valueCanonical", "") for one in request.get("extension", ()) if one.get("url") == INSTANTIATES)
    return next(found, "")


async def target_of(ctx: Context, request: Resource, found: Document) -> Target | None:
    """Return whom a delivery is for as its request says now; None where that names nobody in this place any more."""
    targets = [target async for target in _targets(ctx, request)]
    wanted = found["_id"]
    return next((one for one in targets if key(ctx.tenant, request["id"], found["occurrence"], one.place) == wanted), None)


async def _targets(ctx: Context, request: Resource) -> AsyncIterator[Target]:
    found = False
    references = request.get("recipient") or ([request["subject"]] if "subject" in request else [{}])
    for number, reference in enumerate(references):
        async for target in _expanded(ctx, reference, number):
            yield target
            found = True
    if not found:
        yield Target("", "", "")


async def _expanded(ctx: Context, reference: Resource, number: int) -> AsyncIterator[Target]:
    who = _local(ctx, reference.get("reference", ""))
    given = next((one.get("valueString", "") for one in reference.get("extension", ()) if one.get("url") == ADDRESS), "")
    for member in await everybody(ctx, who):
        if member == who:
            yield Target(who, given, str(number) if number else "")
        else:
            yield Target(member, "", f"{number}.{_UNSAFE.sub('.', member)}")


def _local(ctx: Context, reference: str) -> str:
    return reference.removeprefix(ctx.base_url + "/").partition("/_history/")[0]


def _document(tenant: str, request: str, occurrence: Occurrence, target: Target, common: Document, now: datetime) -> Document:
    return {
        "state": "waiting",
        "status": "queued",
        **common,
        "_id": key(tenant, request, occurrence.key, target.place),
        "t": tenant,
        "rev": 1,
        "request": request,
        "occurrence": occurrence.key,
        "recipient": target.recipient,
        "given": target.given,
        "created": now,
    }


async def _store(means: Means, version: int, documents: list[Document]) -> None:
    """Make deliveries, or change those that nobody is sending yet and that an earlier version planned."""
    if version == 1 and await means.deliveries.insert(documents):
        return
    try:
        await means.deliveries.collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        if error.details["writeConcernErrors"] or any(one["code"] != _DUPLICATE_KEY for one in error.details["writeErrors"]):
            raise
        present = [documents[one["index"]] for one in error.details["writeErrors"]]
        await means.deliveries.collection.bulk_write([_replan(version, one) for one in present], ordered=False)


def _replan(version: int, document: Document) -> UpdateOne:
    open_or_cancelled: Document = {
        "$or": [
            {"state": {"$in": ["waiting", "held"]}, "messages": {"$exists": False}},
            {"state": "done", "status": "cancelled", "withdrawn": {"$exists": False}},
            {"state": "done", "failure": {"$in": ["schedule", "expired"]}, "messages": {"$exists": False}},
        ]
    }
    values = {name: value for name, value in document.items() if name not in ("_id", "rev", "created")}
    return UpdateOne(
        {"_id": document["_id"], "version": {"$lt": version}, **open_or_cancelled},
        {"$set": values, "$inc": {"rev": 1}, "$unset": {name: "" for name in ("failure", "code", "text") if name not in values}},
    )
