"""What is done by itself for a tenant says so in each line of the log: consumers, merges, campaigns, messages, dispatching.

Lines of jobs are looked at in tests/test_worker.py, those of requests in tests/security/authorization/test_tenants_in_logs.py.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.events.consumer import Consumer, ConsumerSink
from fhir_server.events.event import Named, Naming
from fhir_server.events.follow import Follower
from fhir_server.exchange import Call
from fhir_server.jobs import QueueError
from fhir_server.operations.merge import finishing
from fhir_server.search.index import index_models
from fhir_server.security.policies import Policies
from fhir_server.store.database import Database
from fhir_server.store.merges import Merge, Merges
from prm_ext.notifications import campaigning, inbound
from prm_ext.notifications.inbound import Inbound
from prm_ext.notifications.inbox import Inbox, Incoming
from prm_ext.notifications.means import MeansOf
from prm_ext.notifications.settings import NotificationSettings
from tests.logged import Logged, logged
from tests.prm_ext.notifications.pipeline import Pipeline

NORTH, SOUTH = "north", "south"
PROCESS_WIDE = {
    # Of a sink or a task that serves all tenants.
    "another process follows the change feed now",
    "the shared change stream has ended",
}


@pytest.fixture
def log(settings: Settings) -> Iterator[Logged]:
    with logged(settings, "info") as output:
        yield output


@pytest.fixture
async def own(settings: Settings, client: Any, tenant: str) -> AsyncIterator[Contexts]:
    """A database of its own, since what is done by itself is done for all tenants."""
    settings = settings.model_copy(update={"mongodb_database": f"w{tenant}"})
    yield Contexts(Database(client[settings.mongodb_database], settings, index_models), settings)
    await client.drop_database(settings.mongodb_database)


async def until(log: Logged, event: str, count: int = 1) -> None:
    """Wait for lines, then see that each names its tenant."""
    async with asyncio.timeout(30):
        while sum(line["event"] == event for line in log.lines()) < count:  # noqa: ASYNC110 -- it is told by the log
            await asyncio.sleep(0.02)
    assert [line for line in log.lines() if not line.get("tenant") and line["event"] not in PROCESS_WIDE] == []


def tenants(log: Logged, event: str) -> set[str]:
    return {line["tenant"] for line in log.lines() if line["event"] == event}


async def run_until(work: Any, log: Logged, event: str, count: int = 1) -> None:
    task = asyncio.create_task(work)
    try:
        await until(log, event, count)
    finally:
        # What the driver makes of a cancellation may be taken for a failure that is tried again.
        while not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=1)


async def test_a_consumer_that_fails(own: Contexts, log: Logged) -> None:
    """Also what it logs itself, and that a change could not be named."""
    left = {NORTH, SOUTH}

    async def handle(ctx: Any, _event: Any) -> None:
        structlog.get_logger().info("seen")
        if ctx.tenant in left:
            left.remove(ctx.tenant)
            raise ValueError("not now")

    def unnamed(_change: Any) -> Named | None:
        raise KeyError("surprise")

    for one in (NORTH, SOUTH):
        ctx = await own.of_tenant(one)
        await ctx.dispatch(ctx, Call("create", "Patient", resource={"resourceType": "Patient"}))
    consumer = ConsumerSink(Consumer("watching", handle), own.of_tenant)
    since = datetime.now(UTC) - timedelta(minutes=1)
    follower = Follower(own.database, consumer, {"Patient": Naming(unnamed)}, since=since)
    await run_until(follower.run(), log, "seen", 4)
    for event in ("seen", "events could not be delivered and will be again", "a change could not be named"):
        assert tenants(log, event) == {NORTH, SOUTH}


async def test_merges_that_fail_or_are_interrupted(own: Contexts, log: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next line has the next tenant, and none what is of none."""
    errors = {NORTH: KeyError("surprise"), SOUTH: finishing.OvertakenError()}

    async def fails(ctx: Any, _merge: Any) -> None:
        raise errors[ctx.tenant]

    monkeypatch.setattr(finishing, "advance", fails)
    monkeypatch.setattr(finishing, "POLL_SECONDS", 0.01)
    merges, now = Merges(own.database), datetime.now(UTC)
    await merges.prepare()
    for place, one in enumerate((NORTH, SOUTH)):
        merge = Merge(one, "m1", "merge", "a", "b", "http://x/fhir", {}, {}, now)
        await own.database.collection("_merges").insert_one(merge.document(now - timedelta(minutes=2 - place)))
    await run_until(finishing.keep_finishing(own.database, own.of_tenant), log, "somebody else got on with a merge")
    assert tenants(log, "a merge has failed and will be taken up again") == {NORTH}
    assert tenants(log, "somebody else got on with a merge") == {SOUTH}
    assert "tenant" not in structlog.contextvars.get_contextvars()


