"""Answers of MongoDB that are lost, late or refusals, made by its own fail points: no write is made twice, none vanishes.

https://github.com/mongodb/mongo/wiki/The-%22failCommand%22-fail-point
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pymongo
import pytest

from fhir_server.config import Settings
from fhir_server.store.database import connect
from fhir_server.store.embedded import EmbeddedMongod
from tests.conftest import client_of

LOST = {"writeConcernError": {"code": 91, "errmsg": "lost", "errorLabels": ["RetryableWriteError"]}}
"""The command runs; what comes back says that it is not known whether it did."""
PATIENT = {"resourceType": "Patient", "active": True}
ALWAYS = "alwaysOn"


class FailingMongod(EmbeddedMongod):
    """A `mongod` whose commands can be made to fail."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, cache_mb=256)
        self._options.append("--setParameter=enableTestCommands=1")

    @contextlib.contextmanager
    def failing(self, times: int | str, *commands: str, **how: Any) -> Iterator[None]:
        """Let the next commands of the server fail so many times."""
        mode = {"times": times} if isinstance(times, int) else times
        data = {"failCommands": list(commands), "appName": "fhir-server"} | how
        with pymongo.MongoClient[dict[str, Any]](self.uri) as client:
            client.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})
            try:
                yield
            finally:
                client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


@pytest.fixture(scope="module")
async def mongod(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FailingMongod]:
    with FailingMongod(tmp_path_factory.mktemp("failing")) as started:
        await asyncio.to_thread(started.wait)
        yield started


@pytest.fixture
async def http(mongod: FailingMongod, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings.model_copy(update={"mongodb_uri": mongod.uri, "mongodb_timeout_ms": 700})
    async with connect(mongod.uri, settings) as client, client_of(settings, client["fhir"]) as opened:
        assert (await opened.put("Patient/one", json=PATIENT | {"id": "one"})).status_code == 201
        yield opened


async def number_of(http: httpx.AsyncClient, query: str = "") -> int:
    return int((await http.get(f"Patient?_summary=count&{query}")).json()["total"])


async def versions(http: httpx.AsyncClient, id_: str = "one") -> list[str]:
    return [entry["response"]["etag"] for entry in (await http.get(f"Patient/{id_}/_history")).json()["entry"]]


def update(http: httpx.AsyncClient, **headers: str) -> Any:
    return http.put("Patient/one", json=PATIENT | {"id": "one", "gender": "other"}, headers=headers)


TRANSACTION = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [{"resource": PATIENT | {"gender": "male"}, "request": {"method": "POST", "url": "Patient"}} for _ in range(7)],
}


@pytest.mark.parametrize("how", [LOST, {"closeConnection": True}, {"errorCode": 10107}, {"errorCode": 11600}], ids=str)
async def test_a_create_whose_answer_is_lost_once_creates_once(
    http: httpx.AsyncClient, mongod: FailingMongod, how: dict[str, Any]
) -> None:
    with mongod.failing(1, "insert", **how):
        answer = await http.post("Patient", json=PATIENT)
    assert answer.status_code == 201
    assert await number_of(http) == 2


@pytest.mark.parametrize("how", [LOST, {"closeConnection": True}, {"errorCode": 10107}, {"errorCode": 251}], ids=str)
async def test_an_update_whose_commit_is_not_answered_makes_one_version(
    http: httpx.AsyncClient, mongod: FailingMongod, how: dict[str, Any]
) -> None:
    more = {"errorLabels": ["TransientTransactionError"]} if how.get("errorCode") == 251 else {}
    with mongod.failing(2, "commitTransaction", **how, **more):
        answer = await update(http)
    assert answer.status_code == 200
    assert answer.headers["ETag"] == 'W/"2"'
    assert await versions(http) == ['W/"2"', 'W/"1"']


@pytest.mark.parametrize("command", ["insert", "update", "find", "commitTransaction"])
async def test_a_lost_connection_is_passed_over(http: httpx.AsyncClient, mongod: FailingMongod, command: str) -> None:
    condition = {"If-None-Exist": "gender=female"}
    with mongod.failing(1, command, closeConnection=True):
        assert (await update(http)).status_code == 200
    with mongod.failing(1, command, closeConnection=True):
        assert (await http.post("", json=TRANSACTION)).status_code == 200
    with mongod.failing(1, command, closeConnection=True):
        assert (await http.post("Patient", json=PATIENT | {"gender": "female"}, headers=condition)).status_code == 201
    assert await versions(http) == ['W/"2"', 'W/"1"']
    assert await number_of(http, "gender=male") == 7
    assert await number_of(http, "gender=female") == 1


