"""The server's search equals that of the in-memory evaluator, for random queries on random worlds."""

from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.exchange import Call, Context
from fhir_server.interactions.search import search_system, search_type
from fhir_server.search import chain, starts
from fhir_server.search.scan import Scan
from tests.search import evaluator
from tests.search.conftest import BASE, context_of, put_all
from tests.search.population import CODES, DAYS, FAMILIES, GIVEN, STATUSES, SYSTEMS, population


class World:
    """A population in the database, and the same in memory."""

    def __init__(self, ctx: Context, resources: dict[str, list[dict[str, Any]]]) -> None:
        self.ctx = ctx
        self.resources = resources

    def __repr__(self) -> str:
        return self.ctx.tenant


strings = st.sampled_from([*FAMILIES, *GIVEN, "a", "AN", "b", "o'", "zz"])
tokens = st.one_of(
    st.sampled_from(CODES), st.builds("{}|{}".format, st.sampled_from([*SYSTEMS, ""]), st.sampled_from([*CODES, "zz"]))
)
dates = st.builds(str.__add__, st.sampled_from(["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"]), st.sampled_from(DAYS))
REFERENCES = {
    ("Organization", "partof"): ("Organization",),
    ("Patient", "organization"): ("Organization",),
    ("Patient", "general-practitioner"): ("Practitioner", "Organization"),
    ("Encounter", "subject"): ("Patient",),
    ("Encounter", "patient"): ("Patient",),
    ("Encounter", "service-provider"): ("Organization",),
    ("Observation", "subject"): ("Patient",),
    ("Observation", "patient"): ("Patient",),
    ("Observation", "encounter"): ("Encounter",),
    ("Observation", "performer"): ("Practitioner", "Organization"),
    ("Observation", "has-member"): ("Observation",),
}
IDS = {
    "Organization": "o1 o2 o6",
    "Practitioner": "d1 d2",
    "Patient": "p01 p02 p41",
    "Encounter": "e01 e02",
    "Observation": "b001 b002",
}


def _joined(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, min_size=1, max_size=3).map(",".join)


@cache
def plain(type_: str) -> st.SearchStrategy[tuple[str, str]]:
    """Return parameters of a type that lead nowhere."""
    booleans = st.sampled_from(["true", "false"])
    ways: list[st.SearchStrategy[tuple[str, str]]] = [st.tuples(st.just("_id"), _joined(st.sampled_from(IDS[type_].split())))]
    for (of, code), find in {**evaluator.STRINGS, **evaluator.TOKENS, **evaluator.DATES}.items():
        if of != type_:
            continue
        ways.append(st.tuples(st.just(f"{code}:missing"), booleans))
        if (of, code) in evaluator.STRINGS:
            ways.append(st.tuples(st.sampled_from([code, f"{code}:exact", f"{code}:contains"]), _joined(strings)))
        elif (of, code) in evaluator.DATES:
            ways.append(st.tuples(st.just(code), _joined(dates)))
        else:
            assert find
            ways.append(st.tuples(st.sampled_from([code, f"{code}:not"]), _joined(_tokens_of(code))))
    for (of, code), leads_to in REFERENCES.items():
        if of == type_:
            ways.append(st.tuples(st.just(f"{code}:missing"), booleans))
            targets = [f"{target}/{id_}" for target in leads_to for id_ in IDS[target].split()]
            ways.append(
                st.tuples(st.just(code), _joined(st.sampled_from([*targets, *(one.partition("/")[2] for one in targets)])))
            )
    return st.one_of(ways)


@cache
def _tokens_of(code: str) -> st.SearchStrategy[str]:
    known = {"gender": ["male", "female", "other"], "active": ["true", "false"], "status": [*STATUSES, "planned", "finished"]}
    return st.sampled_from(known[code]) if code in known else tokens


@cache
@st.composite
def linked(draw: st.DrawFn, type_: str, depth: int) -> tuple[str, str]:
    """Draw a parameter that may lead along up to `depth` references, in either direction."""
    forward = [(code, target) for (of, code), targets in REFERENCES.items() if of == type_ for target in targets]
    backward = [(of, code) for (of, code), targets in REFERENCES.items() if type_ in targets]
    way = draw(st.sampled_from(["plain", "forward", "backward"])) if depth else "plain"
    if way == "forward" and forward:
        code, target = draw(st.sampled_from(forward))
        name, value = draw(linked(target, depth - 1))
        return f"{code}:{target}.{name}", value
    if way == "backward" and backward:
        source, code = draw(st.sampled_from(backward))
        name, value = draw(linked(source, depth - 1))
        return f"_has:{source}:{code}:{name}", value
    return draw(plain(type_))


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]], str, int]:
    """Draw a type, its parameters, a sort order and a page size."""
    type_ = draw(st.sampled_from(["Patient", "Observation", "Encounter", "Organization"]))
    params = draw(st.lists(linked(type_, 3), max_size=3))
    sortable = [code for of, code in [*evaluator.STRINGS, *evaluator.TOKENS, *evaluator.DATES] if of == type_]
    keys = draw(st.lists(st.sampled_from([*sortable, "_id"]), max_size=3, unique=True))
    signs = [draw(st.sampled_from(["", "-"])) + key for key in keys]
    # Nothing can be ordered after the id, which no two share.
    stop = next((place + 1 for place, key in enumerate(keys) if key == "_id"), len(keys))
    return type_, params, ",".join(signs[:stop]), draw(st.sampled_from([1, 2, 3, 7, 50]))


