"""Merges while others write: nothing is lost, and of merges that exclude each other one wins."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.store.redirects import redirects_of
from tests.conftest import client_of
from tests.faults.fault_server import FaultServer
from tests.operations.merge.conftest import Finish
from tests.operations.merge.merge_samples import found_ids, get, merge, observation, parameters, part, patient, put, ref, undo

Resource = dict[str, Any]


@pytest.fixture
def other(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> httpx.AsyncClient:
    """A client of another process, which knows by itself who has been merged."""
    return client_of(settings, database)


async def test_what_is_written_during_merges_ends_with_the_survivor(
    http: httpx.AsyncClient, other: httpx.AsyncClient, finish: Finish
) -> None:
    await put(http, patient("s"), patient("t"), *(observation(f"o{number}") for number in range(20)))
    written: list[str] = []
    over = asyncio.Event()

    async def write(client: httpx.AsyncClient) -> None:
        # All that is written has to fit on one page.
        while not over.is_set() and len(written) < 900:
            answer = await client.post("Observation", json=observation("x"))
            assert answer.status_code == 201, answer.text
            written.append(answer.json()["id"])

    async def rewrite(client: httpx.AsyncClient, id_: str) -> None:
        while not over.is_set():
            answer = await client.put(f"Observation/{id_}", json=observation(id_, valueString=str(len(written))))
            assert answer.status_code == 200, answer.text

    async def merging() -> None:
        await asyncio.sleep(0.1)
        answer = await merge(http)
        assert answer.status_code == 200, answer.text
        await asyncio.sleep(0.3)
        over.set()

    async with other:
        await other.get("Patient/s")
        await asyncio.gather(merging(), write(http), write(other), rewrite(http, "o1"), rewrite(other, "o2"))
    assert written
    await finish(4)
    bundle = await get(http, "Observation?_count=1000")
    subjects = {one["resource"]["id"]: one["resource"]["subject"] for one in bundle["entry"]}
    assert subjects.keys() == {*written, *(f"o{number}" for number in range(20))}
    assert {subject["reference"] for subject in subjects.values()} == {"Patient/t"}
    assert (await undo(http)).status_code == 200


async def test_an_update_during_a_merge_keeps_its_content(http: httpx.AsyncClient, finish: Finish) -> None:
    await put(http, patient("s"), patient("t"), *(observation(f"o{number}") for number in range(30)))

    async def rewrite(number: int) -> None:
        answer = await http.put(f"Observation/o{number}", json=observation(f"o{number}", valueInteger=number))
        assert answer.status_code == 200, answer.text

    answer, *_ = await asyncio.gather(merge(http), *(rewrite(number) for number in range(30)))
    assert answer.status_code == 200, answer.text
    await finish(4)
    for number in range(30):
        found = await get(http, f"Observation/o{number}")
        assert (found["valueInteger"], found["subject"]) == (number, ref("Patient/t"))


@pytest.mark.parametrize(
    "bodies",
    [
        [parameters("s", "t"), parameters("s", "t")],
        [parameters("s", "t"), parameters("t", "s")],
        [parameters("s", "t"), parameters("s", "u")],
        [parameters("s", "t"), parameters("s", "u"), parameters("t", "s"), parameters("s", "t")],
    ],
)
async def test_of_merges_that_exclude_each_other_one_wins(
    http: httpx.AsyncClient, other: httpx.AsyncClient, bodies: list[Resource]
) -> None:
    await put(http, patient("s"), patient("t"), patient("u"), observation("o"))
    async with other:
        clients = [http, other, http, other]
        answers = await asyncio.gather(*(merge(client, body) for client, body in zip(clients, bodies, strict=False)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 200, [answer.text for answer in answers]
    assert set(statuses) <= {200, 409, 422}
    inactive = [id_ for id_ in "stu" if (await get(http, f"Patient/{id_}"))["active"] is False]
    assert len(inactive) == statuses.count(200)
    assert (await get(http, "Observation/o"))["subject"]["reference"].removeprefix("Patient/") not in inactive


async def test_merges_of_a_chain_at_once_leave_no_reference_behind(
    http: httpx.AsyncClient, other: httpx.AsyncClient, finish: Finish
) -> None:
    await put(
        http, *(patient(f"p{number}") for number in range(4)), *(observation(f"o{number}", f"p{number}") for number in range(4))
    )
    async with other:
        await asyncio.gather(*(merge(other if n % 2 else http, parameters(f"p{n}", f"p{n + 1}")) for n in range(3)))
        for number in range(3):
            await merge(http, parameters(f"p{number}", f"p{number + 1}"))
    await finish(4)
    inactive = {f"Patient/p{number}" for number in range(4) if not (await get(http, f"Patient/p{number}"))["active"]}
    subjects = {(await get(http, f"Observation/o{number}"))["subject"]["reference"] for number in range(4)}
    assert inactive
    assert not subjects & inactive


async def test_undoing_twice_at_once_undoes_once(http: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    await put(http, patient("s"), patient("t"), observation("o"))
    await merge(http)
    async with other:
        answers = await asyncio.gather(undo(http), undo(other))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 200, [answer.text for answer in answers]
    assert statuses[1] in (409, 422)
    assert (await get(http, "Observation/o"))["meta"]["versionId"] == "3"


async def test_two_processes_that_end_a_merge_at_once_do_it_once(
    http: httpx.AsyncClient, contexts: Contexts, finish: Finish, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fhir_server.operations.merge import moving  # noqa: PLC0415
    from fhir_server.operations.merge.finishing import advance  # noqa: PLC0415
    from fhir_server.store.merges import Merges, OvertakenError  # noqa: PLC0415

    monkeypatch.setattr(moving, "PART", 5)
    await put(http, patient("s"), patient("t"), *(observation(f"o{number}") for number in range(23)))
    task = part(await merge(http, Prefer="respond-async"), "task")["id"]
    (begun,) = await Merges(contexts.database).unfinished(tenant)
    ctx = await contexts.of_tenant(tenant)
    ended = await asyncio.gather(advance(ctx, begun), advance(ctx, begun), return_exceptions=True)
    assert all(one is None or isinstance(one, OvertakenError) for one in ended), ended
    await finish(20)
    assert (await get(http, f"Task/{task}"))["status"] == "completed"
    assert (await get(http, f"Task/{task}"))["output"][0]["valueUnsignedInt"] == 23
    assert len(await found_ids(http, "Observation?patient=t&_count=100")) == 23
    assert (await undo(http)).status_code == 200
    assert {(await get(http, f"Observation/o{number}"))["subject"]["reference"] for number in range(23)} == {"Patient/s"}


async def test_a_process_learns_of_merges_within_a_second(http: httpx.AsyncClient, contexts: Contexts, tenant: str) -> None:
    redirects = redirects_of(contexts.database)
    await put(http, patient("s"), patient("t"))
    await redirects.refresh(tenant)
    assert not redirects.may_be_merged(tenant, "s")
    await merge(http)
    redirects._checked -= 1.0
    assert await redirects.refresh(tenant)
    assert redirects.may_be_merged(tenant, "s")
    assert await redirects.survivors(tenant, ["s", "t"]) == {"s": "t"}


@pytest.mark.slow
async def test_a_server_that_is_killed_in_a_merge_finishes_it_when_it_runs_again(tmp_path: Path) -> None:
    server = FaultServer(tmp_path)
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"{server.base}/", timeout=60) as http:
            await put(http, patient("s"), patient("t"))
            for begin in range(0, 2000, 1000):
                await put(http, *(observation(f"o{number}") for number in range(begin, begin + 1000)))
            task = part(await merge(http, Prefer="respond-async"), "task")["id"]
            for _ in range(1000):
                if (await get(http, f"Task/{task}"))["output"][0]["valueUnsignedInt"]:
                    break
        server.kill()
        await server.start()
        async with httpx.AsyncClient(base_url=f"{server.base}/", timeout=60) as http:
            before = await get(http, f"Task/{task}")
            assert before["status"] == "in-progress"
            for _ in range(600):
                found = await get(http, f"Task/{task}")
                if found["status"] == "completed":
                    break
                await asyncio.sleep(0.1)
            assert (found["status"], found["output"][0]["valueUnsignedInt"]) == ("completed", 2000)
            assert (await get(http, "Observation?subject:missing=false&_summary=count"))["total"] == 2000
            assert (await get(http, "Observation?patient=t&_summary=count"))["total"] == 2000
    finally:
        server.stop()
