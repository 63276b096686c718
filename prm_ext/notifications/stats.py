"""How well messages arrive: counted by MongoDB in one pass over the deliveries of a time.

Delivery times are counted in steps that grow by a twentieth, which is as exact as the 95th percentile is told.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from fhir_server.exchange import Context
from fhir_server.fhir.outcome import forbidden, unprocessable
from fhir_server.store.database import Document
from fhir_server.store.versions import instant
from prm_ext.common.problems import refused
from prm_ext.notifications.listing import between
from prm_ext.notifications.output import ChannelFigures, DayFigures, Stats
from prm_ext.notifications.records import Deliveries
from prm_ext.notifications.seeing import Sight

DAYS: Final = 30
"""How far it looks back, where nobody says."""
LONGEST: Final = timedelta(days=400)
STEP: Final = 1.05
_LEAST_SECONDS: Final = 0.001
_P95: Final = 0.95
_ARRIVED: Final = frozenset({"delivered", "read"})
_GONE_OUT: Final = frozenset({"sent", "delivered", "read"})


async def stats_of(
    ctx: Context,
    deliveries: Deliveries,
    date_from: datetime | date | None,
    date_to: datetime | date | None,
    *,
    channel: str = "",
    campaign: str = "",
) -> Stats:
    """Return the figures of the notifications that were asked for in a time.

    Raises:
        FhirError: 403, only some notifications may be seen.
        MappedError: 422, the time is too long, or none.
    """
    if not Sight(ctx).sees_all():
        raise forbidden("Figures are for those who may see all notifications: a role that reads every CommunicationRequest.")
    begin, end = _limits(ctx.now(), date_from, date_to)
    condition: Document = {"t": ctx.tenant, **between(begin, date_to if date_to is not None else end)}
    if campaign:
        condition["campaign"] = campaign
    if channel:
        condition["$or"] = [{"messages.channel": channel}, {"lane": channel}]
    rows = await (await deliveries.collection.aggregate(_pipeline(condition))).to_list()
    return Stats(date_from=instant(begin), date_to=instant(end), **_stats(rows))


def _limits(now: datetime, begin: datetime | date | None, end: datetime | date | None) -> tuple[datetime, datetime]:
    last = end if isinstance(end, datetime) else now if end is None else datetime.combine(end, time(23, 59, 59, 999000), UTC)
    default = datetime.combine(last.date() - timedelta(days=DAYS - 1), time(), UTC)
    first = begin if isinstance(begin, datetime) else default if begin is None else datetime.combine(begin, time(), UTC)
    if first > last:
        raise refused(unprocessable("date_from comes after date_to.", "date_from", code="value"))
    if last - first > LONGEST:
        raise refused(unprocessable(f"It is longer than {LONGEST.days} days.", "date_from", code="too-long"))
    return first, last


def _pipeline(condition: Document) -> list[Document]:
    last: Document = {"$last": {"$ifNull": ["$messages", []]}}
    seconds = {"$divide": [{"$subtract": [{"$ifNull": ["$last.delivered", "$last.sent"]}, {"$max": ["$at", "$created"]}]}, 1000]}
    tries = {"$sum": {"$map": {"input": {"$ifNull": ["$messages", []]}, "in": _size("$$this.tries")}}}
    return [
        {"$match": condition},
        {"$set": {"last": last}},
        {
            "$project": {
                "status": 1,
                "channel": {"$ifNull": ["$last.channel", ""]},
                "day": {"$dateToString": {"date": "$created", "format": "%Y-%m-%d"}},
                "failure": {"$cond": [{"$eq": ["$status", "failed"]}, {"$ifNull": ["$failure", "transient"]}, ""]},
                "retried": {"$gt": [tries, 1]},
                "seconds": {"$cond": [{"$in": ["$status", sorted(_ARRIVED)]}, {"$max": [seconds, _LEAST_SECONDS]}, None]},
            }
        },
        {
            "$group": {
                "_id": {
                    **{name: f"${name}" for name in ("status", "channel", "day", "failure", "retried")},
                    "step": {"$cond": [{"$eq": ["$seconds", None]}, None, {"$ceil": {"$log": ["$seconds", STEP]}}]},
                },
                "n": {"$sum": 1},
                "seconds": {"$sum": "$seconds"},
            }
        },
    ]


def _size(path: str) -> Document:
    return {"$size": {"$ifNull": [path, []]}}


@dataclass(slots=True)
class _Sum:
    """What has been counted of some deliveries."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    steps: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    retried: int = 0
    retried_ended: int = 0
    retried_sent: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row of the aggregation."""
        key, count = row["_id"], row["n"]
        self.counts[key["status"]] += count
        if key["failure"]:
            self.failures[key["failure"]] += count
        if key["step"] is not None:
            self.steps[int(key["step"])] += count
            self.seconds += float(row["seconds"])
        if key["retried"]:
            self.retried += count
            gone_out = key["status"] in _GONE_OUT
            self.retried_sent += count if gone_out else 0
            self.retried_ended += count if gone_out or key["status"] == "failed" else 0

    def figures(self) -> dict[str, Any]:
        """Return them as they are told."""
        arrived = self.counts["delivered"] + self.counts["read"]
        timed = self.steps.total()
        return {
            "total": self.counts.total(),
            "counts": dict(self.counts),
            "delivery_rate": _share(arrived, arrived + self.counts["failed"]),
            "average_delivery_seconds": round(self.seconds / timed, 3) if timed else None,
            "p95_delivery_seconds": _percentile(self.steps, timed),
            "retried": self.retried,
            "retry_success": _share(self.retried_sent, self.retried_ended),
            "failures": dict(self.failures),
        }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _percentile(steps: Counter[int], timed: int) -> float | None:
    seen, wanted = 0, math.ceil(timed * _P95)
    for step in sorted(steps):
        seen += steps[step]
        if seen >= wanted:
            return round(STEP**step, 3)
    return None


def _stats(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    whole, channels, days = _Sum(), dict[str, _Sum](), dict[str, _Sum]()
    for row in rows:
        whole.add(row)
        channels.setdefault(row["_id"]["channel"], _Sum()).add(row)
        days.setdefault(row["_id"]["day"], _Sum()).add(row)
    return whole.figures() | {
        "channels": [ChannelFigures(channel=name, **channels[name].figures()) for name in sorted(channels)],
        "days": [DayFigures(day=name, **days[name].figures()) for name in sorted(days)],
    }
