"""What is asked for, looked at before it is written: recipients, media, templates, times.

What can never be sent is told at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from fhir_server.exchange import Call, Context, Resource
from fhir_server.fhir.contact import may_be_email, normal_email, normal_phone
from fhir_server.fhir.outcome import FhirError, gone, not_found, unprocessable
from fhir_server.resources.duplicates import whole
from prm_ext.common.problems import MappedError, refused
from prm_ext.notifications.addressing import channels_in_order
from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.choosing import choices, language_of
from prm_ext.notifications.clock import clock_of
from prm_ext.notifications.hours import zone_of
from prm_ext.notifications.mapping import Wanted, field_of, request_of
from prm_ext.notifications.occurrences import next_occurrence
from prm_ext.notifications.planning import timing_of
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates.library import TYPE as TEMPLATE
from prm_ext.notifications.templates.library import named, read
from prm_ext.notifications.templates.model import Template
from prm_ext.notifications.templates.rendering import Reader, render_template
from prm_ext.notifications.templates.seeds import seed_of_id
from prm_ext.notifications.templates.variables import About, values_of

PAST: Final = timedelta(minutes=1)
"""What was to be sent longer ago is a mistake."""
_ABSENT: Final = frozenset({not_found("", "").status, gone("", "").status})


@dataclass(frozen=True, slots=True)
class Checked:
    """A request that can be written."""

    request: Resource
    patient: Resource | None


class Wording:
    """Looks at what is asked for, with the eyes of whoever asks."""

    def __init__(self, ctx: Context, settings: NotificationSettings) -> None:
        self._ctx = ctx
        self._settings = settings.of(ctx.tenant)

    def address(self, to: str, channel: Channel | None) -> str:
        """Return an address as it is sent to.

        Raises:
            MappedError: 422, it is none, or none for the channel.
        """
        if "@" in to:
            if not may_be_email(to):
                raise refused(unprocessable(f"{to!r} is no email address.", "to", code="value"))
            if channel not in (None, "email"):
                raise refused(unprocessable(f"{channel} goes to phone numbers, not to email addresses.", "to", code="value"))
            return normal_email(to)
        number = normal_phone(to, self._ctx.settings.of(self._ctx.tenant).phone_region)
        if not number:
            text = f"{to!r} is not a phone number; write it with its country code, such as +14155550132."
            raise refused(unprocessable(text, "to", code="value"))
        if channel == "email":
            raise refused(unprocessable("email goes to email addresses, not to phone numbers.", "to", code="value"))
        return number

    async def read(self, type_: str, id_: str, field: str) -> Resource:
        """Return what a request names.

        Raises:
            MappedError: 422, it is not there.
            FhirError: 403, nothing of its type may be read.
        """
        try:
            return (await self._ctx.dispatch(self._ctx, Call("read", type_, id_))).resource or {}
        except FhirError as error:
            if error.status not in _ABSENT:
                raise
            raise refused(unprocessable(f"{type_}/{id_} is not there.", field, code="not-found")) from None

    async def template(self, name: str | None, id_: str | None) -> Template:
        """Return the template that is to be used; who may send may use all of the tenant's.

        Raises:
            MappedError: 422, it is not there, or not in use.
        """
        field = "template" if name else "template_id"
        try:
            return await named(whole(self._ctx), name) if name else await self._by_id(id_ or "")
        except FhirError as error:
            raise refused(unprocessable(error.issues[0].diagnostics, field, error.issues[0].code)) from None

    async def _by_id(self, id_: str) -> Template:
        seed = seed_of_id(id_)
        if seed is not None:
            return seed
        version = await whole(self._ctx).repo.current(TEMPLATE, id_)
        if version is None or version.resource is None:
            raise unprocessable(
                f"There is no template with the id {id_!r}; GET /templates lists those that there are.", code="not-found"
            )
        found = read(version.resource)
        if found.status != "active":
            raise unprocessable(f"The template {found.name!r} is {found.status}; activate it first.", code="business-rule")
        return found

    async def template_url(self, text: str) -> str:
        """Return the URL, without a version, of a template that is named by its URL, name or id."""
        if ":" in text:
            return text.partition("|")[0]
        for name, id_ in ((text, None), (None, text)):
            try:
                return (await self.template(name, id_)).url
            except MappedError:
                continue
        return text

    async def media(self, ids: Sequence[str]) -> None:
        """Refuse media that are not there."""
        for place, id_ in enumerate(ids):
            await self.read("DocumentReference", id_, f"media_ids[{place}]")

    async def about(self, references: Sequence[str], appointment: str | None) -> tuple[list[str], list[Mapping[str, Any]]]:
        """Return what a message is about, and the labels of that, which it must not lose."""
        fields = {f"Appointment/{appointment}": "appointment_id"} if appointment else {}
        fields |= {one: f"about[{place}]" for place, one in enumerate(references) if one not in fields}
        labels: list[Mapping[str, Any]] = []
        for reference, field in fields.items():
            type_, _, id_ = reference.partition("/")
            resource = await self.read(type_, id_, field)
            labels += [one for one in resource.get("meta", {}).get("security", ()) if one not in labels]
        return list(fields), labels

    async def request(
        self, wanted: Wanted, template: Template | None, patient: Resource | None, *, timely: bool = True
    ) -> Resource:
        """Return the CommunicationRequest, once it is known that it can be sent; `timely`: at its time too.

        Raises:
            MappedError: 422, a variable has no value or is unknown; it will never be due, or was due long ago.
        """
        if template is not None:
            wanted = replace(wanted, template=template.canonical)
        request = request_of(wanted, self._ctx.now())
        if template is not None:
            await self._check_template(template, wanted, request, patient)
        if wanted.when and timely:
            self.check_time(request, patient)
        return request

    async def _check_template(self, template: Template, wanted: Wanted, request: Resource, patient: Resource | None) -> None:
        names = template.names()
        if unknown := [name for name in wanted.variables if name not in names and name not in template.variables]:
            text = f"The template {template.name!r} has no such variable; it has {', '.join(names) or 'none'}."
            raise refused(unprocessable(text, f"variables.{unknown[0]}", code="not-found"))
        missing = [name for name in names if not wanted.variables.get(name)]
        about = About.of_request(request, patient)
        values = {**await values_of(self._ctx, self._settings, about, missing), **wanted.variables}
        reader = Reader(language_of(patient, self._settings.language), zone_of(patient, self._settings.time_zone))
        try:
            render_template(template, self._likely(wanted, template, patient), reader, values)
        except FhirError as error:
            raise MappedError(error, lambda name: f"variables.{name}") from None

    def _likely(self, wanted: Wanted, template: Template, patient: Resource | None) -> Channel:
        """Return the channel that it will probably go over."""
        if wanted.channel:
            return wanted.channel
        if wanted.to:
            return "email" if "@" in wanted.to else template.channel if template.channel in ("whatsapp", "voice") else "sms"
        region = self._ctx.settings.of(self._ctx.tenant).phone_region
        order = channels_in_order(self._settings.fallback)
        found = choices(patient, explicit=(), order=order, available=lambda _: True, now=self._ctx.now(), region=region)
        return found[0].channel if found else template.channel or "sms"

    def check_time(self, request: Resource, patient: Resource | None) -> None:
        """Refuse a time that has passed, or that can not be understood."""
        now, zone = self._ctx.now(), zone_of(patient, self._settings.time_zone)
        timing = timing_of(request)
        timed = request if timing is None else {**request, "occurrenceTiming": timing}
        try:
            found = next_occurrence(timed, after=None, zone=zone, now=now, clock=clock_of(self._settings.clock_times))
        except FhirError as error:
            raise MappedError(error, field_of) from None
        field = next((field_of(name) for name in timed if name.startswith("occurrence")), "")
        if found is None:
            raise refused(unprocessable("It would never be sent: there is no such time any more.", field, code="value"))
        late = found.until is not None and found.until <= now
        if late or (field == "send_at" and found.at < now - PAST):
            raise refused(unprocessable("The time has passed already; POST /send sends at once.", field, code="value"))
