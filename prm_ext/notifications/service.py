"""What the product does with notifications: each is a CommunicationRequest, written and read through the engine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fhir_server.exchange import Call, Context, Resource
from fhir_server.fhir.outcome import FhirError, conflict, not_found
from fhir_server.resources.communication_request import IDEMPOTENCY
from fhir_server.resources.unique import holder_of
from fhir_server.security.repository import CHANGING
from fhir_server.store.database import Document
from prm_ext.common.problems import MappedError, refused
from prm_ext.notifications import codes
from prm_ext.notifications.machine import unknown_try
from prm_ext.notifications.mapping import Seen, Wanted, field_of, occurrence_of, rescheduled
from prm_ext.notifications.means import Means
from prm_ext.notifications.planning import TYPE
from prm_ext.notifications.records import OPEN
from prm_ext.notifications.reviving import is_dead, revive
from prm_ext.notifications.schemas import Schedule, Send, SendTemplate, When
from prm_ext.notifications.seeing import Sight
from prm_ext.notifications.withdrawing import name_of, withdrawn_of, without
from prm_ext.notifications.wording import Wording

ATTEMPTS: Final = 10
_OUTRUN: Final = frozenset({409, 412})
_WITHDRAWN: Final = frozenset({"revoked", "entered-in-error"})


@dataclass(frozen=True, slots=True)
class Found:
    """A notification: a request, and one of the deliveries that it has led to."""

    request: Resource
    delivery: Document | None
    deliveries: Sequence[Document]
    """All of the request."""
    whole: bool
    """Whether it stands for the request, and not for one occurrence or recipient of it."""


class Notifications:
    """The notifications of a tenant, for one request; `nonce` is what all attempts at the request have in common."""

    def __init__(self, ctx: Context, means: Means, nonce: str = "") -> None:
        self.tenant = ctx.tenant
        self._ctx = ctx
        self._means = means
        self._nonce = nonce
        self._sight = Sight(ctx)
        self._wording = Wording(ctx, means.settings)

    async def ask(self, body: Send | SendTemplate | Schedule) -> Seen:
        """Have a message sent, at once or when the body says so.

        Raises:
            MappedError: 422, it can not be sent.
            FhirError: 403, 503.
        """
        request = await self.request_for(body)
        stored = await self._create(request)
        return (await self._sight.of([(stored, None)]))[0]

    async def request_for(self, body: Send | SendTemplate | Schedule) -> Resource:
        """Return the CommunicationRequest for a message."""
        wording = self._wording
        patient = await wording.read("Patient", body.patient_id, "patient_id") if body.patient_id else None
        await wording.media(body.media_ids)
        template, about, labels = None, list[str](), list[Mapping[str, Any]]()
        if not isinstance(body, Send):
            if body.template or body.template_id:
                template = await wording.template(body.template, body.template_id)
                self._sight.know(template)
            about, labels = await wording.about(body.about, body.appointment_id)
        wanted = Wanted(
            patient=body.patient_id or "",
            to=wording.address(body.to, body.channel) if body.to else "",
            channel=body.channel,
            subject=(None if isinstance(body, SendTemplate) else body.subject) or "",
            body=(None if isinstance(body, SendTemplate) else body.body) or "",
            variables={} if isinstance(body, Send) else body.variables,
            media=body.media_ids,
            about=about,
            priority=body.priority,
            kind=body.category or (template.category if template is not None else "message"),
            metadata=body.metadata,
            when=occurrence_of(body) if isinstance(body, Schedule) else {},
            key="" if self._names_ids else self._nonce,
            requester=self._ctx.principal.fhir_user,
            security=labels,
        )
        return await wording.request(wanted, template, patient)

    async def _create(self, request: Resource) -> Resource:
        """Store a request; of several attempts at the same the first does."""
        named = self._nonce and self._names_ids
        call = Call("create", TYPE, resource=request)
        if named:
            call = replace(call, id=self._nonce)
        try:
            return (await self._ctx.dispatch(self._ctx, call)).resource or {}
        except FhirError as error:
            holder = ""
            if self._nonce and error.status in _OUTRUN:
                holder = self._nonce if named else await holder_of(self._ctx, TYPE, IDEMPOTENCY, self._nonce)
            if not holder:
                raise MappedError(error, field_of) from None
        # An earlier attempt has written it, and nobody got to know.
        return await self._sight.request(holder)

    @property
    def _names_ids(self) -> bool:
        """Whether an id may be chosen, which costs less than to claim an identifier."""
        access = self._ctx.access
        return self._ctx.settings.update_create and (access is None or not access.is_confined(TYPE, CHANGING))

    async def get(self, id_: str) -> Found:
        """Return a notification.

        Raises:
            FhirError: 404, there is none, or it may not be seen.
        """
        name = id_.partition("~")[0]
        try:
            request = await self._sight.request(name)
        except FhirError as error:
            raise _unknown(error, id_) from None
        deliveries = await self._means.deliveries.of_request(self._ctx.tenant, name)
        deliveries.sort(key=lambda one: (one["at"], one["_id"]))
        # The first recipient's has no name of its own; with several, `~~` tells it from the request.
        wanted = f"{self._ctx.tenant}/{id_.removesuffix('~~')}"
        exact = next((one for one in deliveries if one["_id"] == wanted), None)
        if exact is None and id_ != name:
            raise not_found("Notification", id_)
        whole = id_ == name or bool(exact and exact.get("alone"))
        return Found(request, exact or _representative(deliveries), deliveries, whole=whole)

    async def shown(self, found: Found) -> Seen:
        """Return a notification as it may be seen."""
        return (await self._sight.of([(found.request, found.delivery)]))[0]

    async def cancel(self, id_: str) -> Found:
        """Withdraw what has not been sent yet: all of it, or one of several messages; done twice it is the same.

        Raises:
            FhirError: 409, it is sent, or is being sent.
        """

        def revoked(found: Found) -> Resource | None:
            if found.request["status"] in _WITHDRAWN:
                return None
            if not found.whole:
                return _withdrawn(found)
            _check_cancellable(found)
            reason = {"coding": [{"system": codes.REASON, "code": "cancelled"}]}
            return {**found.request, "status": "revoked", "statusReason": reason}

        return await self._change(id_, revoked)

    async def reschedule(self, id_: str, when: When) -> Found:
        """Send at another time what has not been tried yet.

        Raises:
            FhirError: 409, it is sent, or withdrawn.
            MappedError: 422, the time is none.
        """
        occurrence = occurrence_of(when)

        def moved(found: Found) -> Resource:
            _check_whole(found, id_)
            _check_untried(found)
            return {**rescheduled(found.request, occurrence), "status": "active"}

        found = await self.get(id_)
        self._wording.check_time({**moved(found), "authoredOn": self._ctx.now().isoformat()}, await self._recipient(found))
        return await self._change(id_, moved)

    async def retry(self, id_: str) -> Found:
        """Send once more what has failed for good.

        Raises:
            FhirError: 409, it has not failed.
        """
        found = await self.get(id_)
        delivery = found.delivery
        if delivery is None or not is_dead(delivery):
            if delivery is not None and self._nonce and delivery.get("revived") == self._nonce:
                return found
            status = delivery["status"] if delivery is not None else "queued"
            raise conflict(f"It is {status}; only what has failed can be sent again.")
        await revive(self._ctx, self._means.deliveries, self._means.settings, delivery, self._nonce)
        return await self.get(id_)

    async def _change(self, id_: str, change: Callable[[Found], Resource | None]) -> Found:
        for attempt in range(1, ATTEMPTS + 1):
            found = await self.get(id_)
            resource = change(found)
            if resource is None:
                return found
            version = found.request["meta"]["versionId"]
            try:
                await self._ctx.dispatch(
                    self._ctx, Call("update", TYPE, found.request["id"], resource=resource, if_match=f'W/"{version}"')
                )
            except FhirError as error:
                if error.status not in _OUTRUN or attempt == ATTEMPTS:
                    raise MappedError(error, field_of) from None
            else:
                break
        return await self.get(id_)

    async def _recipient(self, found: Found) -> Resource | None:
        reference = next((one.get("reference", "") for one in found.request.get("recipient", ())), "")
        type_, _, id_ = reference.partition("/")
        version = await self._ctx.repo.current(type_, id_) if type_ == "Patient" else None
        return version.resource if version is not None else None


def _representative(deliveries: Sequence[Document]) -> Document | None:
    """Return the delivery that a request with several is shown by: the next that is open, else the last."""
    open_ = next((one for one in deliveries if one["state"] in OPEN), None)
    return open_ or (deliveries[-1] if deliveries else None)


def _check_whole(found: Found, id_: str) -> None:
    if not found.whole:
        name = found.request["id"]
        text = f"{id_} is one of several messages of CommunicationRequest/{name}; reschedule {name}, which is about all."
        raise refused(conflict(text))


def _withdrawn(found: Found) -> Resource | None:
    """Return the request without one of its messages; None where it is without it already."""
    delivery = found.delivery or {}
    name = name_of(delivery)
    if delivery["status"] == "cancelled" or name in withdrawn_of(found.request):
        return None
    if delivery["state"] in ("done", "sent"):
        raise conflict(f"It is {delivery['status']} already, and can not be cancelled.")
    if delivery["state"] == "sending" and unknown_try(delivery) is not None:
        raise conflict("It is being sent at this moment, and can not be cancelled.")
    return without(found.request, name)


def _check_cancellable(found: Found) -> None:
    if found.request["status"] == "completed" or (
        found.deliveries and all(one["state"] in ("done", "sent") for one in found.deliveries)
    ):
        raise conflict(f"It is {_status(found)} already, and can not be cancelled.")
    if any(one["state"] == "sending" and unknown_try(one) is not None for one in found.deliveries):
        raise conflict("It is being sent at this moment, and can not be cancelled.")


def _check_untried(found: Found) -> None:
    if found.request["status"] not in ("active", "draft", "on-hold"):
        raise conflict(f"It is {_status(found)}, and can not be rescheduled.")
    if any(
        one.get("messages") or one["state"] == "done"
        for one in found.deliveries
        if one["state"] in OPEN or len(found.deliveries) == 1
    ):
        raise conflict(f"It is {_status(found)}: only what has not been tried yet can be rescheduled.")


def _status(found: Found) -> str:
    if found.delivery is not None:
        return str(found.delivery["status"])
    return "cancelled" if found.request["status"] in _WITHDRAWN else str(found.request["status"])


def _unknown(error: FhirError, id_: str) -> FhirError:
    return not_found("Notification", id_) if error.status == not_found("", "").status else error
