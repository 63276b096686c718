"""What is claimed, in which order, and what happens to claims of those who died."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from fhir_server.config import Settings
from fhir_server.exchange import utc_now
from fhir_server.jobs import QueueError
from fhir_server.search.index import index_models
from fhir_server.store.database import Database
from prm_ext.notifications.channels.providers import Providers
from prm_ext.notifications.dispatching import Dispatcher
from prm_ext.notifications.limits import Limits
from prm_ext.notifications.means import Means
from prm_ext.notifications.records import Deliveries
from prm_ext.notifications.results import Results
from prm_ext.notifications.settings import NotificationSettings


class Queue:
    """Keeps what is queued."""

    def __init__(self, *, fails: bool = False) -> None:
        self.pieces: list[tuple[str, str, bool]] = []
        self.fails = fails

    async def put(self, job: str, pieces: Iterable[Sequence[str]], *, urgent: bool = False) -> None:
        """Take pieces, or nothing."""
        assert job == "notification"
        if self.fails:
            raise QueueError("away")
        self.pieces += [(piece[0], piece[1], urgent) for piece in pieces]

    @property
    def ids(self) -> list[str]:
        """What was queued."""
        return [piece[0] for piece in self.pieces]


@pytest.fixture
async def means(database: Any, settings: Settings, redis_url: str, tenant: str):
    store = Database(database, settings, index_models)
    limits = Limits(redis_url, f"dispatching-{tenant}")
    found = Means(
        NotificationSettings(_env_file=None, dispatch_window=20),
        Deliveries(store),
        Providers(NotificationSettings(_env_file=None), store),
        limits,
        None,
    )
    await found.deliveries.prepare()
    yield found
    await limits.close()
    await found.providers.close()


@pytest.fixture
def dispatcher(means: Means, tenant: str) -> Dispatcher:
    return Dispatcher(means, Results(means, no_context), [tenant, f"{tenant}b"])


async def no_context(_: str) -> Any:
    raise AssertionError


def delivery(tenant: str, **values: Any) -> dict[str, Any]:
    id_ = uuid.uuid4().hex
    now = utc_now()
    found = {
        "_id": f"{tenant}/{id_}",
        "t": tenant,
        "rev": 1,
        "request": id_,
        "state": "waiting",
        "status": "queued",
        "lane": "sms",
        "priority": 3,
        "due": now - timedelta(seconds=1),
        "created": now,
        "updated": now,
    }
    return found | values


async def stored(means: Means, *documents: dict[str, Any]) -> list[str]:
    await means.deliveries.collection.insert_many(documents)
    return [one["_id"] for one in documents]


async def test_only_what_is_due_is_queued(means: Means, dispatcher: Dispatcher, tenant: str) -> None:
    due, _ = await stored(means, delivery(tenant), delivery(tenant, due=utc_now() + timedelta(hours=1)))
    queue = Queue()
    assert await dispatcher.round(queue) == 1
    assert queue.ids == [due]
    found = await means.deliveries.get(due)
    assert found is not None
    assert (found["state"], found["token"]) == ("queued", queue.pieces[0][1])
    assert await dispatcher.round(queue) == 0


async def test_what_is_pressing_goes_first_and_in_a_window_of_its_own(means: Means, dispatcher: Dispatcher, tenant: str) -> None:
    await stored(means, *(delivery(tenant) for _ in range(60)))
    urgent = await stored(means, delivery(tenant, priority=0), delivery(tenant, priority=2))
    queue = Queue()
    assert await dispatcher.round(queue) == 22
    assert [id_ for id_, _, is_urgent in queue.pieces if is_urgent] == urgent


async def test_a_burst_of_one_tenant_keeps_no_other_waiting(means: Means, dispatcher: Dispatcher, tenant: str) -> None:
    await stored(means, *(delivery(tenant, due=utc_now() - timedelta(hours=1)) for _ in range(200)))
    other = await stored(means, delivery(f"{tenant}b"))
    queue = Queue()
    await dispatcher.round(queue)
    assert Counter(id_.split("/")[0] for id_ in queue.ids) == {tenant: 20, f"{tenant}b": 1}
    assert set(other) < set(queue.ids)


async def test_a_full_window_is_filled_only_as_far_as_it_empties(means: Means, dispatcher: Dispatcher, tenant: str) -> None:
    await stored(means, *(delivery(tenant) for _ in range(50)))
    queue = Queue()
    assert await dispatcher.round(queue) == 20
    assert await dispatcher.round(queue) == 0
    for id_, token, _ in queue.pieces[:5]:
        found = await means.deliveries.begin(id_, token, utc_now(), timedelta(minutes=1))
        assert found is not None
        await means.deliveries.advance(found, lambda one: {**one, "state": "done"})
    assert await dispatcher.round(queue) == 5


async def test_a_channel_that_met_its_limit_is_queued_at_that_rate(means: Means, dispatcher: Dispatcher, tenant: str) -> None:
    assert means.limits is not None
    for _ in range(2):
        await means.limits.take(tenant, "sms", "+1", 0.5, 1, 0)
    await stored(means, *(delivery(tenant) for _ in range(10)), *(delivery(tenant, lane="email") for _ in range(10)))
    queue = Queue()
    assert await dispatcher.round(queue) == 12
    lanes = Counter([(await means.deliveries.get(id_) or {})["lane"] for id_ in queue.ids])
    assert lanes == {"sms": 2, "email": 10}


async def test_several_dispatchers_queue_each_delivery_once(means: Means, tenant: str) -> None:
    ids = await stored(means, *(delivery(tenant) for _ in range(20)))
    queues = [Queue() for _ in range(4)]
    several = [Dispatcher(means, Results(means, no_context), [tenant]) for _ in queues]
    await asyncio.gather(*(one.round(queue) for one, queue in zip(several, queues, strict=True)))
    assert sorted(id_ for queue in queues for id_ in queue.ids) == sorted(ids)


async def test_what_the_broker_does_not_take_waits_on(means: Means, dispatcher: Dispatcher, tenant: str) -> None:
    (id_,) = await stored(means, delivery(tenant))
    assert await dispatcher.round(Queue(fails=True)) == 0
    found = await means.deliveries.get(id_)
    assert found is not None
    assert found["state"] == "waiting"
    assert "token" not in found
    queue = Queue()
    assert await dispatcher.round(queue) == 1


@pytest.mark.parametrize("state", ["queued", "sending", "sent"])
async def test_what_was_held_too_long_is_taken_up_again_whoever_held_it(
    means: Means, dispatcher: Dispatcher, tenant: str, state: str
) -> None:
    past = utc_now() - timedelta(seconds=1)
    (id_,) = await stored(means, delivery(tenant, state=state, lease=past, token="dead"))
    await dispatcher.sweep()
    queue = Queue()
    await dispatcher.round(queue)
    assert queue.ids == [id_]
    assert await means.deliveries.begin(id_, "dead", utc_now(), timedelta(minutes=1)) is None


async def test_a_claim_is_begun_once(means: Means, dispatcher: Dispatcher, tenant: str) -> None:
    await stored(means, delivery(tenant))
    queue = Queue()
    await dispatcher.round(queue)
    id_, token, _ = queue.pieces[0]
    begun = await asyncio.gather(*(means.deliveries.begin(id_, token, utc_now(), timedelta(minutes=1)) for _ in range(5)))
    assert len([one for one in begun if one is not None]) == 1


async def test_a_change_is_made_to_what_others_have_made_meanwhile(means: Means, tenant: str) -> None:
    (id_,) = await stored(means, delivery(tenant, n=0))
    stale = await means.deliveries.get(id_)
    assert stale is not None
    await asyncio.gather(*(means.deliveries.advance(stale, lambda one: {**one, "n": one["n"] + 1}) for _ in range(8)))
    found = await means.deliveries.get(id_)
    assert found is not None
    assert (found["n"], found["rev"]) == (8, 9)


async def test_looking_for_what_is_due_reads_no_document(means: Means, tenant: str) -> None:
    await stored(means, *(delivery(tenant, due=utc_now() + timedelta(days=1)) for _ in range(50)))
    pipeline = [
        {"$match": {"state": "waiting", "due": {"$lte": utc_now()}}},
        {"$group": {"_id": {"t": "$t", "lane": "$lane", "urgent": {"$lt": ["$priority", 3]}}, "n": {"$sum": 1}}},
    ]
    database = means.deliveries.collection.database
    plan = await database.command(
        {"explain": {"aggregate": "_deliveries", "pipeline": pipeline, "cursor": {}}, "verbosity": "executionStats"}
    )
    assert "FETCH" not in str(plan)
    assert "IXSCAN" in str(plan)
