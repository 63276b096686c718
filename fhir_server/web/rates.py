"""How many requests a client may send: https://www.rfc-editor.org/rfc/rfc6585#section-4.

The generic cell rate algorithm: of each key only the time is kept at which it would have used up what it was given. Processes
share those times in Valkey or Redis where one is there; while it does not answer, each process counts by itself.
"""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from fhir_server.fhir.outcome import FhirError, Issue

MINUTE: Final = 60.0
MOST: Final = 50_000
"""So many keys are remembered by a process; those that were not seen the longest are forgotten."""
TIMEOUT_SECONDS: Final = 0.25
_SCRIPT: Final = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local at = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local wait = at - now - tonumber(ARGV[2])
if wait > 0 then return tostring(wait) end
redis.call('SET', KEYS[1], tostring(at + tonumber(ARGV[1])), 'PX', math.ceil((at + tonumber(ARGV[1]) - now) * 1000))
return '0'
"""


class Rates(Protocol):
    """Counts what keys do."""

    async def take(self, key: str) -> float:
        """Return 0 and count one more, or how many seconds the key has to wait."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


class LocalRates:
    """Counts in this process: `per_minute` on average, as many at once."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._step = MINUTE / per_minute
        self._clock = clock
        self._times: OrderedDict[str, float] = OrderedDict()

    def wait(self, key: str) -> float:
        """Return how many seconds the key has to wait; 0 where it need not."""
        at = self._times.get(key)
        return 0.0 if at is None else max(0.0, at + self._step - self._clock() - MINUTE)

    async def take(self, key: str) -> float:
        """Return 0 and count one more, or how many seconds the key has to wait."""
        wait = self.wait(key)
        if wait == 0:
            self.count(key)
        return wait

    async def close(self) -> None:
        """There is nothing to close."""

    def count(self, key: str) -> None:
        """Count one more."""
        self._times[key] = max(self._times.get(key, 0.0), self._clock()) + self._step
        self._times.move_to_end(key)
        if len(self._times) > MOST:
            self._times.popitem(last=False)


class SharedRates:
    """Counts in Valkey or Redis; `name` keeps what shares it apart."""

    def __init__(self, url: str, name: str, per_minute: int) -> None:
        self._redis = Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)
        self._script = self._redis.register_script(_SCRIPT)
        self._name = name
        self._step = MINUTE / per_minute
        self._beside = LocalRates(per_minute)

    async def take(self, key: str) -> float:
        """Return 0 and count one more, or how many seconds the key has to wait."""
        digest = hashlib.sha256(key.encode()).hexdigest()[:32]
        try:
            found = await self._script(keys=[f"fhir:rate:{self._name}:{digest}"], args=[self._step, MINUTE - self._step])
        except (RedisError, OSError) as error:
            structlog.get_logger().warning("rates are counted by this process alone", reason=type(error).__name__)
            return await self._beside.take(key)
        return max(0.0, float(found))

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def too_many(wait: float, text: str) -> FhirError:
    """429: whoever is asking has to wait so many seconds."""
    return FhirError(429, (Issue("throttled", text),), {"Retry-After": str(max(1, math.ceil(wait)))})
