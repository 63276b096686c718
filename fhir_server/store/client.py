"""The connection to MongoDB, with lanes for reads."""

from collections.abc import Sequence
from typing import Any

from pymongo import AsyncMongoClient, monitoring

from fhir_server.store.lanes import Lanes

Document = dict[str, Any]


class Client(AsyncMongoClient[Document]):
    """PyMongo's client; half of its pool may become lanes."""

    def __init__(
        self,
        uri: str,
        *,
        lane_seconds: float = 20.0,
        event_listeners: Sequence[monitoring._EventListener] = (),
        **options: Any,
    ) -> None:
        super().__init__(uri, event_listeners=[*event_listeners, _Interrupter(self)], **options)
        self.lanes = Lanes(self, limit=max(1, int(self.options.pool_options.max_pool_size // 2)), seconds=lane_seconds)

    async def close(self) -> None:
        """Give the lanes back, and close."""
        await self.lanes.close()
        await super().close()


class _Interrupter(monitoring.ServerHeartbeatListener):
    """Ends lanes when MongoDB is found to be away, as PyMongo does with its own connections."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def started(self, event: monitoring.ServerHeartbeatStartedEvent) -> None:
        """Nothing is known yet."""

    def succeeded(self, event: monitoring.ServerHeartbeatSucceededEvent) -> None:
        """All is well."""

    def failed(self, _event: monitoring.ServerHeartbeatFailedEvent) -> None:
        """Whoever waits for an answer on a lane need not wait longer."""
        self._client.lanes.interrupt()
