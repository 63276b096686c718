"""An extension that has templates and nothing else of notifications."""

from typing import TYPE_CHECKING

from fhir_server.extension import Server
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates.behaviour import TemplateBehaviour

if TYPE_CHECKING:
    from fastapi import APIRouter


def register(server: Server) -> None:
    settings = NotificationSettings(_env_file=None, organisation="Bay Clinic")

    def router() -> "APIRouter":
        from prm_ext.notifications.templates.api import template_router  # noqa: PLC0415

        return template_router(settings)

    server.add_routes("/api/v1/prm/notifications", router)
    server.add_behaviour("ActivityDefinition", TemplateBehaviour(settings))
