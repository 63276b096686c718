"""Chains and `_has`: https://hl7.org/fhir/R4/search.html#chaining."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.exchange import Call, Context
from fhir_server.fhir.outcome import FhirError
from fhir_server.interactions.search import search_system, search_type
from fhir_server.search import chain, run, scan, starts
from fhir_server.search.access import Access
from fhir_server.search.chain import Bounds
from fhir_server.search.compile import Compiler
from fhir_server.search.query import parse_criteria
from fhir_server.search.registry import BUILTIN
from fhir_server.search.scan import Scan
from tests.search.conftest import Put, context_of, put_all

PATIENTS = 40


def crowd() -> list[dict[str, Any]]:
    """Forty patients, every fourth of a gender of its own, with two observations each."""
    people: list[dict[str, Any]] = [
        {
            "resourceType": "Patient",
            "id": f"p{number:02d}",
            "gender": "other" if number % 4 == 0 else "male",
            "managingOrganization": {"reference": f"Organization/o{number % 2}"},
        }
        for number in range(PATIENTS)
    ]
    seen: list[dict[str, Any]] = [
        {
            "resourceType": "Observation",
            "id": f"b{number:02d}",
            "status": "final" if number < PATIENTS else "amended",
            "code": {"coding": [{"system": "urn:c", "code": f"c{number % 3}"}]},
            "subject": {"reference": f"Patient/p{number % PATIENTS:02d}"},
        }
        for number in range(2 * PATIENTS)
    ]
    places: list[dict[str, Any]] = [
        {"resourceType": "Organization", "id": f"o{n}", "name": ["North", "South"][n]} for n in range(2)
    ]
    return [*people, *seen, *places]


async def ids(ctx: Context, type_: str, *params: tuple[str, str]) -> list[str]:
    bundle = (await search_type(ctx, Call("search-type", type_, params=(*params, ("_count", "100"))))).resource
    assert bundle is not None
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


QUERIES: list[tuple[str, list[tuple[str, str]], list[str]]] = [
    ("Observation", [("patient.gender", "other")], [f"b{n:02d}" for n in range(80) if n % 4 == 0]),
    ("Observation", [("patient.gender", "other"), ("code", "c1")], [f"b{n:02d}" for n in range(80) if n % 4 == 0 and n % 3 == 1]),
    ("Observation", [("subject:Patient.organization.name", "north")], [f"b{n:02d}" for n in range(80) if n % 2 == 0]),
    (
        "Observation",
        [("patient.gender", "other"), ("patient.organization.name", "north"), ("status", "final")],
        [f"b{n:02d}" for n in range(40) if n % 4 == 0],
    ),
    ("Patient", [("_has:Observation:patient:code", "urn:c|c1")], [f"p{n:02d}" for n in range(40) if 1 in (n % 3, (n + 40) % 3)]),
    (
        "Patient",
        [("_has:Observation:patient:code", "c1"), ("_has:Observation:patient:status", "final"), ("gender", "other")],
        [f"p{n:02d}" for n in range(0, 40, 4) if 1 in (n % 3, (n + 40) % 3)],
    ),
    ("Organization", [("_has:Patient:organization:_has:Observation:patient:code", "c1")], ["o0", "o1"]),
    ("Organization", [("_has:Patient:organization:gender", "other")], ["o0"]),
]


@pytest.mark.parametrize(("few", "step", "patience"), [(500, 250, 1500), (2, 3, 1500), (2, 3, 1), (2, 3, 0), (2, 250, 1500)])
@pytest.mark.parametrize(("type_", "params", "expected"), QUERIES)
async def test_every_way_of_joining_finds_the_same(
    ctx: Context,
    put: Put,
    monkeypatch: pytest.MonkeyPatch,
    few: int,
    step: int,
    patience: int,
    type_: str,
    params: list[tuple[str, str]],
    expected: list[str],
) -> None:
    """Listing, testing candidates, and turning from testing to listing."""
    await put(*crowd())
    monkeypatch.setattr(chain, "FEW", few)
    monkeypatch.setattr(chain, "BATCH", 7)
    monkeypatch.setattr(Scan, "STEP", step)
    monkeypatch.setattr(Scan, "PATIENCE", patience)
    assert await ids(ctx, type_, *params) == expected
    call = Call("search-type", type_, params=(*params, ("_count", "3"), ("_total", "accurate")))
    bundle = (await search_type(ctx, call)).resource
    assert bundle is not None
    assert bundle["total"] == len(expected)
    assert [entry["resource"]["id"] for entry in bundle["entry"]] == expected[:3]


async def test_a_short_end_becomes_a_list_and_a_long_one_a_join(ctx: Context, put: Put) -> None:
    await put(*crowd())
    access = Access(ctx)
    query = parse_criteria("Observation", (("patient.gender", "other"),), BUILTIN, ctx.settings)
    compiled = await Compiler(access, BUILTIN).compile("Observation", query.condition)
    listed = await compiled.resolve(access, Bounds(10))
    assert listed.filter == {"s.subject": {"$in": [f"Patient/p{number:02d}" for number in range(0, 40, 4)]}}
    assert listed.joins == ()
    left = await compiled.resolve(access, Bounds(9))
    assert left.filter == {}
    assert left.fields == ("s.subject",)


async def test_nobody_at_the_end_means_no_match(ctx: Context, put: Put) -> None:
    await put(*crowd())
    assert await ids(ctx, "Observation", ("patient.gender", "unknown")) == []
    assert await ids(ctx, "Observation", ("patient:missing", "false"), ("patient.birthdate", "2000")) == []


async def test_what_can_only_be_listed_is_refused_when_it_is_too_much(
    settings: Settings, database: AsyncDatabase[dict[str, Any]], tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a NOT, and for an accurate total; a plain search needs no list."""
    ctx = context_of(settings.model_copy(update={"max_chain_ids": 20}), database, tenant)
    await put_all(ctx, crowd())
    monkeypatch.setattr(chain, "FEW", 5)
    for params in (
        (("_filter", "not (patient.gender eq male)"),),
        (("patient.gender", "male"), ("_total", "accurate"), ("_count", "1")),
    ):
        with pytest.raises(FhirError) as refused:
            await search_type(ctx, Call("search-type", "Observation", params=params))
        assert (refused.value.status, refused.value.issues[0].code) == (403, "too-costly")
        assert "'patient'" in refused.value.issues[0].diagnostics