@pytest.fixture(scope="module", params=[1, 2])
async def world(request: pytest.FixtureRequest, database: AsyncDatabase[dict[str, Any]], mongodb_uri: str) -> World:
    """A population in the database, and the same in memory."""
    tenant = f"world{request.param}"
    values = {name: field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()}
    ctx = context_of(Settings(_env_file=None, **values | {"mongodb_uri": mongodb_uri}), database, tenant)
    resources = population(request.param)
    for type_, some in resources.items():
        await ctx.repo.collection(type_).delete_many({"t": tenant})
        await put_all(ctx, some)
    return World(ctx, resources)


async def pages(ctx: Context, type_: str, params: list[tuple[str, str]], relation: str = "next") -> list[list[str]]:
    """Return the ids on each page, following the links of that relation."""
    found: list[list[str]] = []
    wanted: tuple[tuple[str, str], ...] | None = tuple(params)
    while wanted is not None:
        bundle = (await search_type(ctx, Call("search-type", type_, params=wanted))).resource
        assert bundle is not None
        found.append([entry["resource"]["id"] for entry in bundle.get("entry", [])])
        links = {link["relation"]: link["url"] for link in bundle["link"]}
        wanted = tuple(parse_qsl(urlsplit(links[relation]).query)) if relation in links else None
    return found


