"""Limits of rate, shared by all workers: the generic cell rate algorithm, in one script of Redis.

Each sender has its own, as providers count: https://www.twilio.com/docs/messaging/guides/scaling-queueing-latency and, for
the figures, docs/notifications/providers.md. A key holds the time at which the next message may go.
"""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from redis.asyncio import Redis

from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.settings import NotificationSettings

BURST_SECONDS: Final = 1.0
"""What was not used in this time may go at once."""
MARK_SECONDS: Final = 30
"""How long it is remembered that something has met its limit."""
_TIMEOUT_SECONDS: Final = 5.0

# KEYS: the limit's, the mark's. ARGV: microseconds for each unit, units, burst in microseconds, longest wait, rate, seconds
# of the mark. Returns the microseconds to wait; those up to the longest wait are taken, beyond it nothing is.
_SCRIPT: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local cost = ARGV[1] * ARGV[2]
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now - ARGV[3])
local wait = math.max(0, tat - now)
if wait > 0 then redis.call('SET', KEYS[2], ARGV[5], 'EX', ARGV[6]) end
if wait > tonumber(ARGV[4]) then return wait end
redis.call('SET', KEYS[1], string.format('%.0f', tat + cost), 'PX', math.ceil((tat + cost - now + ARGV[3]) / 1000) + 1)
return wait
"""


@dataclass(frozen=True, slots=True)
class Wait:
    """What a limit says."""

    seconds: float
    taken: bool
    """Whether the message may go after these seconds; else nothing was taken, and it has to come again."""


class Limits:
    """The limits of all senders, within a namespace of Redis."""

    def __init__(self, redis_url: str, namespace: str) -> None:
        self._redis = Redis.from_url(
            redis_url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS, decode_responses=True
        )
        self._namespace = namespace
        self._script = self._redis.register_script(_SCRIPT)

    async def take(self, tenant: str, lane: str, sender: str, rate: float, units: int, patience: float) -> Wait:
        """Take a place for so many units (messages, or segments) of a sender that may send `rate` of them a second."""
        keys = [f"{self._namespace}:rate:{tenant}:{lane}:{sender}", self._mark(tenant, lane)]
        step = 1_000_000 / rate
        # A long message must fit, also where it is more than a second's share.
        burst = max(BURST_SECONDS * 1_000_000 - step, 0.0)
        arguments = [step, units, burst, patience * 1_000_000, rate, MARK_SECONDS]
        wait = float(await self._script(keys=keys, args=arguments)) / 1_000_000
        return Wait(wait, wait <= patience)

    async def marks(self, lanes: list[tuple[str, str]]) -> list[float | None]:
        """Return for each (tenant, lane) the rate of the limit that it has met lately, None where it has not."""
        found: list[Any] = await self._redis.mget([self._mark(*lane) for lane in lanes]) if lanes else []
        return [None if one is None else float(one) for one in found]

    async def close(self) -> None:
        """Give free the connections."""
        await self._redis.aclose()

    def _mark(self, tenant: str, lane: str) -> str:
        return f"{self._namespace}:limited:{tenant}:{lane}"


def rate_of(settings: NotificationSettings, channel: Channel, sender: str) -> float:
    """Return how many units a second a sender may send: what the settings say, else what its kind is known for."""
    rates = _rates(settings.rates)
    if sender in rates:
        return rates[sender]
    if channel in rates:
        return rates[channel]
    if channel != "sms":
        return {"whatsapp": 80.0, "voice": 1.0, "email": 100.0}[channel]
    return _sms_rate(sender)


def _sms_rate(sender: str) -> float:
    digits = sender.removeprefix("+")
    if sender.startswith("MG"):
        return 100.0  # A messaging service has a queue and many numbers of its own.
    if not digits.isdigit():
        return 10.0
    if len(digits) <= len("123456"):
        return 100.0
    return 3.0 if digits[:4] in _TOLL_FREE else 1.0


_TOLL_FREE: Final = frozenset({"1800", "1833", "1844", "1855", "1866", "1877", "1888"})


@cache
def _rates(text: str) -> dict[str, float]:
    return {name: float(rate) for name, rate in json.loads(text or "{}").items()}
