"""CommunicationRequest: https://hl7.org/fhir/R4/communicationrequest.html.

The server sends what a request asks for on its own behalf. So a request may only name what its writer may read: else it
would be a way to have anything sent to oneself.
"""

from collections.abc import Iterator
from typing import Any, Final

from fhir_server.exchange import Behaviour, Context, Draft, Resource
from fhir_server.fhir.outcome import forbidden
from fhir_server.fhir.reference import parse
from fhir_server.resources.duplicates import whole
from fhir_server.resources.unique import with_unique
from fhir_server.security.permissions import Permissions
from fhir_server.security.repository import READING, GuardedRepository

TYPE: Final = "CommunicationRequest"
IDEMPOTENCY: Final = "urn:prm:idempotency-key"
"""The system of identifiers by which whoever asks twice asks for one and the same."""
Target = tuple[str, str]


class CommunicationRequestBehaviour(Behaviour):
    """Takes each request once, and only with what its writer may read."""

    async def before_write(self, ctx: Context, draft: Draft) -> Draft:
        """Return the draft with a claim for its idempotency key.

        Raises:
            FhirError: 409, there is a request with the key; 403, it names what may not be read.
        """
        if ctx.access is not None:
            await _check_readable(ctx, ctx.access, draft)
        return await with_unique(ctx, draft, TYPE, lambda system: system == IDEMPOTENCY)


async def _check_readable(ctx: Context, access: Permissions, draft: Draft) -> None:
    before = set(_named(ctx, draft.previous.resource or {})) if draft.previous else set()
    new = {target for target in _named(ctx, draft.resource) if target not in before and access.is_confined(target[0], READING)}
    if not new or not isinstance(ctx.repo, GuardedRepository):
        return
    shown = {(version.type, version.id) for version in await ctx.repo.showing(READING).currents(new)}
    # What is not there (yet) is nobody's secret.
    there = {(version.type, version.id) for version in await whole(ctx).repo.currents(new - shown)}
    for type_, id_ in sorted(there):
        raise forbidden(f"The request names {type_}/{id_}, which you may not read, so it can not be sent.")


def _named(ctx: Context, request: Resource) -> Iterator[Target]:
    """Yield what a request sends, says something of, or is sent to."""
    for text in _references(request):
        target = parse(text, ctx.base_url).target
        if target is not None:
            yield target


def _references(request: Resource) -> Iterator[str]:
    for node in (*_others(request), *request.get("about", ())):
        yield node.get("reference", "")
    for payload in request.get("payload", ()):
        reference: dict[str, Any] = payload.get("contentReference", {})
        yield reference.get("reference", "")
        yield payload.get("contentAttachment", {}).get("url", "")


def _others(request: Resource) -> Iterator[dict[str, Any]]:
    """Yield whom a request tells others about: what goes to somebody at their own address tells them of themselves."""
    subject, recipients = request.get("subject", {}), request.get("recipient", ())
    away = [one for one in recipients if one.get("extension")]
    yield from away
    if away or any(one.get("reference") != subject.get("reference") for one in recipients):
        yield subject
