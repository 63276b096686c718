"""Extensions: what may be registered, what is refused, and that nothing of it outlives the server that it is for."""

import asyncio
import sys
import types
import uuid
from datetime import UTC, datetime

import pytest
from fastapi import APIRouter
from pydantic_settings import BaseSettings, SettingsConfigDict

from fhir_server import publisher
from fhir_server.engine import OPERATIONS
from fhir_server.events.consumer import Consumer
from fhir_server.events.event import Naming
from fhir_server.exchange import Behaviour, Call, Operation, Reply
from fhir_server.extension import ExtensionError, Extensions, Server, Task, load
from fhir_server.fhir.outcome import unprocessable
from fhir_server.main import REFUSED, serve
from fhir_server.resources import BEHAVIOURS
from prm_ext.common.context import CurrentContext
from prm_ext.common.problems import ProblemRoute
from tests.conftest import client_of


async def greet(ctx, call):
    return Reply(200, {"resourceType": "Basic", "id": f"hello-{ctx.tenant}", "code": {"text": call.operation}})


GREET = Operation("greet", greet, "urn:test:greet", frozenset({"type"}), frozenset({"Basic"}))


class NoSecrets(Behaviour):
    """Refuses what is secret."""

    async def before_write(self, _ctx, draft):
        """Refuse."""
        if draft.resource.get("code", {}).get("text") == "secret":
            raise unprocessable("No secrets.", "Basic.code")
        return draft


class ExtensionSettings(BaseSettings):
    """Settings of an extension."""

    model_config = SettingsConfigDict(env_prefix="TEST_EXT_")
    greeting: str = "hello"


def routes() -> APIRouter:
    router = APIRouter(route_class=ProblemRoute)

    @router.get("/basics")
    async def basics(ctx: CurrentContext) -> dict[str, int]:
        reply = await ctx.dispatch(ctx, Call("search-type", type="Basic", params=(("_summary", "count"),)))
        return {"total": reply.resource["total"]}

    @router.get("/broken")
    async def broken() -> None:
        raise ValueError("with the name of a patient")

    return router


@pytest.fixture
def extension(settings, monkeypatch):
    """Settings that load an extension of this test, and the list of what it registers."""
    registered = []
    module = types.ModuleType("extension_of_a_test")
    module.register = lambda server: [add(server) for add in registered]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return settings.model_copy(update={"extensions": f"{module.__name__}, "}), registered


async def test_operations_behaviours_and_routes_are_served_and_only_by_that_server(extension, database, http, tenant):
    settings, registered = extension
    registered += [
        lambda server: server.add_operation(GREET),
        lambda server: server.add_behaviour("Basic", NoSecrets()),
        lambda server: server.add_routes("/api/v1/test", routes),
    ]
    basic = {"resourceType": "Basic", "code": {"text": "secret"}}
    async with client_of(settings, database) as extended:
        assert (await extended.get("Basic/$greet")).status_code == 405
        answer = await extended.post("Basic/$greet", json={"resourceType": "Parameters"})
        assert (answer.status_code, answer.json()["id"]) == (200, f"hello-{tenant}")
        statement = (await extended.get("metadata")).json()
        assert "greet" in str(statement["rest"])
        refused = await extended.post("Basic", json=basic)
        assert (refused.status_code, refused.json()["issue"][0]["expression"]) == (422, ["Basic.code"])
        assert (await extended.post("Basic", json={"resourceType": "Basic", "code": {"text": "open"}})).status_code == 201
        assert (await extended.get("http://test/api/v1/test/basics")).json() == {"total": 1}
        broken = await extended.get("http://test/api/v1/test/broken")
        assert (broken.status_code, "patient" in broken.text) == (500, False)
    assert (await http.post("Basic/$greet", json={"resourceType": "Parameters"})).status_code == 404
    assert (await http.post("Basic", json=basic)).status_code == 201
    assert (await http.get("http://test/api/v1/test/basics")).status_code == 404


