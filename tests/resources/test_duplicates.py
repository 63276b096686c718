"""Duplicates, found at create and in the whole population: docs/matching.md."""

import asyncio
from typing import Any

import httpx
import pytest

from fhir_server.contexts import Contexts
from fhir_server.exchange import Context
from fhir_server.fhir.outcome import FhirError
from fhir_server.resources import find_duplicates as finding
from fhir_server.resources.duplicates import close_reviews, duplicates_of, suspect
from fhir_server.resources.find_duplicates import Step, find_duplicates
from fhir_server.resources.reviews import CODE, SYSTEM, pair_of, review_id
from fhir_server.search.index import index_models
from fhir_server.store.database import Database
from tests.conftest import client_of
from tests.interactions.test_search import bundle, put
from tests.operations.test_match import patient

OTHER = {"name": [{"family": "Lindqvist", "given": ["Per"]}], "gender": "male", "birthDate": "1961-12-24"}
OTHER |= {"telecom": [{"system": "phone", "value": "+46 8 123 456 78"}], "address": [{"city": "Ystad"}]}


@pytest.fixture
async def warning(settings, database):
    async with client_of(settings.model_copy(update={"duplicates": "warn"}), database) as opened:
        yield opened


@pytest.fixture
async def rejecting(settings, database):
    async with client_of(settings.model_copy(update={"duplicates": "reject"}), database) as opened:
        yield opened


@pytest.fixture
async def ctx(settings, database) -> Context:
    return await Contexts(Database(database, settings, index_models), settings).of_tenant(settings.default_tenant)