async def test_a_deleted_resource_ends_no_chain(ctx: Context, put: Put) -> None:
    await put(*crowd())
    await ctx.repo.collection("Patient").update_one(
        {"_id": f"{ctx.tenant}/p00"}, {"$set": {"d": True}, "$unset": {"r": 1, "s": 1}}
    )
    assert "b00" not in await ids(ctx, "Observation", ("patient.gender", "other"))
    assert "b00" not in await ids(ctx, "Observation", ("patient._id", "p00"))
    assert "b00" not in await ids(ctx, "Observation", ("patient.birthdate:missing", "true"))


async def test_candidates_are_gone_through_where_many_stand_at_the_end(
    ctx: Context, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an index that has both; page after page, forward and back, they are those that MongoDB finds by the list."""
    await put(*crowd())
    monkeypatch.setattr(chain, "FEW", 2)
    monkeypatch.setattr(Scan, "STEP", 3)
    monkeypatch.setattr(Scan, "PATIENCE", 0)
    ways: list[list[str] | None] = []
    fetch_by = Access.fetch_by

    async def watched(*args: Any) -> Any:
        found = await fetch_by(*args)
        ways.append(None if found is None else [document["i"] for document in found])
        return found

    monkeypatch.setattr(Access, "fetch_by", watched)
    expected = [f"b{n:02d}" for n in range(80) if n % 4 == 0 and n % 3 == 1]
    query = (("patient.gender", "other"), ("code", "c1"), ("_count", "2"))
    assert await walked(ctx, query) == expected
    assert ways[0] == expected[:3]
    assert None not in ways

    ways.clear()
    assert await walked(ctx, (*query, ("_sort", "-status"))) == sorted(expected, key=lambda id_: (id_ < "b40", id_), reverse=True)
    assert ways == []


@pytest.mark.parametrize("reason", ["slow", "no index"])
async def test_the_list_is_looked_for_where_going_through_candidates_fails(
    ctx: Context, put: Put, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    await put(*crowd())
    monkeypatch.setattr(chain, "FEW", 2)
    monkeypatch.setattr(Scan, "STEP", 3)
    monkeypatch.setattr(Scan, "PATIENCE", 0)
    if reason == "no index":
        monkeypatch.setattr(scan, "index_for", lambda *_: {"t": 1, "s.unknown": 1})
    else:

        async def slow(*_: Any) -> None:
            return None

        monkeypatch.setattr(Access, "fetch_by", slow)
    query = (("patient.gender", "other"), ("code", "c1"), ("_count", "2"))
    assert await walked(ctx, query) == [f"b{n:02d}" for n in range(80) if n % 4 == 0 and n % 3 == 1]


async def walked(ctx: Context, params: tuple[tuple[str, str], ...]) -> list[str]:
    """Return the ids of all pages, after they have been walked back as well."""
    found: list[list[str]] = []
    wanted: tuple[tuple[str, str], ...] | None = params
    links: dict[str, str] = {}
    back = False
    returned: list[list[str]] = []
    while wanted is not None:
        bundle = (await search_type(ctx, Call("search-type", "Observation", params=wanted))).resource
        assert bundle is not None
        (returned if back else found).append([entry["resource"]["id"] for entry in bundle["entry"]])
        links = {link["relation"]: link["url"] for link in bundle["link"]}
        back = back or "next" not in links
        relation = "previous" if back else "next"
        wanted = tuple(parse_qsl(urlsplit(links[relation]).query)) if relation in links else None
    assert returned[::-1] == found[:-1]
    return [id_ for page in found for id_ in page]


async def test_searches_of_several_types_test_candidates_too(ctx: Context, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one order over all types."""
    await put(*crowd(), {"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/p00"}})
    monkeypatch.setattr(chain, "FEW", 2)
    params = (("_type", "Condition,Observation"), ("patient.gender", "other"), ("_sort", "_lastUpdated"), ("_count", "4"))
    bundle = (await search_system(ctx, Call("search-system", "", params=params))).resource
    assert bundle is not None
    assert [entry["resource"]["id"] for entry in bundle["entry"]] == ["c1", "b00", "b04", "b08"]