_BOUNDED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.mark.parametrize(("few", "step", "patience"), [(chain.FEW, Scan.STEP, Scan.PATIENCE), (2, 250, 1500), (2, 1, 0)])
@_BOUNDED
@given(query=queries())
async def test_every_query_finds_what_the_evaluator_finds_in_its_order(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    few: int,
    step: int,
    patience: int,
    query: tuple[str, list[tuple[str, str]], str, int],
) -> None:
    """Also where chains become semi-joins, after `few` ids, and are listed after all without patience."""
    monkeypatch.setattr(chain, "FEW", few)
    monkeypatch.setattr(Scan, "STEP", step)
    monkeypatch.setattr(Scan, "PATIENCE", patience)
    monkeypatch.setattr(Scan, "MANY", patience // 15)
    monkeypatch.setattr(starts, "LONG", patience // 15)
    ctx, resources = world.ctx, world.resources
    type_, params, sort, count = query
    expected = evaluator.search(resources, type_, params, sort)
    asked = [*params, ("_count", str(count)), *([("_sort", sort)] if sort else [])]
    found = await pages(ctx, type_, asked)
    assert [id_ for one in found for id_ in one] == expected
    assert all(len(one) == count for one in found[:-1])


@pytest.mark.parametrize("many", [Scan.MANY, 0])
@_BOUNDED
@given(query=queries())
async def test_the_accurate_total_is_how_many_there_are(
    world: World, monkeypatch: pytest.MonkeyPatch, many: int, query: tuple[str, list[tuple[str, str]], str, int]
) -> None:
    """`_total=accurate` and `_count=0` agree with the evaluator, also where what chains list is counted with the page."""
    monkeypatch.setattr(Scan, "MANY", many)
    ctx, resources = world.ctx, world.resources
    type_, params, _, count = query
    expected = len(evaluator.search(resources, type_, params))
    for extra in (("_total", "accurate"), ("_summary", "count")):
        call = Call("search-type", type_, params=(*params, ("_count", str(count)), extra))
        bundle = (await search_type(ctx, call)).resource
        assert bundle is not None
        assert bundle["total"] == expected


@cache
@st.composite
def expressions(draw: st.DrawFn, type_: str, depth: int) -> tuple[str, Any]:
    """Draw a `_filter` and how to judge a resource by it: a function of the world and the resource."""
    way = draw(st.sampled_from(["plain", "and", "or", "not"])) if depth else "plain"
    if way == "plain":
        return draw(_comparisons(type_))
    left, judge_left = draw(expressions(type_, depth - 1))
    if way == "not":
        return f"not ({left})", lambda world, one: not judge_left(world, one)
    right, judge_right = draw(expressions(type_, depth - 1))
    if way == "and":
        return f"({left}) and ({right})", lambda world, one: judge_left(world, one) and judge_right(world, one)
    return f"({left}) or ({right})", lambda world, one: judge_left(world, one) or judge_right(world, one)


@cache
@st.composite
def _comparisons(draw: st.DrawFn, type_: str) -> tuple[str, Any]:
    path, name = "", ""
    forward = [(code, target) for (of, code), targets in REFERENCES.items() if of == type_ for target in targets]
    if draw(st.booleans()):
        code, target = draw(st.sampled_from(forward))
        path, name, type_ = f"{code}:{target}.", f"{code}:{target}.", target
    tables = {**evaluator.STRINGS, **evaluator.TOKENS, **evaluator.DATES}
    code = draw(st.sampled_from([code for of, code in tables if of == type_]))
    if draw(st.integers(0, 4)) == 0:
        value = draw(st.sampled_from(["true", "false"]))
        missing = "false" if value == "true" else "true"
        return f"{path}{code} pr {value}", lambda world, one: evaluator.holds(world, one, f"{name}{code}:missing", missing)
    if (type_, code) in evaluator.STRINGS:
        operator, modifier = draw(st.sampled_from([("sw", ""), ("co", ":contains")]))
        value = draw(strings)
        return f'{path}{code} {operator} "{value}"', lambda world, one: evaluator.holds(world, one, name + code + modifier, value)
    if (type_, code) in evaluator.DATES:
        operator, day = draw(st.sampled_from(["eq", "gt", "lt", "ge", "le", "sa", "eb"])), draw(st.sampled_from(DAYS))
        return f"{path}{code} {operator} {day}", lambda world, one: evaluator.holds(world, one, name + code, operator + day)
    token = draw(_tokens_of(code))
    return f"{path}{code} eq {token}", lambda world, one: evaluator.holds(world, one, name + code, token)


@_BOUNDED
@given(data=st.data(), type_=st.sampled_from(["Patient", "Observation", "Encounter", "Organization"]))
async def test_a_filter_finds_what_its_parts_say(world: World, data: st.DataObject, type_: str) -> None:
    """Any nesting of and, or and not, over any comparison and chain."""
    text, judge = data.draw(expressions(type_, 3))
    expected = [one["id"] for one in world.resources[type_] if judge(world.resources, one)]
    found = await pages(world.ctx, type_, [("_filter", text), ("_count", "1000")])
    assert found == [expected]


paths = st.sampled_from([f"{type_}:{code}" for type_, code in REFERENCES])


@_BOUNDED
@given(
    query=queries(),
    includes=st.lists(st.tuples(st.sampled_from(["_include", "_revinclude"]), paths, st.booleans()), min_size=1, max_size=4),
)
async def test_what_comes_along_is_what_the_evaluator_reaches(
    world: World, query: tuple[str, list[tuple[str, str]], str, int], includes: list[tuple[str, str, bool]]
) -> None:
    """Forward and backward, iterating or not, and nothing twice."""
    type_, params, _, count = query
    asked = [(f"{name}:iterate" if iterate else name, path) for name, path, iterate in includes]
    call = Call("search-type", type_, params=(*params, *asked, ("_count", str(count))))
    bundle = (await search_type(world.ctx, call)).resource
    assert bundle is not None
    entries = [(entry["search"]["mode"], entry["fullUrl"].removeprefix(f"{BASE}/")) for entry in bundle.get("entry", [])]
    matches = [name.partition("/")[2] for mode, name in entries if mode == "match"]
    assert matches == evaluator.search(world.resources, type_, params)[:count]
    along = [name for mode, name in entries if mode == "include"]
    assert len(along) == len(set(along))
    assert set(along) == evaluator.included(world.resources, type_, matches, includes)


people = st.sampled_from(
    [("family", "a"), ("family:missing", "true"), ("given:contains", "n"), ("gender", "male"), ("gender:not", "male")]
)


@settings(_BOUNDED, max_examples=25)
@given(
    params=st.lists(people, max_size=2),
    sort=st.sampled_from(["", "family", "-family", "gender,-family", "-gender,given", "family,-_id", "-_id"]),
    count=st.sampled_from([1, 2, 5, 50]),
)
async def test_several_types_are_merged_in_one_order(world: World, params: list[tuple[str, str]], sort: str, count: int) -> None:
    """Those that sort equal come by type and id; forward and backward."""
    types = ["Patient", "Practitioner"]
    expected = evaluator.search_all(world.resources, types, params, sort)
    asked = [("_type", ",".join(types)), *params, ("_count", str(count)), *([("_sort", sort)] if sort else [])]
    found, backward = await _walk(world.ctx, tuple(asked))
    assert found == expected
    assert backward == expected


async def _walk(ctx: Context, asked: tuple[tuple[str, str], ...]) -> tuple[list[str], list[str]]:
    """Return what the pages show on the way to the last one, and on the way back."""
    found: list[str] = []
    backward: list[str] = []
    wanted: tuple[tuple[str, str], ...] | None = asked
    relation = "next"
    while wanted is not None:
        bundle = (await search_system(ctx, Call("search-system", params=wanted))).resource
        assert bundle is not None
        shown = [entry["fullUrl"].removeprefix(f"{BASE}/") for entry in bundle.get("entry", [])]
        if relation == "next":
            found += shown
        else:
            backward = shown + backward
        links = {link["relation"]: link["url"] for link in bundle["link"]}
        if relation == "next" and "next" not in links:
            relation, backward = "previous", shown
        wanted = tuple(parse_qsl(urlsplit(links[relation]).query)) if relation in links else None
    return found, backward