async def test_a_campaign_that_is_interrupted(own: Contexts, log: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any) -> None:
        raise KeyError("surprise")

    async def one(*_: Any) -> dict[str, Any]:
        return {"_id": "north/c1", "t": NORTH, "failures": 0, "state": "running"}

    async def noted(*_: Any) -> bool:
        return True

    monkeypatch.setattr(campaigning, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(campaigning.Campaigning, "_do", fails)
    monkeypatch.setattr(campaigning.Ledger, "next", one)
    monkeypatch.setattr(campaigning.Ledger, "note", noted)
    means = MeansOf(NotificationSettings(_env_file=None))
    await run_until(campaigning.carry_out(means, own.of_tenant), log, "a campaign is interrupted", 2)
    assert tenants(log, "a campaign is interrupted") == {NORTH}


async def test_messages_that_can_not_be_dealt_with(own: Contexts, log: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of several tenants are dealt with at once."""

    async def fails(*_: Any) -> Any:
        raise KeyError("surprise")

    monkeypatch.setattr(inbound, "sender_of", fails)
    box, before = Inbox(own.database), datetime.now(UTC) - timedelta(hours=1)
    await box.prepare()
    for one in (NORTH, SOUTH):
        for number in range(3):
            await box.keep(one, Incoming("twilio", f"SM{number}", "sms", "+14155550132", "+14155550100", "Hi"), before)
    await Inbound(MeansOf(NotificationSettings(_env_file=None))).sweep(own.of_tenant, await own.of_tenant("default"))
    await until(log, "unforeseen", 6)
    assert tenants(log, "unforeseen") == {NORTH, SOUTH}


async def test_what_can_not_be_queued(settings: Settings, database: Any, log: Logged, tenant: str) -> None:
    class Full:
        async def put(self, *_: Any, **__: Any) -> None:
            raise QueueError("no")

    async with Pipeline(settings, database) as pipeline:
        await pipeline.write(
            {
                "resourceType": "CommunicationRequest",
                "status": "active",
                "recipient": [{"extension": [{"url": inbound.codes.ADDRESS, "valueString": "+14155550132"}]}],
                "payload": [{"contentString": "Hello"}],
            }
        )
        await pipeline.plan()
        await pipeline.dispatcher.round(Full())
    await until(log, "notifications can not be queued now")
    assert tenants(log, "notifications can not be queued now") == {tenant}


async def test_a_policy_that_can_not_be_used_any_more(log: Logged, tmp_path: Any) -> None:
    clock = [0.0]
    policies = Policies(tmp_path, clock=lambda: clock[0])
    policies.of(NORTH)
    (tmp_path / f"{NORTH}.yaml").write_text("roles: [")
    clock[0] = 100.0
    policies.of(NORTH)
    await until(log, "a policy can not be used; the one before stays in force")


async def test_keys_that_can_not_be_unwrapped(own: Contexts, log: Logged) -> None:
    await own.database.keyring.ready(NORTH)
    other = own.settings.model_copy(update={"master_key": "YW5vdGhlciBtYXN0ZXIga2V5IG9mIHRlc3RzLCAzMmI="})
    await Database(own.database.mongodb, other, index_models).keyring.ready(NORTH)
    await until(log, "keys can not be unwrapped")