async def test_consumers_and_tasks_run_in_the_publisher_and_go_on_after_a_failure(extension, client, monkeypatch):
    monkeypatch.setattr(publisher, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("fhir_server.store.feed.AWAIT_MS", 50)
    settings, registered = extension
    settings = settings.model_copy(update={"mongodb_database": f"ext_{uuid.uuid4().hex[:12]}", "redis_url": ""})
    handled, worked = [], []

    async def handle(ctx, event):
        reply = await ctx.dispatch(ctx, Call("read", type="Basic", id=event.change.id))
        handled.append((event.type, reply.resource["code"]["text"]))

    async def work(context_of):
        worked.append((await context_of("t1")).tenant)
        if len(worked) == 1:
            raise ValueError

    registered += [
        lambda server: server.add_consumer(Consumer("reader", handle, frozenset({"Basic"}))),
        lambda server: server.add_task(Task("worker", work)),
    ]
    stop = asyncio.Event()
    running = asyncio.create_task(publisher.publish(settings, datetime.now(UTC), stop))
    try:
        async with client_of(settings, client[settings.mongodb_database]) as http, asyncio.timeout(30):
            await http.post("Basic", json={"resourceType": "Basic", "code": {"text": "x"}})
            while not handled or len(worked) < 3:  # noqa: ASYNC110 -- what changes is in the hands of others
                await asyncio.sleep(0.02)
    finally:
        stop.set()
        await running
        await client.drop_database(settings.mongodb_database)
    assert handled[0] == ("org.fhir.basic.created", "x")
    assert worked[:3] == ["t1"] * 3


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda server: server.add_routes("/fhir/x", routes), "the FHIR door"),
        (lambda server: server.add_routes("x", routes), "can not be below"),
        (lambda server: [server.add_routes(prefix, routes) for prefix in ("/a/b", "/a")], "has routes"),
        (lambda server: server.add_operation(next(iter(OPERATIONS.values()))), "already"),
        (lambda server: [server.add_operation(GREET) for _ in range(2)], r"\$greet of Basic already"),
        (lambda server: server.add_behaviour("Person2", NoSecrets()), "not a resource type"),
        (lambda server: [server.name_events("Basic", Naming(lambda _: None)) for _ in range(2)], "names the events"),
        (lambda server: [server.add_consumer(Consumer("one", greet)) for _ in range(2)], "'one' already"),
        (lambda server: [server.add_task(Task("one", greet)) for _ in range(2)], "'one' already"),
        (lambda server: server.add_settings(type("Plain", (BaseSettings,), {})), "env_prefix"),
    ],
)
def test_what_is_in_the_way_is_refused(settings, add, message):
    with pytest.raises(ExtensionError, match=message):
        add(Server(settings))


def test_a_module_that_is_missing_or_no_extension_is_refused(settings):
    with pytest.raises(ExtensionError, match=r"'no_such_module'.*is not installed"):
        load(settings.model_copy(update={"extensions": "no_such_module"}))
    with pytest.raises(ExtensionError, match="has no function `register`"):
        load(settings.model_copy(update={"extensions": "json"}))


def test_the_server_does_not_start_with_an_extension_that_is_missing(settings, capsys):
    assert serve(settings.model_copy(update={"extensions": "no_such_module"})) == REFUSED
    assert "'no_such_module' (FHIR_EXTENSIONS) is not installed" in capsys.readouterr().err


def test_settings_of_an_extension_are_read_once_by_their_prefix(settings, monkeypatch):
    monkeypatch.setenv("TEST_EXT_GREETING", "hi")
    server = Server(settings)
    assert server.add_settings(ExtensionSettings).greeting == "hi"
    assert server.add_settings(ExtensionSettings) is server.extensions().settings[0]


async def test_two_behaviours_of_a_type_act_one_after_the_other(settings):
    acted = []

    class Noting(Behaviour):
        def __init__(self, name):
            self.name = name

        async def before_write(self, _ctx, draft):
            acted.append(f"before {self.name}")
            return draft

        async def after_write(self, _ctx, _version, _previous):
            acted.append(f"after {self.name}")
            return (self.name,)

    server = Server(settings)
    for name in ("one", "two"):
        server.add_behaviour("Basic", Noting(name))
    both = server.extensions().behaviours["Basic"]
    await both.before_write(None, "draft")
    assert await both.after_write(None, None, None) == ("one", "two")
    assert acted == ["before one", "before two", "after one", "after two"]


def test_without_extensions_there_is_what_the_server_has(settings):
    assert load(settings.model_copy(update={"extensions": ""})).behaviours == BEHAVIOURS
    assert Extensions().behaviours is BEHAVIOURS
    assert {one.prefix for one in load(settings).routes} == {
        "/api/v1/prm/patients",
        "/api/v1/prm/media",
        "/api/v1/prm/notifications",
    }
