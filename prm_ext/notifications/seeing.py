"""What whoever asks may see of notifications: those whose CommunicationRequest they may read.

What was said is shown to those who may read the Communication, where it went to those who may read the recipient.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fhir_server.exchange import Call, Context, Resource
from fhir_server.fhir.outcome import FhirError
from fhir_server.fhir.reference import parse
from fhir_server.resources.duplicates import whole
from fhir_server.security.repository import READING
from fhir_server.store.database import Document
from prm_ext.notifications.mapping import Seen, template_of
from prm_ext.notifications.planning import TYPE
from prm_ext.notifications.templates.library import resolved
from prm_ext.notifications.templates.model import Template

_TEXT: Final = frozenset({"payload", "topic"})
_ADDRESSES: Final = frozenset({"telecom", "contact"})


class Sight:
    """For one request."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._templates: dict[str, str] = {}

    def know(self, template: Template) -> None:
        """Remember a template that was read for the same request."""
        self._templates[template.canonical] = template.id

    def sees_all(self) -> bool:
        """Tell whether every CommunicationRequest may be read."""
        access = self._ctx.access
        return access is None or not access.is_confined(TYPE, READING)

    async def request(self, id_: str) -> Resource:
        """Return a CommunicationRequest.

        Raises:
            FhirError: 403, 404 or 410.
        """
        return (await self._ctx.dispatch(self._ctx, Call("read", TYPE, id_))).resource or {}

    async def requests(self, ids: Iterable[str]) -> dict[str, Resource]:
        """Return those CommunicationRequests that may be read, by id.

        Raises:
            FhirError: 403, none may be.
        """
        wanted = sorted(set(ids))
        params = (("_id", ",".join(wanted)), ("_count", str(max(1, len(wanted)))), ("_total", "none"))
        bundle = (await self._ctx.dispatch(self._ctx, Call("search-type", TYPE, params=params))).resource or {}
        return {
            entry["resource"]["id"]: entry["resource"] for entry in bundle.get("entry", ()) if entry["search"]["mode"] == "match"
        }

    async def seen(self, deliveries: Sequence[Document]) -> list[Seen]:
        """Return those deliveries that may be seen, in their order."""
        if not deliveries:
            if self._ctx.access is not None:
                # Who may see none is told so, whether there are some or not.
                await self.requests(["none"])
            return []
        requests = await self.requests(one["request"] for one in deliveries)
        shown = [(requests[one["request"]], one) for one in deliveries if one["request"] in requests]
        return await self.of(shown)

    async def of(self, pairs: Sequence[tuple[Resource, Document | None]]) -> list[Seen]:
        """Return requests that may be read with one delivery each."""
        found = [one for _, one in pairs if one is not None]
        texts = await self._readable(
            {("Communication", message["id"]) for one in found for message in one.get("messages", ())}, _TEXT
        )
        people = await self._readable(
            {target for one in found if (target := self._target(one["recipient"])) is not None}, _ADDRESSES
        )
        return [
            Seen(request, one, self._sees_text(one, texts), self._sees_address(one, people), await self._template(request))
            for request, one in pairs
        ]

    def _sees_text(self, found: Document | None, texts: frozenset[tuple[str, str]]) -> bool:
        messages = (found or {}).get("messages") or ()
        return all(("Communication", one["id"]) in texts for one in messages[-1:])

    def _sees_address(self, found: Document | None, people: frozenset[tuple[str, str]]) -> bool:
        target = self._target((found or {}).get("recipient", ""))
        return target is None or target in people

    def _target(self, reference: str) -> tuple[str, str] | None:
        return parse(reference, self._ctx.base_url).target

    async def _readable(self, targets: set[tuple[str, str]], elements: frozenset[str]) -> frozenset[tuple[str, str]]:
        """Return what may be read with these elements."""
        access = self._ctx.access
        if access is None:
            return frozenset(targets)
        open_ = {one for one in targets if not access.limits.hidden.get(one[0], frozenset()) & elements}
        free = {one for one in open_ if not access.is_confined(one[0], READING)}
        current = await self._ctx.repo.currents(open_ - free) if open_ - free else ()
        return frozenset(free | {(version.type, version.id) for version in current if not version.deleted})

    async def _template(self, request: Mapping[str, object]) -> str:
        canonical = template_of(dict(request))
        if canonical and canonical not in self._templates:
            try:
                self._templates[canonical] = (await resolved(whole(self._ctx), canonical)).id
            except FhirError:
                self._templates[canonical] = ""
        return self._templates.get(canonical, "")
