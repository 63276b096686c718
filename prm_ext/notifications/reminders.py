"""What is sent for appointments: a notice when one is booked, moved or cancelled, and reminders before it begins.

docs/notifications/reminders.md. It follows the change feed and brings the CommunicationRequests of an Appointment in line
with what that says now. Those requests are all that is kept of it: what was told last stands in the latest notice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import structlog

from fhir_server.events.event import Event
from fhir_server.exchange import Context, Params, Resource
from fhir_server.fhir.dates import interval
from fhir_server.fhir.outcome import FhirError
from fhir_server.store.versions import Version, instant
from prm_ext.common.paging import search
from prm_ext.notifications import codes
from prm_ext.notifications.appointments import TYPE, Before, Booking, Templates, booking_of, templates_of
from prm_ext.notifications.orders import TYPE as REQUEST
from prm_ext.notifications.orders import Order, deterministic_id, resource_of, stored, transact
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates import template_named

APPOINTMENTS: Final = frozenset({TYPE})
NEWS: Final = timedelta(hours=24)
"""What happened longer ago is no news: it was loaded, or the feed has been behind."""
WITHDRAWN: Final = "appointment-changed"
"""Why a request was revoked, in a statusReason of ours: it may come back. What people revoke stays so."""
_ATTEMPTS: Final = 5
_PAGE: Final = 500
_OPEN: Final = frozenset({"draft", "active", "on-hold"})
_TOO_LATE: Final = frozenset({409, 412})
Kind = Literal["booked", "moved", "cancelled"]
_KINDS: Final = {
    "booked": "appointment-confirmation",
    "moved": "appointment-confirmation",
    "cancelled": "appointment-cancellation",
}


class Reminders:
    """A consumer of the change feed."""

    def __init__(self, settings: NotificationSettings) -> None:
        self._settings = settings

    async def handle(self, ctx: Context, event: Event) -> None:
        """Bring what is sent for an Appointment in line with it."""
        settings = self._settings.of(ctx.tenant)
        templates = templates_of(settings.reminders)
        if not self._settings.enabled or not templates:
            return
        for attempt in range(_ATTEMPTS):
            current = await ctx.repo.current(TYPE, event.change.id)
            if current is None:
                return
            before = await ctx.repo.version(TYPE, event.change.id, event.change.version - 1)
            requests = await _requests(ctx, event.change.id)
            try:
                await transact(ctx, await _Appointment(ctx, templates, current, before, requests, event.change.moment).entries())
            except FhirError as error:
                if error.status not in _TOO_LATE or attempt == _ATTEMPTS - 1:
                    raise
            else:
                return


async def _requests(ctx: Context, appointment: str) -> list[Resource]:
    asked: Params = (("group-identifier", f"{codes.APPOINTMENT}|{appointment}"),)
    found: list[Resource] = []
    cursor = ""
    while True:
        page = await search(ctx, REQUEST, asked, limit=min(_PAGE, ctx.settings.max_count), cursor=cursor)
        found += page.resources
        cursor = page.next
        if not cursor:
            return found


@dataclass(frozen=True, slots=True)
class _Appointment:
    """An Appointment as it is now, one version of it before, and what has been asked for so far."""

    ctx: Context
    templates: Templates
    current: Version
    before: Version | None
    requests: Sequence[Resource]
    moment: datetime

    async def entries(self) -> list[Resource]:
        """Return what has to be stored."""
        now, booking = self.ctx.now(), booking_of(self.current.resource, self.ctx.base_url)
        changed: dict[str, Resource] = {}
        kept: set[str] = set()
        if booking.is_booked() and booking.start is not None and booking.start > now:
            for patient in booking.patients:
                await self._booked(patient, booking, booking.start, changed, kept)
        elif booking.status == "cancelled" and not booking.by_reply:
            for patient in booking.patients:
                await self._cancelled(patient, booking, changed, kept)
        for request in self.requests:
            if request["id"] not in kept and request["id"] not in changed and request["status"] in _OPEN:
                changed[request["id"]] = _withdrawn(request)
        return [stored(one) for one in changed.values()]

    async def _booked(
        self, patient: str, booking: Booking, start: datetime, changed: dict[str, Resource], kept: set[str]
    ) -> None:
        for before in self.templates.before:
            found = await self._reminder(patient, booking, start, before)
            if isinstance(found, str):
                kept.add(found)
            elif found is not None:
                changed[found["id"]] = found
        told = self._told(patient)
        kind: Kind = "moved" if told is not None and told.kind != "cancelled" else "booked"
        if told is not None and told.kind != "cancelled" and told.start == start:
            kept.update(told.requests)
        elif notice := await self._notice(patient, booking, kind, start):
            changed[notice["id"]] = notice

    async def _cancelled(self, patient: str, booking: Booking, changed: dict[str, Resource], kept: set[str]) -> None:
        told = self._told(patient)
        if told is None:
            return
        if told.kind == "cancelled":
            kept.update(told.requests)
            return
        start = booking.start or told.start
        if start > self.ctx.now() and (notice := await self._notice(patient, booking, "cancelled", start)):
            changed[notice["id"]] = notice

    async def _reminder(self, patient: str, booking: Booking, start: datetime, before: Before) -> Resource | str | None:
        """Return a reminder as it has to be stored, or the id of one that is right as it is; None: there is none any more."""
        rule, at = f"before/{before.name}", start - before.lead
        earlier = [one for one in self._of(patient) if _rule(one) == rule]
        period = {"start": instant(at), "end": instant(min(start, at + before.lead / 2))}
        same = next((one for one in earlier if one.get("occurrencePeriod", {}).get("start") == period["start"]), None)
        if same is not None and not _is_withdrawn(same):
            return str(same["id"])
        if at <= self.ctx.now() or any(one["status"] == "revoked" and not _is_withdrawn(one) for one in earlier):
            return None
        waiting = next((one for one in earlier if one["status"] in _OPEN or _is_withdrawn(one)), None)
        if waiting is not None:
            found = {name: value for name, value in waiting.items() if name != "statusReason"}
            status = "active" if _is_withdrawn(waiting) else waiting["status"]
            return {**found, "status": status, "occurrencePeriod": period}
        id_ = self._id(patient, rule, str(len(earlier)) if earlier else "")
        order = await self._order(patient, booking, "appointment-reminder", before.template, rule)
        return resource_of(order, id_, self.ctx.now()) | {"occurrencePeriod": period} if order is not None else None

    async def _notice(self, patient: str, booking: Booking, kind: Kind, start: datetime) -> Resource | None:
        template, now = getattr(self.templates, kind), self.ctx.now()
        if not template or now - self.moment > NEWS or (kind == "booked" and self._is_loaded(booking)):
            return None
        rule = f"{kind}/{self.current.number}/{instant(start)}"
        order = await self._order(patient, booking, _KINDS[kind], template, rule)
        return resource_of(order, self._id(patient, rule), now) if order is not None else None

    def _is_loaded(self, booking: Booking) -> bool:
        """Tell whether an Appointment was booked elsewhere long before it came here."""
        return self.before is None and booking.created is not None and self.moment - booking.created > NEWS

    async def _order(self, patient: str, booking: Booking, kind: str, template: str, rule: str) -> Order | None:
        try:
            canonical = await template_named(self.ctx, template)
        except FhirError as error:
            structlog.get_logger().warning("a message of an appointment has no template", template=template, reason=str(error))
            return None
        group = {"system": codes.APPOINTMENT, "value": self.current.id}
        more = {"identifier": [{"system": codes.RULE, "value": rule}], "groupIdentifier": group}
        return Order(
            recipient={"reference": patient},
            kind=kind,
            subject=patient,
            template=canonical,
            about=(self.current.reference,),
            security=booking.security,
            more=more,
        )

    def _id(self, *parts: str) -> str:
        return deterministic_id(self.ctx.tenant, self.current.reference, *parts)

    def _of(self, patient: str) -> list[Resource]:
        return [one for one in self.requests if patient in (who.get("reference") for who in one.get("recipient", ()))]

    def _told(self, patient: str) -> "_Told | None":
        """Return what a patient has been told last, or knows from before anything was sent."""
        notices = [one for one in self._of(patient) if _rule(one).count("/") == _NOTICE_PARTS and not _is_withdrawn(one)]
        latest = max(notices, key=lambda one: int(_rule(one).split("/")[1]), default=None)
        if latest is not None:
            kind, _, start = _rule(latest).split("/")
            return _Told(kind, interval(start)[0], (latest["id"],))
        before = booking_of(self.before.resource if self.before is not None else None, self.ctx.base_url)
        if before.is_booked() and before.start is not None and patient in before.patients:
            return _Told("booked", before.start, ())
        return None


_NOTICE_PARTS: Final = 2


@dataclass(frozen=True, slots=True)
class _Told:
    kind: str
    start: datetime
    requests: tuple[str, ...]


def _rule(request: Resource) -> str:
    values = (one.get("value", "") for one in request.get("identifier", ()) if one.get("system") == codes.RULE)
    return str(next(values, ""))


def _withdrawn(request: Resource) -> Resource:
    coding = {"system": codes.REASON, "code": WITHDRAWN}
    return {**request, "status": "revoked", "statusReason": {"coding": [coding]}}


def _is_withdrawn(request: Resource) -> bool:
    codings = request.get("statusReason", {}).get("coding", ())
    return request["status"] == "revoked" and any(
        one.get("system") == codes.REASON and one.get("code") == WITHDRAWN for one in codings
    )
