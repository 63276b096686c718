"""AuditEvents of the audit trail: they are read like resources, and nobody changes or deletes them.

docs/security/audit.md
"""

from collections.abc import Mapping
from typing import Final

from fhir_server.exchange import Call, Context, Dispatch, Reply
from fhir_server.fhir.outcome import method_not_allowed, not_found
from fhir_server.interactions.read import answer
from fhir_server.security.audit.reading import find
from fhir_server.security.audit.record import ID
from fhir_server.store.versions import Version, instant


def is_recorded(id_: str) -> bool:
    """Tell whether an id is one of the audit trail's."""
    return ID.fullmatch(id_) is not None


async def read(ctx: Context, call: Call) -> Reply:
    """Answer the AuditEvent, by read or vread; 404 where there is none that may be seen."""
    version = await _found(ctx, call)
    if call.interaction == "vread" and call.version != "1":
        raise not_found(call.type, call.id, call.version)
    return answer(call, version)


async def history(ctx: Context, call: Call) -> Reply:
    """Answer its history: the one version."""
    version = await _found(ctx, call)
    entry = {
        "fullUrl": f"{ctx.base_url}/{version.reference}",
        "resource": version.resource,
        "request": {"method": "POST", "url": version.type},
        "response": {"status": "201 Created", "lastModified": instant(version.last_updated), "etag": 'W/"1"'},
    }
    return Reply(200, {"resourceType": "Bundle", "type": "history", "total": 1, "entry": [entry]})


async def _found(ctx: Context, call: Call) -> Version:
    document = await find(ctx, call.id)
    if document is None:
        raise not_found(call.type, call.id)
    return Version.from_document(call.type, document)


async def unchangeable(ctx: Context, call: Call) -> Reply:
    """Refuse whatever else is asked of it.

    Raises:
        FhirError: 405.
    """
    del ctx
    raise method_not_allowed(call.interaction, f"{call.type}/{call.id}, which is of the audit trail", "GET, HEAD")


RECORDED: Final[Mapping[str, Dispatch]] = {"read": read, "vread": read, "history-instance": history}
"""What can be asked of an AuditEvent of the trail."""
