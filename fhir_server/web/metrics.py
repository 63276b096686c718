"""Measurements for Prometheus, at `/metrics`: requests, their latency, and the connections to MongoDB.

With several workers each one writes its values to files that the parent names in `PROMETHEUS_MULTIPROC_DIR`, and
whichever worker is asked adds all up.
"""

import os
from functools import lru_cache

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from pymongo import monitoring
from starlette.requests import Request
from starlette.responses import Response

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)

_requests = Counter("fhir_requests", "Requests answered.", ["interaction", "type", "status"])
_seconds = Histogram("fhir_request_seconds", "Time from a request to the end of its answer.", ["interaction"], buckets=_BUCKETS)
_connections = Gauge("fhir_mongodb_pool_connections", "Open connections to MongoDB.", multiprocess_mode="livesum")
_connections_in_use = Gauge("fhir_mongodb_pool_in_use", "Connections to MongoDB in use.", multiprocess_mode="livesum")
_connection_failures = Counter("fhir_mongodb_pool_checkout_failures", "Requests for a connection to MongoDB that failed.")


@lru_cache(maxsize=4096)
def _children(interaction: str, type_: str, status: int) -> tuple[Counter, Histogram]:
    return _requests.labels(interaction, type_, str(status)), _seconds.labels(interaction)


def observe(interaction: str, type_: str, status: int, seconds: float) -> None:
    """Count a request and its latency. Labels are the server's own words, never what a client made up."""
    requests, latency = _children(interaction, type_, status)
    requests.inc()
    latency.observe(seconds)


class PoolMonitor(monitoring.ConnectionPoolListener):
    """Follows the connections of a MongoDB client: `AsyncMongoClient(event_listeners=[PoolMonitor()])`."""

    def __init__(self) -> None:
        self._open = 0
        self._in_use = 0

    def publish(self) -> None:
        """Write down the present numbers."""
        _connections.set(self._open)
        _connections_in_use.set(self._in_use)

    def pool_created(self, _event: monitoring.PoolCreatedEvent) -> None:
        """Nothing is open yet."""

    def pool_ready(self, _event: monitoring.PoolReadyEvent) -> None:
        """Nothing is open yet."""

    def pool_cleared(self, _event: monitoring.PoolClearedEvent) -> None:
        """Each connection will say that it is closed."""

    def pool_closed(self, _event: monitoring.PoolClosedEvent) -> None:
        """Each connection has said that it is closed."""

    def connection_created(self, _event: monitoring.ConnectionCreatedEvent) -> None:
        """One more connection is open."""
        self._open += 1

    def connection_ready(self, _event: monitoring.ConnectionReadyEvent) -> None:
        """It was counted when it was made."""

    def connection_closed(self, _event: monitoring.ConnectionClosedEvent) -> None:
        """One connection less is open."""
        self._open -= 1

    def connection_check_out_started(self, _event: monitoring.ConnectionCheckOutStartedEvent) -> None:
        """It is counted when it succeeds or fails."""

    def connection_check_out_failed(self, _event: monitoring.ConnectionCheckOutFailedEvent) -> None:
        """A request got no connection."""
        _connection_failures.inc()

    def connection_checked_out(self, _event: monitoring.ConnectionCheckedOutEvent) -> None:
        """One connection more is in use."""
        self._in_use += 1

    def connection_checked_in(self, _event: monitoring.ConnectionCheckedInEvent) -> None:
        """One connection less is in use."""
        self._in_use -= 1


async def metrics(_request: Request) -> Response:
    """Answer with the measurements of all workers in Prometheus' text format."""
    registry = REGISTRY
    if DIRECTORY in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus-client has no types there
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
