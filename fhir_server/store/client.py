"""The connection to MongoDB, with lanes for reads."""

from typing import Any

from pymongo import AsyncMongoClient

from fhir_server.store.lanes import Lanes

Document = dict[str, Any]


class Client(AsyncMongoClient[Document]):
    """PyMongo's client; half of its pool may become lanes."""

    def __init__(self, uri: str, *, lane_seconds: float = 20.0, **options: Any) -> None:
        super().__init__(uri, **options)
        self.lanes = Lanes(self, limit=max(1, int(self.options.pool_options.max_pool_size // 2)), seconds=lane_seconds)

    async def close(self) -> None:
        """Give the lanes back, and close."""
        await self.lanes.close()
        await super().close()
