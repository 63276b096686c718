"""Tokens without a system, as the few values that they stand for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.exchange import Context
from fhir_server.search import starts
from fhir_server.search.access import Access
from fhir_server.search.registry import BUILTIN
from fhir_server.search.starts import index_for, index_of_list, spelled_out
from fhir_server.search.types import parameter_filter
from fhir_server.search.types.token import entry
from tests.search.conftest import Put


def observation(number: int, *codings: tuple[str, str]) -> dict[str, Any]:
    coding = [{"system": system, "code": code} if system else {"code": code} for system, code in codings]
    return {"resourceType": "Observation", "id": f"b{number}", "status": "final", "code": {"coding": coding}}


def asked(type_: str, code: str, value: str) -> dict[str, Any]:
    parameter = BUILTIN.get(type_, code)
    assert parameter is not None
    return parameter_filter(parameter, "", [value])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("c1", "c1|urn:a"),
        ("c2", {"$in": ["c2|", "c2|urn:a", "c2|urn:b"]}),
        ("d\\|e", "d\\|e|urn:b"),
        ("c.", "c.|urn:a"),
    ],
)
async def test_a_pattern_becomes_the_values_that_are_there(ctx: Context, put: Put, value: str, expected: Any) -> None:
    await put(
        observation(1, ("urn:a", "c1"), ("urn:a", "c10"), ("urn:z", "c2x")),
        observation(2, ("urn:b", "c2"), ("urn:a", "c2")),
        observation(3, ("", "c2")),
        observation(4, ("urn:b", "d|e"), ("urn:a", "d")),
        observation(5, ("urn:a", "c.")),
    )
    found = await spelled_out(Access(ctx), "Observation", {"s.status": "final|", **asked("Observation", "code", value)})
    assert found == {"s.status": "final|", "s.code": expected}


async def test_a_parameter_with_one_value_has_a_range_that_becomes_a_value(ctx: Context, put: Put) -> None:
    encounter = {"resourceType": "Encounter", "id": "e", "status": "planned", "class": {"system": "urn:act", "code": "AMB"}}
    await put(encounter, encounter | {"id": "f", "class": {"system": "urn:act", "code": "AMBX"}})
    found = await spelled_out(Access(ctx), "Encounter", asked("Encounter", "class", "AMB"))
    assert found == {"s.class": "AMB|urn:act"}


async def test_what_is_not_there_or_in_many_systems_stays_a_pattern(ctx: Context, put: Put) -> None:
    await put(*[observation(number, (f"urn:{number}", "many")) for number in range(starts.MOST + 1)])
    for value in ("many", "none"):
        pattern = asked("Observation", "code", value)
        assert await spelled_out(Access(ctx), "Observation", pattern) == pattern


async def test_a_pattern_stays_where_its_index_is_not_made_yet(ctx: Context, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(observation(1, ("urn:a", "c1")))
    monkeypatch.setattr(starts, "index_by_id", lambda *_: {"t": 1, "s.code": 1, "s.unknown": 1})
    pattern = asked("Observation", "code", "c1")
    assert await spelled_out(Access(ctx), "Observation", pattern) == pattern


async def test_the_codes_of_other_tenants_are_none(ctx: Context, put: Put) -> None:
    await put(observation(1, ("urn:a", "c1")))
    await ctx.repo.collection("Observation").update_one({"t": ctx.tenant}, {"$set": {"t": f"{ctx.tenant}-other"}})
    pattern = asked("Observation", "code", "c1")
    assert await spelled_out(Access(ctx), "Observation", pattern) == pattern
    await ctx.repo.collection("Observation").delete_many({"t": f"{ctx.tenant}-other"})


@given(code=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_the_start_of_a_pattern_is_the_entry_of_the_code(code: str) -> None:
    """Whatever the code has in it, the pattern is understood or left alone."""
    escaped = code.translate({ord(one): f"\\{one}" for one in "\\|,$"})
    (condition,) = asked("Observation", "code", escaped).values()
    assert starts._start(condition) == entry(code)


@pytest.mark.parametrize(
    "condition", ["c1|urn:a", {"$regex": "^Smi"}, {"$regex": "^a.*\\|"}, {"$gte": "a", "$lt": "b"}, {"$ne": None}]
)
def test_other_conditions_have_no_start(condition: Any) -> None:
    assert starts._start(condition) == ""


def test_candidates_are_gone_through_by_an_index_that_tells_who_is_listed() -> None:
    listed = {"s.subject": {"$in": ["Patient/1"]}}
    index = {"t": 1, "s.code": 1, "_id": 1, "s.subject": 1}
    assert index_for("Observation", {"s.status": "final|", "s.code": "c1|urn:a"}, listed) == index
    assert index_for("Observation", {"s.code": {"$in": ["c1|urn:a", "c1|urn:b"]}}, listed) == index
    assert index_for("Observation", {"s.code": {"$regex": "^c1\\|"}}, listed) is None
    assert index_for("Observation", {"s.status": "final|"}, listed) is None
    assert index_for("Observation", {"s.code": "c1|urn:a"}, {"s.encounter": {"$in": ["Encounter/1"]}}) is None


def test_a_long_list_is_looked_for_by_its_own_index() -> None:
    long, short = ({"$in": [f"Patient/{number}" for number in range(count)]} for count in (starts.LONG + 1, starts.LONG))
    index = index_of_list("Observation", {"s.code": "c1|urn:a", "s.subject": long})
    assert list(index or {}) == ["t", "s.subject", "s.date.l", "_id", "s.code"]
    assert index_of_list("Observation", {"s.subject": short}) is None
    assert index_of_list("Patient", {"_id": long}) is None
    assert index_of_list("Observation", {"s.subject": {"$regex": "^Patient/"}}) is None
