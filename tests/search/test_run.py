"""Criteria of conditional interactions, and searches within a transaction."""

from dataclasses import replace
from typing import Any

import pytest

from fhir_server.exchange import Call, Context
from fhir_server.fhir.outcome import FhirError
from fhir_server.interactions.search import search_type
from fhir_server.search.registry import BUILTIN
from fhir_server.search.run import find_matches
from fhir_server.store.repository import Repository
from tests.search.conftest import Put


def _patient(id_: str, **members: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id_, **members}


async def test_matches_come_whole_and_up_to_the_limit(ctx: Context, put: Put) -> None:
    await put(*(_patient(f"p{number}", active=True) for number in range(4)))
    found = await find_matches(ctx, "Patient", (("active", "true"),), limit=3)
    assert [version.id for version in found] == ["p0", "p1", "p2"]
    assert found[0].number == 1
    assert found[0].resource is not None
    assert found[0].resource["active"] is True
    assert await find_matches(ctx, "Patient", (("active", "false"),)) == []


async def test_criteria_may_be_chains(ctx: Context, put: Put) -> None:
    await put({"resourceType": "Organization", "id": "o", "name": "North"})
    await put(_patient("p0", managingOrganization={"reference": "Organization/o"}), _patient("p1"))
    found = await find_matches(ctx, "Patient", (("organization.name", "north"),))
    assert [version.id for version in found] == ["p0"]


@pytest.mark.parametrize("criteria", [(), (("foo", "x"),), (("_count", "1"),), (("name", ""),), (("birthdate", "x"),)])
async def test_criteria_that_are_no_condition_are_refused(ctx: Context, criteria: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(FhirError) as refused:
        await find_matches(ctx, "Patient", criteria)
    assert refused.value.status == 400


async def test_a_search_in_a_transaction_sees_what_it_wrote(ctx: Context, put: Put) -> None:
    await put(*(_patient(f"p{number}", active=True) for number in range(3)))

    async def work(repo: Repository) -> tuple[int, int, int]:
        inner = ctx.within(repo)
        changed = {"$set": {"s.active": "false|"}}
        await repo.collection("Patient").update_one({"_id": f"{repo.tenant}/p0"}, changed, session=repo.session)
        call = Call("search-type", "Patient", params=(("active", "true"), ("_count", "1"), ("_sort", "family,given")))
        bundle = (await search_type(inner, call)).resource
        everyone = (await search_type(inner, Call("search-type", "Patient", params=(("_summary", "count"),)))).resource
        assert bundle is not None
        assert everyone is not None
        return bundle["total"], everyone["total"], len(await find_matches(inner, "Patient", (("active", "false"),)))

    assert await ctx.repo.transact(work) == (2, 3, 1)


async def test_a_join_in_a_transaction_sees_what_it_wrote(ctx: Context, put: Put) -> None:
    reference = {"reference": "Patient/p0"}
    observation = {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}, "subject": reference}
    await put(_patient("p0", active=True), _patient("p1", active=True), observation)

    async def work(repo: Repository) -> list[str]:
        changed = {"$set": {"s.subject": "Patient/p1"}}
        await repo.collection("Observation").update_one({"_id": f"{repo.tenant}/o"}, changed, session=repo.session)
        criteria = (("active", "true"), ("_has:Observation:patient:status", "final"))
        return [version.id for version in await find_matches(ctx.within(repo), "Patient", criteria)]

    assert await ctx.repo.transact(work) == ["p1"]


async def test_of_an_unfilled_parameter_a_search_says_so(ctx: Context, put: Put) -> None:
    """https://hl7.org/fhir/R4/searchparameter.html: until reindexing has filled it, it is as if unknown."""
    known = BUILTIN.get("Patient", "family")
    assert known is not None
    registry = BUILTIN.with_custom([replace(known, code="kin", custom=True, filled=False)])
    await put(_patient("p0"))
    call = Call("search-type", "Patient", params=(("kin", "x"),))
    bundle = (await search_type(replace(ctx, registry=registry), call)).resource
    assert bundle is not None
    issue = bundle["entry"][-1]["resource"]["issue"][0]
    assert "has not filled it yet" in issue["diagnostics"]
