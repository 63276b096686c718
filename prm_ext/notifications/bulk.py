"""Sending one message to many: taking it on, telling how far it is, and calling it off."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from pymongo.errors import DuplicateKeyError

from fhir_server.exchange import Call, Context, Params, Prefer
from fhir_server.fhir.outcome import FhirError, conflict, not_found, unprocessable
from fhir_server.interactions.writing import new_id
from fhir_server.security.repository import refused as not_allowed
from fhir_server.store.cursor import seal, unseal
from fhir_server.store.database import Document
from fhir_server.store.versions import instant
from prm_ext.common.problems import MappedError, refused
from prm_ext.notifications.acting import is_same, kept
from prm_ext.notifications.campaigns import Ledger, counts_of, key_of
from prm_ext.notifications.choosing import members_of
from prm_ext.notifications.mapping import Wanted, request_of
from prm_ext.notifications.means import Means
from prm_ext.notifications.output import Progress, ProgressList, Refusal
from prm_ext.notifications.planning import TYPE
from prm_ext.notifications.schemas import Bulk
from prm_ext.notifications.seeing import Sight
from prm_ext.notifications.templates.model import Template
from prm_ext.notifications.wording import Wording

_RESULTS: Final = frozenset(
    {
        "_count",
        "_sort",
        "_include",
        "_revinclude",
        "_summary",
        "_elements",
        "_total",
        "_cursor",
        "_contained",
        "_query",
        "_format",
    }
)
"""Parameters that say how results are shown, and not which: https://hl7.org/fhir/R4/search.html#Summary."""
_ATTEMPTS: Final = 20
_SERVER_ERROR: Final = 500
_PURPOSE: Final = "campaigns"


