"""Notifications: CommunicationRequests that become delivered Communications (docs/notifications/README.md)."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from fhir_server.events.consumer import Consumer
from fhir_server.extension import Job, Server, Task
from prm_ext.notifications.campaigning import TASK, carry_out
from prm_ext.notifications.dispatching import JOB, dispatch
from prm_ext.notifications.events import MESSAGES, REQUESTS
from prm_ext.notifications.inbound import TASK as INBOUND
from prm_ext.notifications.inbound import keep_dealing
from prm_ext.notifications.means import MeansOf
from prm_ext.notifications.planning import TYPE, Planner
from prm_ext.notifications.promptly import Promptly
from prm_ext.notifications.reminders import APPOINTMENTS, Reminders
from prm_ext.notifications.sending import Sender
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates.behaviour import TemplateBehaviour
from prm_ext.notifications.triggers import Triggers, types_of_rules
from prm_ext.notifications.webhooks.places import PREFIX

if TYPE_CHECKING:
    import typer
    from fastapi import APIRouter

    from fhir_server.doctor import Finding


def register(server: Server) -> None:
    """Add what plans, queues and sends, the routes, the commands and the names of events."""
    settings = server.add_settings(NotificationSettings)
    means = MeansOf(settings)
    server.add_consumer(Consumer("notifications", Planner(means).handle, resource_types=frozenset({TYPE})))
    server.add_consumer(Consumer("notifications-appointments", Reminders(settings).handle, resource_types=APPOINTMENTS))
    rules = types_of_rules(settings)
    if rules is not None:
        server.add_consumer(Consumer("notifications-rules", Triggers(settings).handle, resource_types=rules))
    server.add_behaviour(TYPE, Promptly(means))
    server.add_behaviour("ActivityDefinition", TemplateBehaviour(settings))
    server.add_task(Task("notifications-dispatch", partial(dispatch, means), everywhere=True))
    server.add_task(Task(TASK, partial(carry_out, means)))
    server.add_task(Task(INBOUND, partial(keep_dealing, means)))
    server.add_job(Job(JOB, Sender(means).deliver))
    server.add_routes(PREFIX, partial(_router, means, server.settings.base_url))
    server.add_commands("notifications", _commands)
    server.add_check(partial(_checked, settings))
    server.name_events(TYPE, REQUESTS)
    server.name_events("Communication", MESSAGES)


def _router(means: MeansOf, base_url: str) -> "APIRouter":
    # Imported where requests are answered only: the process that publishes events does without FastAPI.
    from prm_ext.common.problems import ProblemRoute  # noqa: PLC0415
    from prm_ext.common.routing import PrefixedRouter  # noqa: PLC0415
    from prm_ext.notifications.api import add_routes, add_sending  # noqa: PLC0415
    from prm_ext.notifications.preferences_api import preferences_router  # noqa: PLC0415
    from prm_ext.notifications.templates.api import template_router  # noqa: PLC0415
    from prm_ext.notifications.unsubscribe_api import unsubscribe_router  # noqa: PLC0415
    from prm_ext.notifications.webhooks import routes  # noqa: PLC0415

    router = PrefixedRouter(PREFIX, route_class=ProblemRoute)
    # What is called most comes first: routes are tried in their order.
    add_sending(router, means)
    router.include_router(routes.router(means, base_url))
    router.include_router(template_router(means.settings))
    router.include_router(unsubscribe_router(means.settings))
    router.include_router(preferences_router(means))
    # The last, since what has no path of its own is taken for the id of a notification.
    add_routes(router, means)
    return router


def _checked(settings: NotificationSettings) -> "Iterable[Finding]":
    from prm_ext.notifications.channels.checking import examine  # noqa: PLC0415 -- only the doctor needs it

    return examine(settings)


def _commands() -> "typer.Typer":
    from prm_ext.notifications.commands import app  # noqa: PLC0415 -- it takes long to import

    return app
