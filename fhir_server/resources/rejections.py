"""What is kept of content that was not taken: an AuditEvent.

https://hl7.org/fhir/R4/auditevent.html
"""

from dataclasses import replace
from typing import Final

import structlog

from fhir_server.blobs import RejectedError
from fhir_server.exchange import Context, Resource
from fhir_server.interactions.writing import commit, drafted, new_id
from fhir_server.store.repository import Repository
from fhir_server.store.versions import instant

SYSTEM: Final = "urn:prm:media-rejection"
"""Of the codes `type`, `size` and `virus`."""
DIGEST_SYSTEM: Final = "urn:fhir-server:sha256"
_DICOM: Final = "http://dicom.nema.org/resources/ontology/DCM"


async def record_rejection(ctx: Context, error: RejectedError, declared: str = "") -> None:
    """Store an AuditEvent about it, whatever becomes of the request; who sent it need not be allowed to."""
    repo = ctx.repo
    own = Repository(repo.database, repo._committer, repo.tenant)  # noqa: SLF001 -- the same data, beside any transaction
    whole = replace(ctx, repo=own, access=None)
    try:
        await commit(whole, await drafted(whole, _event(ctx, error, declared), id_=new_id(), method="POST"))
    except Exception as problem:  # noqa: BLE001 -- the refusal matters more
        structlog.get_logger().error("a rejection could not be recorded", reason=error.reason, exc_info=problem)


def _event(ctx: Context, error: RejectedError, declared: str) -> Resource:
    details = [("declared", declared), ("size", str(error.digests.size)), ("detail", error.detail)]
    return {
        "resourceType": "AuditEvent",
        "type": {"system": _DICOM, "code": "110113", "display": "Security Alert"},
        "subtype": [{"system": SYSTEM, "code": error.reason}],
        "action": "C",
        "recorded": instant(ctx.now()),
        "outcome": "8" if error.reason == "virus" else "4",
        "outcomeDesc": "; ".join(issue.diagnostics for issue in error.issues),
        "agent": [{"who": {"display": ctx.principal.id}, "requestor": True}],
        "source": {"observer": {"display": "fhir-server"}},
        "entity": [
            {
                "what": {"identifier": {"system": DIGEST_SYSTEM, "value": error.digests.sha256}},
                "detail": [{"type": name, "valueString": value} for name, value in details if value],
            }
        ],
    }
