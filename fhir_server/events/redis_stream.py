"""Events in a Redis stream: https://valkey.io/topics/streams-intro/.

Each entry has one field, `event`, with a CloudEvent in JSON. A batch is added as a whole or not at all, in order.
"""

from collections.abc import Sequence
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from fhir_server.events.consumer import Read
from fhir_server.events.event import Event
from fhir_server.fhir.codec import encode

TIMEOUT_SECONDS: Final = 5.0
FIELD: Final = "event"
_ADD: Final = f"""
for place = 2, #ARGV do
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', '{FIELD}', ARGV[place])
end
"""
"""Adds the entries behind the first argument, the length to keep: as one command it costs this process a fifth of a pipeline."""


class RedisStream:
    """Publishes to a stream, which keeps about `kept` events; `read` gives the resource to put into each, if any."""

    name = "redis"
    resource_types: frozenset[str] = frozenset()
    batch = 250

    def __init__(self, url: str, stream: str, *, kept: int, read: Read | None = None) -> None:
        self._redis = Redis.from_url(
            url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS, decode_responses=True
        )
        self._script = self._redis.register_script(_ADD)
        self._stream = stream
        self._kept = kept
        self._read = read

    async def deliver(self, events: Sequence[Event]) -> None:
        """Add events to the stream."""
        entries = [encode(event.to_json(await self._read(event) if self._read else None)) for event in events]
        try:
            await self._add(entries)
        except OutOfMemoryError:
            kept = await self._redis.xlen(self._stream) // 2
            structlog.get_logger().warning("Redis is full: older events are dropped", stream=self._stream, kept=kept)
            await self._redis.xtrim(self._stream, maxlen=kept, approximate=False)
            await self._add(entries)

    async def _add(self, entries: Sequence[bytes]) -> None:
        await self._script(keys=[self._stream], args=[self._kept, *entries])

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
