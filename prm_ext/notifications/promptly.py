"""Requests are planned by the process that writes them, as soon as they are durable.

The change feed does the same a moment later, and whatever dies before; this is why a notification is in the list, and on
its way, by the time when its writer gets an answer.
"""

from dataclasses import replace
from typing import Final

from fhir_server.exchange import Behaviour, Context
from fhir_server.fhir.outcome import Issue
from fhir_server.resources.duplicates import whole
from fhir_server.store.versions import Version
from prm_ext.notifications.means import MeansOf
from prm_ext.notifications.planning import plan

_NOTHING_TO_PLAN: Final = "completed"


class Promptly(Behaviour):
    """Plans CommunicationRequests."""

    def __init__(self, means: MeansOf) -> None:
        self._means = means

    async def after_write(self, ctx: Context, version: Version, previous: Version | None) -> tuple[Issue, ...]:
        """Plan what a version asks for."""
        del previous
        if not self._means.settings.enabled or (version.resource or {}).get("status") == _NOTHING_TO_PLAN:
            return ()
        own = replace(whole(ctx), recorder=None)
        await plan(own, await self._means(own), version)
        return ()