async def tasks(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    found = await bundle(http, f"Task?code={SYSTEM}|{CODE}&_sort=_id")
    return [entry["resource"] for entry in found.get("entry", [])]


async def created(http: httpx.AsyncClient, resource: dict[str, Any], **headers: str) -> str:
    reply = await http.post("Patient", json=resource, headers=headers)
    assert reply.status_code == 201, reply.text
    return str(reply.headers["Location"]).split("/Patient/")[1].split("/")[0]


def pairs(found: list[dict[str, Any]]) -> list[set[str]]:
    return [
        {task["for"]["reference"].removeprefix("Patient/"), task["focus"]["reference"].removeprefix("Patient/")} for task in found
    ]


async def not_duplicate(http: httpx.AsyncClient, *ids: str, reason: str = "") -> httpx.Response:
    listed: list[dict[str, Any]] = [{"name": "patient", "valueReference": {"reference": f"Patient/{id_}"}} for id_ in ids]
    if reason:
        listed.append({"name": "reason", "valueString": reason})
    return await http.post("Patient/$not-duplicate", json={"resourceType": "Parameters", "parameter": listed})


async def test_nothing_is_looked_for_unless_a_setting_says_so(http):
    await created(http, patient())
    reply = await http.post("Patient", json=patient(), headers={"Prefer": "return=OperationOutcome"})
    assert "duplicate" not in reply.text
    assert await tasks(http) == []


async def test_a_duplicate_is_created_with_a_warning_and_a_task(warning):
    first = await created(warning, patient())
    reply = await warning.post("Patient", json=patient(), headers={"Prefer": "return=OperationOutcome"})
    assert reply.status_code == 201
    warnings = [issue for issue in reply.json()["issue"] if issue["code"] == "duplicate"]
    assert [issue["severity"] for issue in warnings] == ["warning"]
    assert f"Patient/{first}" in warnings[0]["diagnostics"]
    (task,) = await tasks(warning)
    second = str(reply.headers["Location"]).split("/Patient/")[1].split("/")[0]
    assert pairs([task]) == [{first, second}]
    assert task["id"] == review_id(pair_of(first, second))
    assert (task["status"], task["intent"]) == ("requested", "proposal")
    kinds = [one["type"]["coding"][0]["code"] for one in task["input"]]
    assert kinds[:4] == ["patient", "patient", "score", "grade"]
    assert {"given: exact (+7.9)"} <= {one.get("valueString") for one in task["input"]}


async def test_somebody_else_is_created_without_a_word(warning):
    await created(warning, patient())
    reply = await warning.post("Patient", json=patient(**OTHER), headers={"Prefer": "return=OperationOutcome"})
    assert "duplicate" not in reply.text
    assert await tasks(warning) == []


async def test_an_update_is_not_asked_about(warning):
    await put(warning, patient("a"))
    await put(warning, patient("b", **OTHER))
    await put(warning, patient("b"))
    assert await tasks(warning) == []


async def test_put_and_transactions_that_create_are_asked_about(warning):
    await put(warning, patient("a"))
    entry = {"resource": patient("b"), "request": {"method": "PUT", "url": "Patient/b"}}
    other = {"resource": patient(**OTHER), "request": {"method": "POST", "url": "Patient"}}
    reply = await warning.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": [entry, other]})
    assert reply.status_code == 200, reply.text
    assert pairs(await tasks(warning)) == [{"a", "b"}]


async def test_two_created_at_once_make_one_task(warning):
    ids = await asyncio.gather(*(created(warning, patient()) for _ in range(2)))
    assert pairs(await tasks(warning)) == [set(ids)]


async def test_a_duplicate_is_refused_naming_the_candidates(rejecting):
    first = await created(rejecting, patient())
    reply = await rejecting.post("Patient", json=patient(birthDate="1984-07-03"))
    assert reply.status_code == 409
    (issue,) = reply.json()["issue"]
    assert (issue["code"], issue["severity"]) == ("duplicate", "error")
    assert f"Patient/{first}" in issue["diagnostics"]
    assert (await bundle(rejecting, "Patient?_summary=count"))["total"] == 1
    await created(rejecting, patient(**OTHER))


async def test_who_has_been_checked_is_created_all_the_same(rejecting):
    await created(rejecting, patient())
    tagged = patient() | {"meta": {"tag": [{"system": SYSTEM, "code": "not-duplicate"}]}}
    await created(rejecting, tagged)
    assert await tasks(rejecting) == []


async def test_a_refused_transaction_keeps_nothing(rejecting):
    await put(rejecting, patient("a"))
    entries = [{"resource": patient(**more), "request": {"method": "POST", "url": "Patient"}} for more in (OTHER, {})]
    reply = await rejecting.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert reply.status_code == 409
    assert (await bundle(rejecting, "Patient?_summary=count"))["total"] == 1


async def test_the_setting_may_be_of_one_tenant(settings, database):
    mine = settings.model_copy(update={"per_tenant": _as_setting(settings, {settings.default_tenant: {"duplicates": "warn"}})})
    async with client_of(mine, database) as http:
        await put(http, patient("a"))
        await put(http, patient("b"))
        assert pairs(await tasks(http)) == [{"a", "b"}]


def _as_setting(settings: Any, value: dict[str, Any]) -> Any:
    import json  # noqa: PLC0415

    return json.dumps(value) if isinstance(settings.per_tenant, str) else value


async def test_a_decision_is_remembered_and_nobody_is_asked_again(http, ctx):
    await put(http, patient("a"))
    await put(http, patient("b"))
    assert (await find_duplicates(ctx)).made == 1
    reply = await not_duplicate(http, "b", "a", reason="Cousins of the same name.")
    assert reply.status_code == 200
    task = reply.json()
    assert (task["id"], task["status"]) == (review_id(("a", "b")), "rejected")
    assert task["businessStatus"]["coding"][0]["code"] == "not-duplicate"
    assert task["note"][0]["text"] == "Cousins of the same name."
    assert (await find_duplicates(ctx)).made == 0
    assert await duplicates_of(ctx, "a") == ()
    assert (await not_duplicate(http, "a", "b")).json()["status"] == "rejected"


async def test_a_decision_may_come_before_anybody_asks(http, ctx):
    await put(http, patient("a"))
    await put(http, patient("b"))
    assert (await not_duplicate(http, "a", "b")).status_code == 200
    assert (await find_duplicates(ctx)).made == 0


async def test_a_task_that_a_person_closes_by_hand_is_a_decision_too(http, ctx):
    await put(http, patient("a"))
    await put(http, patient("b"))
    await find_duplicates(ctx)
    (task,) = await tasks(http)
    await put(http, task | {"status": "rejected"})
    assert (await find_duplicates(ctx)).made == 0
    assert await duplicates_of(ctx, "b") == ()


@pytest.mark.parametrize(
    ("ids", "status"), [(("a", "a"), 400), (("a",), 400), (("a", "nobody"), 404), (("a", "a/b"), 400), (("a", "gone"), 410)]
)
async def test_a_decision_is_about_two_patients_that_exist(http, ids, status):
    await put(http, patient("a"))
    await put(http, patient("gone"))
    await http.delete("Patient/gone")
    assert (await not_duplicate(http, *ids)).status_code == status


async def test_duplicates_of_a_patient_come_with_their_task(http, ctx):
    await put(http, patient("a"))
    await put(http, patient("b"))
    await put(http, patient("c", **OTHER))
    (before,) = await duplicates_of(ctx, "a")
    assert (before.version.id, before.assessment.grade, before.task) == ("b", "certain", None)
    await find_duplicates(ctx)
    (after,) = await duplicates_of(ctx, "a")
    assert after.task is not None
    assert after.task.id == review_id(("a", "b"))
    assert await duplicates_of(ctx, "c") == ()
    with pytest.raises(FhirError) as error:
        await duplicates_of(ctx, "nobody")
    assert error.value.status == 404


async def test_the_whole_population_is_looked_through_once(http, ctx, monkeypatch):
    monkeypatch.setattr(finding, "BATCH", 2)
    for id_ in ("a", "b", "c"):
        await put(http, patient(id_))
    for id_ in ("d", "e"):
        await put(http, patient(id_, **OTHER))
    steps: list[Step] = []
    done = await find_duplicates(ctx, progress=steps.append)
    assert (done.seen, done.total, done.compared, done.found, done.made) == (5, 5, 4, 4, 4)
    assert [step.seen for step in steps] == [0, 2, 4, 5]
    assert {frozenset(pair) for pair in pairs(await tasks(http))} == {frozenset(pair) for pair in ("ab", "ac", "bc", "de")}
    assert (await find_duplicates(ctx)).made == 0


async def test_an_interrupted_run_goes_on(http, ctx, monkeypatch):
    monkeypatch.setattr(finding, "BATCH", 1)
    for id_ in ("a", "b", "c"):
        await put(http, patient(id_))

    def interrupt(step: Step) -> None:
        if step.seen == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await find_duplicates(ctx, progress=interrupt)
    seen: list[int] = []
    done = await find_duplicates(ctx, progress=lambda step: seen.append(step.seen))
    assert seen == [1, 2, 3]
    assert (done.found, done.made) == (3, 3)
    with pytest.raises(KeyboardInterrupt):
        await find_duplicates(ctx, progress=interrupt)
    assert (await find_duplicates(ctx, restart=True)).seen == 3


async def test_patients_that_share_nothing_but_an_identifier_are_found(http, ctx):
    shared = [{"system": "http://example.org/members", "value": "7"}]
    await put(http, patient("a", identifier=shared))
    await put(http, {"resourceType": "Patient", "id": "b", "identifier": shared, "gender": "female", "birthDate": "1984"})
    assert (await find_duplicates(ctx)).made in (0, 1)
    (found,) = await duplicates_of(ctx, "a")
    assert found.version.id == "b"


async def test_merged_patients_are_not_compared(http, ctx):
    await put(http, patient("a"))
    link = [{"other": {"reference": "Patient/a"}, "type": "replaced-by"}]
    await put(http, patient("b", active=False, link=link))
    assert (await find_duplicates(ctx)).compared == 0


async def test_merging_closes_the_task(http, ctx):
    await put(http, patient("a"))
    await put(http, patient("b"))
    await find_duplicates(ctx)
    (closed,) = await close_reviews(ctx, "b", "a")
    assert closed.id == review_id(("a", "b"))
    (task,) = await tasks(http)
    assert (task["status"], task["businessStatus"]["coding"][0]["code"]) == ("completed", "merged")
    assert await close_reviews(ctx, "b", "a") == ()


async def test_merging_leaves_one_task_about_the_same_third_and_decisions_hold(http, ctx):
    for id_ in ("a", "b", "c", "d"):
        await put(http, patient(id_))
    await find_duplicates(ctx)
    await not_duplicate(http, "b", "d")
    await close_reviews(ctx, "b", "a")
    found = await tasks(http)
    by_pair = {frozenset(pair): task for pair, task in zip(pairs(found), found, strict=True)}
    assert by_pair[frozenset("ab")]["status"] == "completed"
    assert sorted(by_pair[frozenset(pair)]["status"] for pair in ("ac", "bc")) == ["cancelled", "requested"]
    assert by_pair[frozenset("bd")]["status"] == "rejected"
    assert by_pair[frozenset("ad")]["status"] == "cancelled"


async def test_a_pair_is_not_asked_about_again_when_a_merge_has_moved_its_references(http, ctx):
    await put(http, patient("a"))
    await put(http, patient("b"))
    await find_duplicates(ctx)
    (task,) = await tasks(http)
    await put(http, patient("c"))
    moved = task | {"focus": {"reference": "Patient/c"}, "status": "rejected"}
    await put(http, moved)
    assert await suspect(ctx, {pair_of("a", "c"): None}) == 0


async def test_closing_within_a_transaction_is_part_of_it(http, ctx):
    await put(http, patient("a"))
    await put(http, patient("b"))
    await find_duplicates(ctx)

    async def work(repo: Any) -> None:
        await close_reviews(ctx.within(repo), "b", "a")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await ctx.repo.transact(work)
    assert [task["status"] for task in await tasks(http)] == ["requested"]
