"""From requests to what came of them, in this process and for one tenant: without feed, broker and workers.

Use it as `async with Pipeline(settings, database, sms="twilio") as pipeline`; then `write` a CommunicationRequest, `run`,
and look at what came of it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Self

from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.exchange import Call, Context, Resource, utc_now
from fhir_server.extension import Extensions
from fhir_server.search.index import index_models
from fhir_server.search.vocabulary import WORDS
from fhir_server.store.database import Database, Document
from prm_ext.notifications import planning
from prm_ext.notifications.dispatching import Dispatcher
from prm_ext.notifications.means import Means, MeansOf
from prm_ext.notifications.results import Results
from prm_ext.notifications.sending import Sender
from prm_ext.notifications.settings import NotificationSettings

MOST_ROUNDS = 1000


class Queue:
    """Takes what a dispatcher queues."""

    def __init__(self) -> None:
        self.pieces: list[tuple[str, ...]] = []

    async def put(self, job: str, pieces: Iterable[Sequence[str]], *, urgent: bool = False) -> None:
        """Queue pieces of work, what is urgent before the rest."""
        del job
        found = [tuple(piece) for piece in pieces]
        self.pieces = [*found, *self.pieces] if urgent else [*self.pieces, *found]


class Pipeline:
    """What the processes of a server do with the notifications of its default tenant; `values` are PRM_NOTIFY_… settings."""

    means: Means
    ctx: Context

    def __init__(self, settings: Settings, database: AsyncDatabase[dict[str, Any]], **values: Any) -> None:
        self.tenant = settings.default_tenant
        self.means_of = MeansOf(NotificationSettings(_env_file=None, **values))
        self.contexts = Contexts(Database(database, settings, index_models, WORDS), settings, Extensions())
        self.queue = Queue()
        self._sender = Sender(self.means_of)

    async def __aenter__(self) -> Self:
        """Make what is needed."""
        self.ctx = await self.contexts.of_tenant(self.tenant)
        self.means = await self.means_of(self.ctx)
        self.results = Results(self.means, self.contexts.of_tenant)
        self.dispatcher = Dispatcher(self.means, self.results, [self.tenant])
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give free what the providers hold."""
        await self.means.providers.close()

    async def write(self, resource: Resource) -> Resource:
        """Store a resource as a client does, under its id if it has one; return it as stored."""
        id_ = resource.get("id", "")
        call = Call("update" if id_ else "create", resource["resourceType"], id_, resource=resource)
        reply = await self.ctx.dispatch(self.ctx, call)
        return reply.resource or {}

    async def plan(self) -> None:
        """Plan what the requests of the tenant ask for now, as the consumer of the feed does."""
        found = self.ctx.repo.collection(planning.TYPE).find({"t": self.tenant}, {"i": 1})
        for id_ in [one["i"] async for one in found]:
            version = await self.ctx.repo.current(planning.TYPE, id_)
            if version is not None:
                await planning.plan(self.ctx, self.means, version)

    async def round(self) -> int:
        """Queue what is due and do it once; return how many deliveries were worked on."""
        await self.dispatcher.round(self.queue)
        pieces, self.queue.pieces = self.queue.pieces, []
        for piece in pieces:
            await self._sender.deliver(self.contexts.of_tenant, *piece)
        return len(pieces)

    async def send(self) -> None:
        """Send until nothing is due any more."""
        for _ in range(MOST_ROUNDS):
            if not await self.round():
                return
        raise AssertionError("something is due again and again")

    async def run(self) -> None:
        """Plan, and send all that is due."""
        await self.plan()
        await self.send()

    async def hurry(self, now: datetime | None = None) -> None:
        """Let all that waits be due."""
        change: Document = {"$set": {"due": now or utc_now()}, "$inc": {"rev": 1}}
        await self.means.deliveries.collection.update_many({"t": self.tenant, "state": "waiting"}, change)

    async def read(self, type_: str, id_: str) -> Resource:
        """Return a resource as a client sees it."""
        return (await self.ctx.dispatch(self.ctx, Call("read", type_, id_))).resource or {}

    async def search(self, type_: str, **params: str) -> list[Resource]:
        """Return the resources of a type that a search finds."""
        call = Call("search-type", type_, params=tuple((name.replace("__", ":"), value) for name, value in params.items()))
        bundle = (await self.ctx.dispatch(self.ctx, call)).resource or {}
        return [entry["resource"] for entry in bundle.get("entry", ()) if entry["search"]["mode"] == "match"]

    async def deliveries(self) -> list[Document]:
        """Return the deliveries of the tenant, in the order in which they came to be."""
        return await self.means.deliveries.collection.find({"t": self.tenant}).sort([("created", 1), ("_id", 1)]).to_list()
