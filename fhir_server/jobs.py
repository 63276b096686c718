"""Queued work: Celery over Redis or Valkey, as transport and nothing else.

MongoDB says what there is to do; here only its ids travel. So whatever is lost or doubled by the broker does no harm:
who queues looks again after a while, and who works begins with a conditional change of what the id stands for
(docs/decisions/0042-jobs.md).
"""

import asyncio
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from celery import Celery

URGENT: Final = "urgent"
USUAL: Final = "usual"
_PREFIX: Final = "fhir."
_VISIBILITY_SECONDS: Final = 900
"""Longer than any piece of work takes: what a worker has taken and not finished by then is given to another."""
_TIMEOUT_SECONDS: Final = 5
TOGETHER: Final = 4
"""Pieces in one message, at most. A message costs a worker as much as sending one to a patient does."""
_SPREAD: Final = 16
"""So many messages there are before pieces share one, so that all threads of all workers have something to do."""


class QueueError(RuntimeError):
    """The broker does not take work now."""


def celery_app(redis_url: str, namespace: str) -> "Celery":
    """Return the application, whose queues are those of a namespace: servers of different databases share a Redis."""
    # They take half a second to import, and most processes that know of jobs queue none.
    from celery import Celery  # noqa: PLC0415
    from kombu.entity import Queue  # noqa: PLC0415

    app = Celery("fhir", broker=redis_url, set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=USUAL,
        task_queues=[Queue(URGENT), Queue(USUAL)],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=_TIMEOUT_SECONDS,
        broker_transport_options={
            "global_keyprefix": f"{namespace}:",
            "visibility_timeout": _VISIBILITY_SECONDS,
            "queue_order_strategy": "priority",
            "socket_timeout": _TIMEOUT_SECONDS,
            "socket_connect_timeout": _TIMEOUT_SECONDS,
            "health_check_interval": 10,
        },
    )
    return app


def task_name(job: str) -> str:
    """Return what a job is called among Celery's tasks."""
    return _PREFIX + job


class JobQueue:
    """Where work is queued. It may be used by all coroutines of a process."""

    def __init__(self, redis_url: str, namespace: str) -> None:
        self._url = redis_url
        self._made: Celery | None = None
        self._redis = Redis.from_url(redis_url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS)
        self._namespace = namespace
        self._lock = threading.Lock()

    async def put(self, job: str, pieces: Iterable[Sequence[str]], *, urgent: bool = False) -> None:
        """Queue pieces of work, each by its arguments.

        Raises:
            QueueError: the broker does not take them; some may be queued by then.
        """
        await asyncio.to_thread(self._put, task_name(job), list(pieces), URGENT if urgent else USUAL)

    def _put(self, name: str, pieces: list[Sequence[str]], queue: str) -> None:
        from kombu.exceptions import OperationalError  # noqa: PLC0415 -- see `celery_app`

        try:
            self._send(name, pieces, queue)
        except (OperationalError, RedisError, OSError) as error:
            raise QueueError(type(error).__name__) from error

    def _send(self, name: str, pieces: list[Sequence[str]], queue: str) -> None:
        # One at a time: a connection of kombu's is for one thread.
        with self._lock, self._app.producer_pool.acquire(block=True, timeout=_TIMEOUT_SECONDS) as producer:
            for some in _shared(pieces, 1 if queue == URGENT else TOGETHER):
                self._app.send_task(name, args=some, queue=queue, producer=producer, retry=False, ignore_result=True)

    @property
    def _app(self) -> "Celery":
        if self._made is None:
            self._made = celery_app(self._url, self._namespace)
        return self._made

    async def waiting(self) -> int:
        """Return how many messages, of one piece or more, no worker has taken yet.

        Raises:
            QueueError: the broker does not answer.
        """
        try:
            lengths: list[Any] = [await self._length(f"{self._namespace}:{queue}") for queue in (URGENT, USUAL)]
        except (RedisError, OSError) as error:
            raise QueueError(type(error).__name__) from error
        return sum(int(length) for length in lengths)

    async def _length(self, key: str) -> Any:
        return await self._redis.execute_command("LLEN", key)  # type: ignore[no-untyped-call]  # redis-py's own

    async def close(self) -> None:
        """Give free the connections."""
        await self._redis.aclose()
        if self._made is not None:
            await asyncio.to_thread(self._made.close)


def _shared(pieces: Sequence[Sequence[str]], most: int) -> Iterator[list[list[str]]]:
    """Yield the pieces of each message."""
    size = max(1, min(most, len(pieces) // _SPREAD))
    for start in range(0, len(pieces), size):
        yield [list(piece) for piece in pieces[start : start + size]]
