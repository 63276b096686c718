"""Pages: https://hl7.org/fhir/R4/http.html#paging."""

import asyncio
import random
from collections import Counter
from datetime import UTC
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.exchange import Call, Context
from fhir_server.fhir.outcome import FhirError
from fhir_server.interactions.search import search_type
from fhir_server.search import page
from fhir_server.search.index import entries
from fhir_server.search.page import Cursor
from fhir_server.store.versions import Version, document
from tests.search.conftest import BASE, MOMENT, Put, context_of, put_all
from tests.search.test_properties import pages

SORTS = ["", "birthdate", "-birthdate", "family", "-family,birthdate", "gender,-birthdate", "_lastUpdated", "-_id"]


def patient(id_: str, pick: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {"resourceType": "Patient", "id": id_}
    if pick.random() < 0.7:
        found["birthDate"] = f"20{pick.randrange(10, 14)}-01-01"
    if pick.random() < 0.7:
        found["name"] = [{"family": pick.choice("abcd")}, {"family": pick.choice("abcd")}]
    if pick.random() < 0.7:
        found["gender"] = pick.choice(["male", "female"])
    return found


async def ids(ctx: Context, **params: str) -> list[str]:
    bundle = (await search_type(ctx, Call("search-type", "Patient", params=tuple(params.items())))).resource
    assert bundle is not None
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


@pytest.mark.parametrize("sort", SORTS)
async def test_walking_all_pages_shows_each_lasting_resource_once_while_others_write(ctx: Context, sort: str) -> None:
    """None of those that stood all the time is skipped, and nothing is shown twice."""
    pick = random.Random(sort)
    lasting = [patient(f"s{number:03d}", pick) for number in range(60)]
    await put_all(ctx, lasting)
    stop = asyncio.Event()
    writing = asyncio.create_task(_write(ctx, pick, stop))
    params = [("_count", "4"), *([("_sort", sort)] if sort else [])]
    found = [id_ for one in await pages(ctx, "Patient", params) for id_ in one]
    stop.set()
    await writing
    counted = Counter(found)
    assert {id_ for id_, times in counted.items() if times > 1} == set()
    assert {one["id"] for one in lasting} <= set(found)


async def _write(ctx: Context, pick: random.Random, stop: asyncio.Event) -> None:
    collection = ctx.repo.collection("Patient")
    number = 0
    while not stop.is_set():
        fleeting = patient(f"{pick.choice('art')}{number}", pick)
        version = Version("Patient", fleeting["id"], 1, MOMENT, "PUT", fleeting)
        await collection.insert_one(document(ctx.tenant, version, entries(fleeting, None, BASE)))
        if number % 2:
            await collection.delete_one({"_id": f"{ctx.tenant}/{fleeting['id']}"})
        number += 1


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("count", [1, 3, 50])
async def test_previous_links_lead_back_over_the_same_pages(ctx: Context, put: Put, sort: str, count: int) -> None:
    """Reading backward from the last page gives the pages that reading forward gave."""
    pick = random.Random(sort)
    await put(*(patient(f"p{number}", pick) for number in range(10)))
    params = [("_count", str(count)), *([("_sort", sort)] if sort else [])]
    forward = await pages(ctx, "Patient", params)
    wanted: tuple[tuple[str, str], ...] = tuple(params)
    for _ in range(len(forward) - 1):
        wanted = await _following(ctx, wanted, "next")
    backward = await pages(ctx, "Patient", list(wanted), "previous")
    flat = [id_ for one in reversed(backward) for id_ in one]
    assert flat == [id_ for one in forward for id_ in one]


async def _following(ctx: Context, params: tuple[tuple[str, str], ...], relation: str) -> tuple[tuple[str, str], ...]:
    bundle = (await search_type(ctx, Call("search-type", "Patient", params=params))).resource
    assert bundle is not None
    url = next(link["url"] for link in bundle["link"] if link["relation"] == relation)
    return tuple(parse_qsl(urlsplit(url).query))


async def test_the_first_page_has_no_previous_and_the_last_no_next(ctx: Context, put: Put) -> None:
    await put(*({"resourceType": "Patient", "id": f"p{number}"} for number in range(4)))
    first = (await search_type(ctx, Call("search-type", "Patient", params=(("_count", "2"),)))).resource
    assert first is not None
    assert [link["relation"] for link in first["link"]] == ["self", "first", "next"]
    assert first["total"] == 4
    second = await _following(ctx, (("_count", "2"),), "next")
    last = (await search_type(ctx, Call("search-type", "Patient", params=second))).resource
    assert last is not None
    assert [link["relation"] for link in last["link"]] == ["self", "first", "previous"]
    assert last["total"] == 4
    assert last["link"][0]["url"].startswith(f"{BASE}/Patient?_count=2&_cursor=")


async def test_a_page_that_holds_all_has_only_a_self_link(ctx: Context, put: Put) -> None:
    await put({"resourceType": "Patient", "id": "one"})
    bundle = (await search_type(ctx, Call("search-type", "Patient", params=()))).resource
    assert bundle is not None
    assert bundle["link"] == [{"relation": "self", "url": f"{BASE}/Patient"}]
    assert bundle["total"] == 1


@pytest.mark.parametrize("forged", ["x", "", "Ä", "A" * 40, "A" * 20_000, "====", "-_-_"])
async def test_a_cursor_that_the_server_did_not_give_is_refused(ctx: Context, forged: str) -> None:
    """400; an empty one is no parameter at all."""
    call = Call("search-type", "Patient", params=(("_cursor", forged),))
    if not forged:
        assert (await search_type(ctx, call)).status == 200
        return
    with pytest.raises(FhirError) as refused:
        await search_type(ctx, call)
    assert refused.value.status == 400


async def test_a_cursor_is_bound_to_its_search_and_tenant(
    ctx: Context, put: Put, settings: Settings, database: AsyncDatabase[dict[str, Any]]
) -> None:
    """It can not be carried to other parameters, another type or another tenant; another `_count` is no other search."""
    await put(*({"resourceType": "Patient", "id": f"p{number}", "active": True} for number in range(4)))
    following = await _following(ctx, (("active", "true"), ("_count", "1")), "next")
    cursor = dict(following)["_cursor"]
    other = context_of(settings, database, "another")
    assert await ids(ctx, active="true", _count="3", _cursor=cursor) == ["p1", "p2", "p3"]
    for alien, type_, params in (
        (ctx, "Patient", (("_cursor", cursor),)),
        (ctx, "Patient", (("active", "false"), ("_cursor", cursor))),
        (ctx, "Practitioner", (("active", "true"), ("_cursor", cursor))),
        (other, "Patient", (("active", "true"), ("_cursor", cursor))),
    ):
        with pytest.raises(FhirError) as refused:
            await search_type(alien, Call("search-type", type_, params=params))
        assert refused.value.status == 400


async def test_a_cursor_shows_nothing_of_the_values_that_it_sorts_by(ctx: Context, put: Put) -> None:
    await put(*({"resourceType": "Patient", "id": f"p{number}", "name": [{"family": "Geheim"}]} for number in range(3)))
    following = await _following(ctx, (("_sort", "family"), ("_count", "1")), "next")
    assert "geheim" not in dict(following)["_cursor"].lower()


values = st.one_of(
    st.none(),
    st.text(max_size=20).filter(lambda text: "\x00" not in text),
    st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)),
    st.integers(-(2**63), 2**63 - 1),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9),
    st.floats(allow_nan=False),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cursor=st.builds(Cursor, st.sampled_from(["Patient", "Group"]), st.from_regex(r"[A-Za-z0-9.-]{1,64}", fullmatch=True),
                        st.lists(values, max_size=4).map(tuple), st.booleans(), st.none() | st.integers(0, 10**9)))  # fmt: skip
async def test_what_is_sealed_is_unsealed(ctx: Context, cursor: Cursor) -> None:
    """Every kind of sort value comes back as it was."""
    text = await page.seal(ctx.repo, cursor, "bound")
    assert await page.unseal(ctx.repo, text, "bound") == cursor


def test_the_purpose_depends_on_all_parameters_but_count() -> None:
    same = page.purpose("Patient", (("a", "b"), ("_count", "3")))
    assert page.purpose("Patient", (("a", "b"), ("_count", "4"))) == same
    assert page.purpose("Patient", (("ab", ""),)) != page.purpose("Patient", (("a", "b"),))
    assert page.purpose("Group", (("a", "b"),)) != page.purpose("Patient", (("a", "b"),))
