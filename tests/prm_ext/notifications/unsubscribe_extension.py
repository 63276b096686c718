"""An extension that has the links that end emails, and nothing else."""

from fhir_server.extension import Server
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.unsubscribe_api import unsubscribe_router
from prm_ext.notifications.webhooks.places import PREFIX

SETTINGS = NotificationSettings(_env_file=None, organisation="Bay <Clinic>")


def register(server: Server) -> None:
    """Add the routes."""
    server.add_routes(PREFIX, lambda: unsubscribe_router(SETTINGS))
