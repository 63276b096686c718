"""Those whom events are delivered to."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from fhir_server.events.event import Event
from fhir_server.exchange import Call, Context
from fhir_server.fhir.masking import SHOWN, masked
from fhir_server.fhir.protected import systems

ContextOf = Callable[[str], Awaitable[Context]]
"""Returns the context of a tenant, for what the server itself does."""

Read = Callable[[Event], Awaitable[dict[str, Any] | None]]
"""Returns the resource that an event is about, at its version; None of a deletion."""


class Sink(Protocol):
    """Takes events, in order.

    Each name has a position of its own in the feed, kept in the database. What is taken has to be durable when `deliver`
    returns; what it raises makes the same events come again, later.
    """

    @property
    def name(self) -> str:
        """What its position is kept under; another name begins anew."""
        ...

    @property
    def resource_types(self) -> frozenset[str]:
        """The resource types whose changes it is told; empty for all."""
        ...

    @property
    def batch(self) -> int:
        """The largest number of events that it takes at once."""
        ...

    async def deliver(self, events: Sequence[Event]) -> None:
        """Take events: each at least once, those of one patient in their order."""
        ...

    async def close(self) -> None:
        """Give free what it holds."""
        ...


@dataclass(frozen=True, slots=True)
class Consumer:
    """What an extension does when something has happened.

    `handle` is called with one event at a time, at least once and in order, in one process of all. What it raises makes
    the event come again after a pause, and those after it wait: it has to be idempotent on `event.id`.
    """

    name: str
    handle: Callable[[Context, Event], Awaitable[None]]
    resource_types: frozenset[str] = frozenset()
    """The resource types whose changes are of interest; empty for all."""
    types: frozenset[str] = frozenset()
    """The types of events that are of interest; empty for all."""


class ConsumerSink:
    """Delivers to a consumer in this process."""

    batch = 1

    def __init__(self, consumer: Consumer, context_of: ContextOf) -> None:
        self.name = consumer.name
        self.resource_types = consumer.resource_types
        self._consumer = consumer
        self._context_of = context_of

    async def deliver(self, events: Sequence[Event]) -> None:
        """Handle each."""
        for event in events:
            if not self._consumer.types or event.type in self._consumer.types:
                tenant = event.change.tenant
                with structlog.contextvars.bound_contextvars(tenant=tenant):
                    await self._consumer.handle(await self._context_of(tenant), event)

    async def close(self) -> None:
        """Hold nothing."""


def resource_reader(context_of: ContextOf) -> Read:
    """Return what reads the version that an event is about, with protected identifiers masked."""

    async def read(event: Event) -> dict[str, Any] | None:
        if event.change.deleted:
            return None
        ctx = await context_of(event.change.tenant)
        change = event.change
        reply = await ctx.dispatch(ctx, Call("vread", type=change.type, id=change.id, version=str(change.version)))
        resource = reply.resource
        return None if resource is None else masked(resource, systems(ctx.settings.protected_identifiers), shown=SHOWN)

    return read
