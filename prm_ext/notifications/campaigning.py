"""The background of campaigns: their requests are written piece by piece, each campaign in its turn.

It goes on where it stood, whichever process dies: see `campaigns`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from pymongo.errors import PyMongoError

from fhir_server.events.consumer import ContextOf
from fhir_server.exchange import Call, Context, Params, Resource, utc_now
from fhir_server.fhir.outcome import FhirError
from fhir_server.resources.communication_request import IDEMPOTENCY
from fhir_server.resources.duplicates import whole
from fhir_server.resources.unique import claimed_of
from fhir_server.store.database import Document
from prm_ext.common.paging import search
from prm_ext.common.problems import MappedError
from prm_ext.notifications.acting import Actors
from prm_ext.notifications.campaigns import PIECE, SHOWN, Ledger, key_of, untried
from prm_ext.notifications.mapping import Wanted
from prm_ext.notifications.means import Means, MeansOf
from prm_ext.notifications.planning import TYPE
from prm_ext.notifications.service import Notifications
from prm_ext.notifications.templates.library import resolved
from prm_ext.notifications.templates.model import Template
from prm_ext.notifications.wording import Wording

TASK: Final = "notifications-campaigns"
IDLE_SECONDS: Final = 0.5
PAUSE_SECONDS: Final = 5.0
MOST_FAILURES: Final = 20
_SERVER_ERROR: Final = 500


async def carry_out(means_of: MeansOf, context_of: ContextOf, tenant: str = "") -> None:
    """Carry out campaigns (of a tenant) for as long as the server runs."""
    ctx = await context_of("default")
    work = Campaigning(await means_of(ctx), Ledger(ctx.repo.database), context_of)
    while True:
        if not await work.step(tenant):
            await asyncio.sleep(IDLE_SECONDS)


class Campaigning:
    """Carries out campaigns."""

    def __init__(self, means: Means, ledger: Ledger, context_of: ContextOf) -> None:
        self._means = means
        self._ledger = ledger
        self._context_of = context_of
        self._actors = Actors()

    async def step(self, tenant: str = "") -> bool:
        """Do a piece of the campaign whose turn it is (of a tenant); False where there is none."""
        await self._ledger.prepare()
        campaign = await self._ledger.next(tenant)
        if campaign is None:
            return False
        with structlog.contextvars.bound_contextvars(tenant=campaign["t"]):
            try:
                await self._do(campaign)
            except (PyMongoError, TimeoutError):
                raise
            except Exception as error:  # noqa: BLE001 -- one campaign must not keep back the others
                await self._failed(campaign, error)
        return True

    async def _do(self, campaign: Document) -> None:
        if campaign["state"] == "cancelling":
            await self._withdraw(campaign)
            return
        ctx = await self._actors.context(self._context_of, campaign["t"], campaign["who"])
        recipients, place, last = await self._piece(ctx, campaign)
        refusals = await _Piece(ctx, self._means, campaign).write(recipients)
        handled = campaign["handled"] + len(recipients)
        values: Document = {
            "state": "completed" if last else "running",
            "handled": handled,
            "accepted": campaign["accepted"] + len(recipients) - len(refusals),
            "refused": campaign["refused"] + len(refusals),
            "refusals": [*campaign["refusals"], *refusals][:SHOWN],
            "place": place,
            "failures": 0,
            **({"total": handled} if last else {}),
        }
        if await self._ledger.note(campaign, values, utc_now()) and last:
            await self._ledger.forget(campaign)

    async def _piece(self, ctx: Context, campaign: Document) -> tuple[list[Document], str, bool]:
        """Return recipients, the place behind them, and whether they are the last."""
        if campaign["source"] == "listed":
            found = await self._ledger.piece(campaign)
            return found, "", campaign["handled"] + len(found) >= campaign["total"]
        params: Params = tuple((name, value) for name, value in campaign["search"])
        page = await search(ctx, "Patient", params, limit=PIECE, cursor=campaign["place"])
        return [{"patient": one["id"]} for one in page.resources], page.next, not page.next

    async def _withdraw(self, campaign: Document) -> None:
        ctx = await self._actors.context(self._context_of, campaign["t"], campaign["canceller"])
        service = Notifications(ctx, self._means)
        id_ = campaign["_id"].partition("/")[2]
        last = ""
        async for found in untried(self._means.deliveries, campaign["t"], id_, campaign["place"]):
            last = found["_id"]
            try:
                await service.cancel(found["request"])
            except (FhirError, MappedError) as error:
                if _status(error) >= _SERVER_ERROR:
                    raise
                # It has been sent meanwhile, or whoever cancels may not change it.
        await self._ledger.note(campaign, {"state": "cancelling" if last else "cancelled", "place": last}, utc_now())
        if not last:
            await self._ledger.forget(campaign)

    async def _failed(self, campaign: Document, error: Exception) -> None:
        count = campaign["failures"] + 1
        structlog.get_logger().error("a campaign is interrupted", campaign=campaign["_id"], count=count, exc_info=error)
        values: Document = {"failures": count}
        if count >= MOST_FAILURES:
            text = "The server failed on it again and again; its log says more."
            values |= {"state": "cancelled" if campaign["state"] == "cancelling" else "failed", "error": text}
        await self._ledger.note(campaign, values, utc_now())
        await asyncio.sleep(PAUSE_SECONDS)


class _Piece:
    """Some recipients of a campaign."""

    def __init__(self, ctx: Context, means: Means, campaign: Document) -> None:
        self._ctx = ctx
        self._campaign = campaign
        self._id = campaign["_id"].partition("/")[2]
        self._message: Mapping[str, Any] = campaign["message"]
        self._wording = Wording(ctx, means.settings)

    async def write(self, recipients: Sequence[Document]) -> list[Document]:
        """Write the requests for recipients; return those for whom there can be none, with the reason."""
        if not recipients:
            return []
        keys = {key_of(self._id, one): one for one in recipients}
        written = await claimed_of(self._ctx, TYPE, IDEMPOTENCY, list(keys))
        left = {key: one for key, one in keys.items() if key not in written}
        patients = await self._patients(left.values())
        template = await resolved(whole(self._ctx), self._message["template"]) if self._message["template"] else None
        requests: list[tuple[Document, Resource]] = []
        refusals: list[Document] = []
        for key, one in left.items():
            try:
                requests.append((one, await self._request(key, one, patients, template)))
            except (FhirError, MappedError) as error:
                refusals.append(_refusal(one, error))
        return refusals + await self._store(requests)

    async def _patients(self, recipients: Any) -> dict[str, Resource]:
        targets = {("Patient", one["patient"]) for one in recipients if one.get("patient")}
        found = await self._ctx.repo.currents(targets) if targets else ()
        return {version.id: version.resource for version in found if version.resource is not None}

    async def _request(
        self, key: str, recipient: Document, patients: Mapping[str, Resource], template: Template | None
    ) -> Resource:
        message, id_ = self._message, recipient.get("patient") or ""
        # What is not among them is not there, or may not be seen.
        patient = (patients.get(id_) or await self._wording.read("Patient", id_, "patient_id")) if id_ else None
        wanted = Wanted(
            patient=id_,
            to=recipient.get("to") or "",
            channel=message["channel"],
            subject=message["subject"],
            body=message["body"],
            variables={**dict(message["variables"]), **dict(recipient.get("variables") or ())},
            media=message["media"],
            about=message["about"],
            priority=message["priority"],
            kind=message["kind"],
            metadata=message["metadata"],
            when=message["when"],
            campaign=self._id,
            key=key,
            requester=message["requester"],
            security=message["security"],
        )
        return await self._wording.request(wanted, template, patient, timely=False)

    async def _store(self, requests: Sequence[tuple[Document, Resource]]) -> list[Document]:
        """Store requests together, or, where one is refused, each on its own."""
        if not requests:
            return []
        entries = [{"resource": one, "request": {"method": "POST", "url": TYPE}} for _, one in requests]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        try:
            await self._ctx.dispatch(self._ctx, Call("transaction", resource=bundle))
        except FhirError as error:
            if error.status >= _SERVER_ERROR:
                raise
            return [refusal for one, request in requests if (refusal := await self._store_one(one, request)) is not None]
        return []

    async def _store_one(self, recipient: Document, request: Resource) -> Document | None:
        try:
            await self._ctx.dispatch(self._ctx, Call("create", TYPE, resource=request))
        except FhirError as error:
            if error.status >= _SERVER_ERROR:
                raise
            return _refusal(recipient, error)
        return None


def _status(error: FhirError | MappedError) -> int:
    return error.error.status if isinstance(error, MappedError) else error.status


def _refusal(recipient: Document, error: FhirError | MappedError) -> Document:
    if _status(error) >= _SERVER_ERROR:
        raise error
    issues = (error.error if isinstance(error, MappedError) else error).issues
    who = {"patient_id": recipient.get("patient"), "to": recipient.get("to")}
    return {**{name: value for name, value in who.items() if value}, "reason": "; ".join(one.diagnostics for one in issues)}