@pytest.mark.parametrize("total", ["", "accurate", "estimate"])
async def test_what_is_listed_is_counted_while_the_page_is_read(
    ctx: Context, put: Put, monkeypatch: pytest.MonkeyPatch, total: str
) -> None:
    """MongoDB looks once for all that is listed; the page and the total are those of a search that looks twice."""
    await put(*crowd())
    query = (("patient.gender", "other"), ("_count", "3"), *([("_total", total)] if total else []))
    twice = await page_of(ctx, query)
    monkeypatch.setattr(Scan, "MANY", 5)

    async def never(*_: Any, **__: Any) -> int:
        raise AssertionError

    monkeypatch.setattr(Access, "count", never)
    assert await page_of(ctx, query) == twice == (20, ["b00", "b04", "b08"])


async def test_what_is_more_than_is_counted_has_no_total_unasked(ctx: Context, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(*crowd())
    monkeypatch.setattr(Scan, "MANY", 5)
    for module in (scan, run):
        monkeypatch.setattr(module, "COUNTED", 10)
    query = (("patient.gender", "other"), ("_count", "3"))
    assert await page_of(ctx, query) == (None, ["b00", "b04", "b08"])
    assert await page_of(ctx, (*query, ("_total", "accurate"))) == (20, ["b00", "b04", "b08"])


async def page_of(ctx: Context, params: tuple[tuple[str, str], ...]) -> tuple[int | None, list[str]]:
    """Return the total and the ids of the first page of observations."""
    bundle = (await search_type(ctx, Call("search-type", "Observation", params=params))).resource
    assert bundle is not None
    return bundle.get("total"), [entry["resource"]["id"] for entry in bundle["entry"]]


@pytest.mark.parametrize("way", ["index", "slow", "no index"])
async def test_a_long_list_finds_the_same_by_its_index_and_without(
    ctx: Context, put: Put, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    await put(*crowd())
    monkeypatch.setattr(starts, "LONG", 5)
    if way == "slow":

        async def slow(*_: Any) -> None:
            return None

        monkeypatch.setattr(Access, "fetch_by", slow)
    if way == "no index":
        monkeypatch.setattr(starts, "index_led_by", lambda *_: {"t": 1, "s.unknown": 1})
    query = (("patient.gender", "other"), ("_count", "3"))
    assert await walked(ctx, query) == [f"b{n:02d}" for n in range(80) if n % 4 == 0]
