"""Merges in batches, and what a process leaves behind that dies in one."""

from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.fhir.validate import check_invariants, validate
from fhir_server.operations.merge import moving
from fhir_server.store.merges import Merges
from tests.conftest import client_of
from tests.operations.merge.conftest import Finish
from tests.operations.merge.merge_samples import (
    found_ids,
    get,
    merge,
    observation,
    parameters,
    part,
    patient,
    put,
    ref,
    refusal,
    undo,
)

ASYNC = {"Prefer": "respond-async"}
MANY = 25


@pytest.fixture
async def many(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> httpx.AsyncClient:
    """A server where many resources refer to s, more than a batch takes."""
    monkeypatch.setattr(moving, "PART", 10)
    await put(http, patient("s"), patient("t"), *(observation(f"o{number:02}") for number in range(MANY)))
    return http


async def subjects(http: httpx.AsyncClient) -> list[str]:
    bundle = await get(http, "Observation?_count=100&_sort=_id")
    return [one["resource"]["subject"]["reference"] for one in bundle["entry"] if one["search"]["mode"] == "match"]


async def test_a_task_shows_how_far_it_is(many: httpx.AsyncClient, finish: Finish) -> None:
    answer = await merge(many, **ASYNC)
    assert answer.status_code == 202, answer.text
    task = part(answer, "task")
    assert answer.headers["Content-Location"] == f"http://test/fhir/Task/{task['id']}"
    assert (task["status"], task["for"]) == ("in-progress", ref("Patient/t"))
    assert [one["valueString"] for one in task["input"]] == ["Patient/s", "Patient/t"]
    assert [one["valueUnsignedInt"] for one in task["output"]] == [0, MANY]
    assert (await get(many, "Patient/s"))["active"] is False
    assert set(await subjects(many)) == {"Patient/s"}
    assert await finish() == 1
    task = await get(many, f"Task/{task['id']}")
    assert (task["status"], [one["valueUnsignedInt"] for one in task["output"]]) == ("completed", [MANY, MANY])
    assert set(await subjects(many)) == {"Patient/t"}
    assert not [issue for issue in (*validate(task), *check_invariants(task)) if issue.severity == "error"]
    history = await get(many, f"Task/{task['id']}/_history")
    done = [one["resource"]["output"][0]["valueUnsignedInt"] for one in history["entry"]]
    assert done == [25, 25, 20, 10, 0]


async def test_its_provenance_comes_in_parts_and_one_stands_for_the_whole(many: httpx.AsyncClient, finish: Finish) -> None:
    await merge(many, **ASYNC)
    assert await found_ids(many, "Provenance?_summary=false") == []
    await finish()
    bundle = await get(many, "Provenance?_count=100")
    records = [one["resource"] for one in bundle["entry"]]
    whole = [one for one in records if "contained" in one]
    assert [one["target"] for one in whole] == [[ref("Patient/t/_history/2"), ref("Patient/s/_history/2")]]
    moved = sorted(target["reference"] for one in records if "contained" not in one for target in one["target"])
    assert moved == [f"Observation/o{number:02}/_history/2" for number in range(MANY)]
    assert len(records) == 4
    assert {one["activity"]["coding"][0]["code"] for one in records} == {"merge"}


async def test_while_it_runs_searches_find_both_and_other_merges_wait(many: httpx.AsyncClient, finish: Finish) -> None:
    await put(many, patient("u"))
    await merge(many, **ASYNC)
    assert len(await found_ids(many, "Observation?patient=s&_count=100")) == MANY
    assert (await many.post("Observation", json=observation("x"))).json()["subject"] == ref("Patient/t")
    assert refusal(await merge(many, parameters("t", "u"))) == (409, "conflict")
    assert refusal(await merge(many, parameters("u", "t"))) == (409, "conflict")
    assert refusal(await undo(many)) == (409, "conflict")
    await finish()
    assert (await merge(many, parameters("t", "u"))).status_code == 200
    assert set(await subjects(many)) == {"Patient/u"}


async def test_it_may_be_asked_for_below_the_bound_too_and_is_needed_above(
    settings: Settings, database: AsyncDatabase[dict[str, Any]], finish: Finish
) -> None:
    async with client_of(settings.model_copy(update={"merge_max": 3}), database) as http:
        await put(http, patient("s"), patient("t"), *(observation(f"o{number}") for number in range(5)))
        assert (await merge(http)).status_code == 412
        assert (await merge(http, **ASYNC)).status_code == 202
        await finish()
        assert refusal(await undo(http)) == (412, "too-costly")
        answer = await undo(http, **ASYNC)
        assert answer.status_code == 202
        await finish()
        assert set(await subjects(http)) == {"Patient/s"}
        assert (await get(http, f"Task/{part(answer, 'task')['id']}"))["status"] == "completed"


class KilledError(BaseException):
    """Ends everything at once, as the end of a process does: nothing cleans up after it."""


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_merge_that_dies_is_finished_by_another_process(
    many: httpx.AsyncClient, finish: Finish, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    task = part(await merge(many, **ASYNC), "task")["id"]
    calls = 0
    save = Merges.save

    async def dying(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        saved = await save(*given, **named)
        if calls == at:
            raise KilledError
        return saved

    monkeypatch.setattr(Merges, "save", dying)
    with pytest.raises(KilledError):
        await finish()
    monkeypatch.setattr(Merges, "save", save)
    moved = (await subjects(many)).count("Patient/t")
    assert moved == (at - 1) * 10
    assert await finish() == 0
    assert await finish(16) >= 1
    assert set(await subjects(many)) == {"Patient/t"}
    assert (await get(many, f"Task/{task}"))["output"][0]["valueUnsignedInt"] == MANY
    assert (await undo(many)).status_code == 200
    assert set(await subjects(many)) == {"Patient/s"}


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_an_undoing_that_dies_is_finished_by_another_process(
    many: httpx.AsyncClient, finish: Finish, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    await merge(many, **ASYNC)
    await finish()
    task = part(await undo(many, **ASYNC), "task")["id"]
    calls = 0
    save = Merges.save

    async def dying(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KilledError
        return await save(*given, **named)

    monkeypatch.setattr(Merges, "save", dying)
    with pytest.raises(KilledError):
        await finish()
    monkeypatch.setattr(Merges, "save", save)
    await finish(16)
    assert set(await subjects(many)) == {"Patient/s"}
    found = await get(many, f"Task/{task}")
    assert (found["status"], found["output"][0]["valueUnsignedInt"]) == ("completed", MANY)


async def test_what_was_written_without_knowing_of_the_merge_is_moved_later(
    many: httpx.AsyncClient, contexts: Contexts, finish: Finish, tenant: str
) -> None:
    await merge(many)
    collection = contexts.database.collection("Observation")
    late = await collection.find_one({"_id": f"{tenant}/o00"})
    assert late is not None
    late |= {"_id": f"{tenant}/late", "i": "late", "s": late["s"] | {"subject": "Patient/s"}}
    late["r"] |= {"id": "late", "subject": ref("Patient/s")}
    await collection.insert_one(late)
    assert "late" in await found_ids(many, "Observation?patient=s&_count=100")
    assert await finish(4) == 1
    assert (await get(many, "Observation/late"))["subject"] == ref("Patient/t")
    assert "late" in await found_ids(many, "Observation?patient=t&_count=100")
    assert (await undo(many)).status_code == 200
    assert (await get(many, "Observation/late"))["subject"] == ref("Patient/s")


async def test_it_is_looked_for_late_references_three_times_and_then_no_more(
    many: httpx.AsyncClient, contexts: Contexts, finish: Finish, tenant: str
) -> None:
    await merge(many)
    merges = Merges(contexts.database)
    assert [one.state for one in await merges.unfinished(tenant)] == ["settling"]
    assert [await finish(seconds) for seconds in (2, 4, 30, 200, 1000)] == [0, 1, 1, 1, 0]
    assert await merges.unfinished(tenant) == []


async def test_a_merge_that_was_undone_is_not_taken_up_any_more(many: httpx.AsyncClient, finish: Finish) -> None:
    await merge(many)
    await undo(many)
    assert await finish(1000) == 0
    assert set(await subjects(many)) == {"Patient/s"}
