"""Patients as the product sees them: flat JSON at `/api/v1/prm/patients`, and the events of patients.

docs/prm/patients.md
"""

from typing import TYPE_CHECKING

from fhir_server.extension import Server
from prm_ext.patients.events import PATIENTS, PROVENANCES

if TYPE_CHECKING:
    from fastapi import APIRouter

PREFIX = "/api/v1/prm/patients"


def register(server: Server) -> None:
    """Add the routes, and the names of events."""
    server.add_routes(PREFIX, _router)
    server.name_events("Patient", PATIENTS)
    server.name_events("Provenance", PROVENANCES)


def _router() -> "APIRouter":
    # Imported where requests are answered only: the process that publishes events does without FastAPI.
    from prm_ext.patients.api import router  # noqa: PLC0415

    return router
