"""The dispatcher: claims what is due and queues it, so that workers always have a little to do and never too much.

The bulk waits in MongoDB, in the order of priority and time. Of each tenant and channel only a window is queued at a time:
so a burst of one does not keep others waiting, nor what is urgent, and what meets a limit of rate is queued at that rate.
Several dispatchers may run: a claim is one conditional change.
"""

import asyncio
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog
from pymongo import ASCENDING
from redis.exceptions import RedisError

from fhir_server.events.consumer import ContextOf
from fhir_server.exchange import utc_now
from fhir_server.jobs import JobQueue, QueueError
from prm_ext.notifications.means import Means, MeansOf
from prm_ext.notifications.records import PRIORITY
from prm_ext.notifications.results import Results

JOB: Final = "notification"
BUSY_SECONDS: Final = 0.1
SWEEP_SECONDS: Final = 2.0
STALE: Final = timedelta(seconds=10)
_ROUND: Final = 500
_ROUTINE: Final = PRIORITY["routine"]
_AHEAD_SECONDS: Final = 2.0
"""So much of what a limit lets through is queued ahead."""


@dataclass(frozen=True, slots=True)
class Lane:
    """What has a window of its own: a channel of a tenant, and what is urgent apart."""

    tenant: str
    channel: str
    urgent: bool


class Dispatcher:
    """One of perhaps several. `tenants`: only theirs; empty: everyone's."""

    def __init__(self, means: Means, results: Results, tenants: Sequence[str] = ()) -> None:
        self._means = means
        self._results = results
        self._tenants: dict[str, Any] = {"t": {"$in": list(tenants)}} if tenants else {}
        self._swept = 0.0

    async def run(self) -> None:
        """Dispatch until cancelled."""
        queue = self._means.queue
        if queue is None:
            structlog.get_logger().warning("no Redis is configured: notifications are not sent")
            await asyncio.Event().wait()
            return
        while True:
            await self.sweep()
            claimed = await self.round(queue)
            await asyncio.sleep(BUSY_SECONDS if claimed else self._means.settings.dispatch_seconds)

    async def sweep(self) -> None:
        """Every few seconds, take back what was held too long, and show clients what was left unshown."""
        now = asyncio.get_running_loop().time()
        if now - self._swept < SWEEP_SECONDS:
            return
        self._swept = now
        expired = await self._means.deliveries.expire(utc_now())
        if expired:
            structlog.get_logger().warning("notifications are taken up again", count=expired)
        stale = {"stale": {"$lt": utc_now() - STALE}, **self._tenants}
        async for found in self._means.deliveries.collection.find(stale).limit(_ROUND):
            with structlog.contextvars.bound_contextvars(tenant=found["t"]):
                await self._results.show(found)

    async def round(self, queue: JobQueue) -> int:
        """Queue what is due, as far as the windows allow; return how much."""
        due = await self._due()
        if not due:
            return 0
        flying = await self._flying()
        allowed = await self._windows(list(due))
        count = 0
        for lane, waiting in due.items():
            room = min(waiting, allowed[lane] - flying.get(lane, 0), _ROUND)
            if room > 0:
                count += await self._queue(queue, lane, room)
        return count

    async def _due(self) -> dict[Lane, int]:
        found = await self._means.deliveries.collection.aggregate(
            [
                {"$match": {"state": "waiting", "due": {"$lte": utc_now()}, **self._tenants}},
                _grouped(),
            ]
        )
        return {_lane(one): one["n"] async for one in found}

    async def _flying(self) -> dict[Lane, int]:
        found = await self._means.deliveries.collection.aggregate(
            [{"$match": {"state": {"$in": ["queued", "sending"]}, "lease": {"$exists": True}, **self._tenants}}, _grouped()]
        )
        return {_lane(one): one["n"] async for one in found}

    async def _windows(self, lanes: list[Lane]) -> dict[Lane, int]:
        limits, window = self._means.limits, self._means.settings.dispatch_window
        marks: list[float | None] = [None] * len(lanes)
        if limits is not None:
            try:
                marks = await limits.marks([(lane.tenant, lane.channel) for lane in lanes])
            except RedisError:
                return dict.fromkeys(lanes, 0)
        return {
            lane: window if rate is None else min(window, max(2, math.ceil(rate * _AHEAD_SECONDS)))
            for lane, rate in zip(lanes, marks, strict=True)
        }

    async def _queue(self, queue: JobQueue, lane: Lane, room: int) -> int:
        deliveries = self._means.deliveries
        wanted = {
            "state": "waiting",
            "t": lane.tenant,
            "lane": lane.channel,
            "priority": {"$lt": _ROUTINE} if lane.urgent else _ROUTINE,
            "due": {"$lte": utc_now()},
        }
        order = [("priority", ASCENDING), ("due", ASCENDING)]
        ids = [one["_id"] async for one in deliveries.collection.find(wanted, {"_id": 1}).sort(order).limit(room)]
        token = uuid.uuid4().hex
        lease = timedelta(seconds=self._means.settings.claim_seconds)
        claimed = await deliveries.claim(ids, token, utc_now(), lease) if ids else []
        if not claimed:
            return 0
        try:
            await queue.put(JOB, [(one["_id"], token) for one in claimed], urgent=lane.urgent)
        except QueueError as error:
            # Some may be queued all the same; a worker then finds that they are not claimed any more.
            structlog.get_logger().warning("notifications can not be queued now", tenant=lane.tenant, reason=str(error))
            await deliveries.release(token, utc_now())
            return 0
        return len(claimed)


def _grouped() -> dict[str, Any]:
    urgent = {"$lt": ["$priority", _ROUTINE]}
    return {"$group": {"_id": {"t": "$t", "lane": "$lane", "urgent": urgent}, "n": {"$sum": 1}}}


def _lane(one: dict[str, Any]) -> Lane:
    return Lane(one["_id"]["t"], one["_id"].get("lane", ""), bool(one["_id"]["urgent"]))


async def dispatch(means: MeansOf, context_of: ContextOf) -> None:
    """Dispatch for as long as the server runs."""
    ctx = await context_of("default")
    found = await means(ctx)
    if found.settings.enabled:
        await Dispatcher(found, Results(found, context_of)).run()
    else:
        await asyncio.Event().wait()