class Campaigns:
    """The campaigns of a tenant, for one request; `nonce` is what all attempts at the request have in common."""

    def __init__(self, ctx: Context, means: Means, nonce: str = "") -> None:
        self._ctx = ctx
        self._means = means
        self._nonce = nonce
        self._ledger = Ledger(ctx.repo.database)
        self._wording = Wording(ctx, means.settings)

    async def begin(self, body: Bulk) -> Progress:
        """Take on a campaign: when this returns, it will be carried out.

        Raises:
            MappedError: 422, it can not be sent to anybody.
            FhirError: 403.
        """
        for type_, letter in ((TYPE, "c"), ("Patient", "r")):
            if self._ctx.access is not None and not self._ctx.access.may(type_, letter):
                raise not_allowed(type_, letter)
        message = await self._message(body)
        recipients, search = await self._recipients(body)
        id_ = self._nonce or new_id()
        now = self._ctx.now()
        campaign: Document = {
            "_id": f"{self._ctx.tenant}/{id_}",
            "t": self._ctx.tenant,
            "rev": 1,
            "name": body.name,
            "state": "queued",
            "who": kept(self._ctx),
            "message": message,
            "source": "search" if search else "listed",
            "search": [list(pair) for pair in search],
            "place": "",
            "total": None if search else len(recipients),
            "handled": 0,
            "accepted": 0,
            "refused": 0,
            "refusals": [],
            "failures": 0,
            "created": now,
            "updated": now,
        }
        try:
            await self._ledger.add(campaign, recipients)
        except DuplicateKeyError:
            return await self.progress(id_)
        return _progress(campaign, {})

    async def _message(self, body: Bulk) -> Document:
        """Return what each recipient is to get."""
        wording = self._wording
        await wording.media(body.media_ids)
        template = await wording.template(body.template, body.template_id) if not body.body else None
        about, labels = await wording.about(body.about, body.appointment_id)
        if template is not None:
            _check_variables(template, body)
        when = {"occurrenceDateTime": body.send_at.isoformat()} if body.send_at is not None else {}
        if when:
            wording.check_time(request_of(Wanted(when=when), self._ctx.now()), None)
        return {
            "channel": body.channel,
            "subject": body.subject or "",
            "body": body.body or "",
            "template": template.canonical if template is not None else "",
            "variables": [list(pair) for pair in body.variables.items()],
            "media": body.media_ids,
            "about": about,
            "security": [dict(one) for one in labels],
            "priority": body.priority,
            "kind": body.category or (template.category if template is not None else "campaign"),
            "metadata": body.metadata,
            "when": when,
            "requester": self._ctx.principal.fhir_user,
        }

    async def _recipients(self, body: Bulk) -> tuple[list[Document], Params]:
        """Return the recipients, each once, or the search that finds them."""
        if body.patient_search:
            return [], await self._search(body.patient_search)
        found: list[Document] = [{"patient": one} for one in body.patient_ids]
        if body.group_id:
            group = await self._wording.read("Group", body.group_id, "group_id")
            members = members_of(group, self._ctx.now())
            found = [{"patient": one.rpartition("/")[2]} for one in members if one.rpartition("/")[0].endswith("Patient")]
            if not found:
                raise refused(unprocessable(f"Group/{body.group_id} has no patients.", "group_id", code="business-rule"))
        for place, one in enumerate(body.recipients):
            to = self._address(one.to, body, place) if one.to else None
            variables = [list(pair) for pair in one.variables.items()]
            found.append({"patient": one.patient_id, "to": to, "variables": variables})
        return list({key_of("", one): one for one in found}.values()), ()

    def _address(self, to: str, body: Bulk, place: int) -> str:
        try:
            return self._wording.address(to, body.channel)
        except MappedError as error:
            raise MappedError(error.error, lambda _: f"recipients[{place}].to") from None

    async def _search(self, text: str) -> Params:
        params: Params = tuple(parse_qsl(text.removeprefix("Patient?"), keep_blank_values=True))
        wrong = next((name for name, value in params if name.partition(":")[0] in _RESULTS or not value.strip()), None)
        if wrong or not params:
            what = f"{wrong!r} does not say which patients" if wrong else f"{text!r} is no search"
            raise refused(unprocessable(f"{what}; write criteria such as `gender=female`.", "patient_search", code="value"))
        try:
            asked = (*params, ("_count", "1"))
            await self._ctx.dispatch(self._ctx, Call("search-type", "Patient", params=asked, prefer=Prefer(strict=True)))
        except FhirError as error:
            if error.status >= _SERVER_ERROR:
                raise
            raise refused(unprocessable(error.issues[0].diagnostics, "patient_search", error.issues[0].code)) from None
        return params

    async def progress(self, id_: str) -> Progress:
        """Return how far a campaign is.

        Raises:
            FhirError: 404, there is none, or it is another's and not all notifications may be seen.
        """
        campaign = await self._get(id_)
        counts = await counts_of(self._means.deliveries, self._ctx.tenant, [id_])
        return _progress(campaign, counts.get(id_, {}))

    async def _get(self, id_: str) -> Document:
        campaign = await self._ledger.get(self._ctx.tenant, id_)
        if campaign is None or not (Sight(self._ctx).sees_all() or is_same(campaign["who"], self._ctx)):
            raise not_found("Campaign", id_)
        return campaign

    async def page(self, *, limit: int, cursor: str) -> ProgressList:
        """Return a page of campaigns, the newest first."""
        condition: Document = {"t": self._ctx.tenant}
        if not Sight(self._ctx).sees_all():
            principal = self._ctx.principal
            condition |= {f"who.principal.{name}": getattr(principal, name) for name in ("id", "issuer", "client")}
        place = None
        if cursor:
            created, key = await unseal(self._ctx.repo, _PURPOSE, cursor)
            place = datetime.fromisoformat(created), key
        found = await self._ledger.pages(condition, place, limit + 1)
        counts = await counts_of(self._means.deliveries, self._ctx.tenant, map(_id, found[:limit]))
        items = [_progress(one, counts.get(_id(one), {})) for one in found[:limit]]
        last = found[limit - 1] if len(found) > limit else None
        following = await seal(self._ctx.repo, _PURPOSE, [last["created"].isoformat(), last["_id"]]) if last else None
        return ProgressList(items=items, next_cursor=following)

    async def cancel(self, id_: str) -> Progress:
        """Write no more requests, and withdraw those that have not been sent; that goes on in the background."""
        for _ in range(_ATTEMPTS):
            campaign = await self._get(id_)
            if campaign["state"] in ("cancelling", "cancelled"):
                break
            values = {"state": "cancelling", "place": "", "canceller": kept(self._ctx), "failures": 0}
            if await self._ledger.note(campaign, values, self._ctx.now()):
                break
        else:
            raise conflict("It is being written at this moment; send the request again.")
        return await self.progress(id_)


def _check_variables(template: Template, body: Bulk) -> None:
    names = {*template.names(), *template.variables}
    given = [
        ("variables", body.variables),
        *((f"recipients[{place}].variables", one.variables) for place, one in enumerate(body.recipients)),
    ]
    for field, values in given:
        for name in values:
            if name not in names:
                text = f"The template {template.name!r} has no such variable; it has {', '.join(template.names()) or 'none'}."
                raise refused(unprocessable(text, f"{field}.{name}", code="not-found"))


def _id(campaign: Mapping[str, Any]) -> str:
    return str(campaign["_id"]).partition("/")[2]


def _progress(campaign: Mapping[str, Any], counts: dict[str, int]) -> Progress:
    return Progress(
        id=_id(campaign),
        org_id=campaign["t"],
        name=campaign["name"],
        status=campaign["state"],
        total=campaign["total"],
        accepted=campaign["accepted"],
        refused=campaign["refused"],
        refusals=[Refusal(**one) for one in campaign["refusals"]],
        counts=counts,
        error=campaign.get("error"),
        created_at=instant(campaign["created"]),
        updated_at=instant(campaign["updated"]),
    )
