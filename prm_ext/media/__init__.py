"""Media as the product sees them: flat JSON at `/api/v1/prm/media`, and the events of media.

docs/prm/media.md
"""

from typing import TYPE_CHECKING

from fhir_server.extension import Server
from prm_ext.media.events import DOCUMENTS, REJECTIONS

if TYPE_CHECKING:
    from fastapi import APIRouter

PREFIX = "/api/v1/prm/media"


def register(server: Server) -> None:
    """Add the routes, and the names of events."""
    server.add_routes(PREFIX, _router)
    server.name_events("DocumentReference", DOCUMENTS)
    server.name_events("AuditEvent", REJECTIONS)


def _router() -> "APIRouter":
    # Imported where requests are answered only: the process that publishes events does without FastAPI.
    from prm_ext.media.api import router  # noqa: PLC0415

    return router
