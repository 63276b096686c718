"""What the parts of notifications have in a process: settings, the record of deliveries, providers, limits, the queue."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from fhir_server.exchange import Context
from fhir_server.jobs import JobQueue
from fhir_server.store.database import Database
from prm_ext.notifications.channels.providers import Providers
from prm_ext.notifications.limits import Limits
from prm_ext.notifications.records import Deliveries
from prm_ext.notifications.settings import NotificationSettings


@dataclass(frozen=True, slots=True)
class Means:
    """For all tenants of a database."""

    settings: NotificationSettings
    deliveries: Deliveries
    providers: Providers
    limits: Limits | None
    """None without a Redis: nothing is limited then."""
    queue: JobQueue | None
    """None without a Redis: nothing can be queued."""


class MeansOf:
    """Makes the means once for each database, which all contexts of a process share."""

    def __init__(self, settings: NotificationSettings) -> None:
        self.settings = settings
        self._made: WeakKeyDictionary[Database, Means] = WeakKeyDictionary()

    async def __call__(self, ctx: Context) -> Means:
        """Return the means of a context."""
        database = ctx.repo.database
        found = self._made.get(database)
        if found is None:
            found = self._made[database] = self._make(ctx)
        await found.deliveries.prepare()
        return found

    def _make(self, ctx: Context) -> Means:
        url, name, database = ctx.settings.redis_url, ctx.settings.mongodb_database, ctx.repo.database
        return Means(
            self.settings,
            Deliveries(database),
            Providers(self.settings, database),
            Limits(url, name) if url else None,
            JobQueue(url, name) if url else None,
        )