@pytest.mark.parametrize("command", ["insert", "update", "commitTransaction"])
async def test_a_transaction_in_the_way_of_another_is_repeated(
    http: httpx.AsyncClient, mongod: FailingMongod, command: str
) -> None:
    conflict = {"errorCode": 112, "errorLabels": ["TransientTransactionError"]}
    entries = [*TRANSACTION["entry"], {"resource": PATIENT | {"id": "one"}, "request": {"method": "PUT", "url": "Patient/one"}}]
    with mongod.failing(3, command, **conflict):
        assert (await http.post("", json=TRANSACTION | {"entry": entries})).status_code == 200
    assert await versions(http) == ['W/"2"', 'W/"1"']
    assert await number_of(http, "gender=male") == 7
    with mongod.failing(ALWAYS, command, **conflict):
        answer = await http.post("", json=TRANSACTION | {"entry": entries})
    assert answer.status_code == 409
    assert answer.json()["issue"][0]["code"] == "conflict"
    assert await versions(http) == ['W/"2"', 'W/"1"']


@pytest.mark.parametrize("how", [{"closeConnection": True}, {"errorCode": 10107}], ids=str)
async def test_a_database_that_takes_no_writes_is_a_503_and_nothing_is_written(
    http: httpx.AsyncClient, mongod: FailingMongod, how: dict[str, Any]
) -> None:
    condition = {"If-None-Exist": "gender=female"}
    with mongod.failing(ALWAYS, "insert", "update", "commitTransaction", **how):
        answers = await asyncio.gather(
            http.post("Patient", json=PATIENT),
            update(http),
            update(http, **{"If-Match": 'W/"1"'}),
            http.delete("Patient/one"),
            http.post("", json=TRANSACTION),
            http.post("Patient", json=PATIENT | {"gender": "female"}, headers=condition),
        )
    assert [answer.status_code for answer in answers] == [503] * 6
    assert {answer.headers["Retry-After"] for answer in answers} <= {"1", "5"}
    assert await number_of(http) == 1
    assert await versions(http) == ['W/"1"']
    assert (await http.post("Patient", json=PATIENT, headers=condition)).status_code == 201


async def test_a_write_that_no_majority_confirms_is_not_acknowledged(http: httpx.AsyncClient, mongod: FailingMongod) -> None:
    unconfirmed = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}
    with mongod.failing(ALWAYS, "insert", "commitTransaction", **unconfirmed):
        answers = await asyncio.gather(http.post("Patient", json=PATIENT), update(http), http.post("", json=TRANSACTION))
    assert [answer.status_code for answer in answers] == [503] * 3
    assert {answer.headers["Retry-After"] for answer in answers} == {"5"}
    assert "read what is there" in answers[0].text


async def test_indexes_that_can_not_be_made_now_are_made_by_the_next_request(
    http: httpx.AsyncClient, mongod: FailingMongod
) -> None:
    with mongod.failing(ALWAYS, "createIndexes", errorCode=11600):
        answers = await asyncio.gather(*(http.post("Device", json={"resourceType": "Device"}) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [503] * 5
    assert (await http.post("Device", json={"resourceType": "Device"})).status_code == 201


async def test_a_change_of_the_primary_gives_no_500_and_is_over_by_itself(http: httpx.AsyncClient, mongod: FailingMongod) -> None:
    found: list[httpx.Response] = []
    over = asyncio.Event()

    async def write(number: int) -> None:
        while not over.is_set():
            found.append(await http.put(f"Patient/s{number % 3}", json=PATIENT | {"id": f"s{number % 3}"}))
            found.append(await http.post("Patient", json=PATIENT, headers={"If-None-Exist": f"identifier={number}"}))
            found.append(await http.get("Patient?active=true"))
            found.append(await http.post("", json=TRANSACTION))

    writers = [asyncio.create_task(write(number)) for number in range(6)]
    with pymongo.MongoClient[dict[str, Any]](mongod.uri) as client:
        await asyncio.sleep(0.3)
        with contextlib.suppress(pymongo.errors.AutoReconnect):
            await asyncio.to_thread(client.admin.command, {"replSetStepDown": 1, "force": True})
        await asyncio.sleep(1)
        async with asyncio.timeout(20):
            while found[-1].status_code == 503:  # noqa: ASYNC110 -- it is MongoDB that changes
                await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    over.set()
    await asyncio.gather(*writers)
    assert {answer.status_code for answer in found} <= {200, 201, 503, 409}
    assert {answer.status_code for answer in found[-6:]} <= {200, 201}
    for number in range(3):
        shown = await versions(http, f"s{number}")
        assert shown == [f'W/"{place}"' for place in range(int(shown[0][3:-1]), 0, -1)][:50]
