"""Whom the reference of a recipient means."""

from typing import Any

import pytest

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.exchange import Call, Context
from fhir_server.search.index import index_models
from fhir_server.search.vocabulary import WORDS
from fhir_server.store.database import Database
from prm_ext.notifications.recipients import everybody, recipient_of

EMAIL = [{"system": "email", "value": "dr@example.org"}]
SPANISH = [{"coding": [{"code": "es"}]}]


@pytest.fixture
async def ctx(settings: Settings, database: Any) -> Context:
    """The context of what the server does by itself."""
    return await Contexts(Database(database, settings, index_models, WORDS), settings).of_tenant(settings.default_tenant)


async def put(ctx: Context, type_: str, id_: str, **more: Any) -> None:
    resource = {"resourceType": type_, "id": id_, **more}
    await ctx.dispatch(ctx, Call("update", type_, id_, resource=resource))


async def group(ctx: Context, id_: str, *members: str, **more: Any) -> None:
    member = [{"entity": {"reference": one}} for one in members]
    await put(ctx, "Group", id_, type="person", actual=True, **({"member": member} if member else {}), **more)


async def test_a_recipient_is_the_resource_that_is_referred_to(ctx: Context):
    await put(ctx, "Patient", "1", active=True)
    for reference in ("Patient/1", f"{ctx.base_url}/Patient/1", "Patient/1/_history/1"):
        found = await recipient_of(ctx, {}, reference)
        assert found is not None
        assert found["id"] == "1"


async def test_a_contained_recipient_is_the_one_in_the_request(ctx: Context):
    request = {"contained": [{"resourceType": "RelatedPerson", "id": "mother"}]}
    assert await recipient_of(ctx, request, "#mother") == request["contained"][0]
    assert await recipient_of(ctx, request, "#father") is None
    assert await recipient_of(ctx, {}, "#mother") is None


@pytest.mark.parametrize("reference", ["", "Patient", "Patient/none", "urn:uuid:1", "https://elsewhere.example/Patient/1"])
async def test_what_is_not_here_is_nobody(ctx: Context, reference: str):
    assert await recipient_of(ctx, {}, reference) is None


async def test_a_deleted_recipient_is_nobody(ctx: Context):
    await put(ctx, "Patient", "1")
    await ctx.dispatch(ctx, Call("delete", "Patient", "1"))
    assert await recipient_of(ctx, {}, "Patient/1") is None


async def test_a_role_is_reached_as_its_practitioner_unless_it_says_how(ctx: Context):
    await put(ctx, "Practitioner", "7", telecom=EMAIL, communication=SPANISH)
    await put(ctx, "PractitionerRole", "1", practitioner={"reference": "Practitioner/7"})
    own = [{"system": "email", "value": "ward@example.org"}]
    await put(ctx, "PractitionerRole", "2", practitioner={"reference": "Practitioner/7"}, telecom=own)
    await put(ctx, "PractitionerRole", "3", active=True)
    found = [await recipient_of(ctx, {}, f"PractitionerRole/{number}") or {} for number in (1, 2, 3)]
    assert [one["telecom"] for one in found] == [EMAIL, own, []]
    assert [one["communication"] for one in found] == [SPANISH, SPANISH, []]


async def test_who_is_no_group_is_meant_alone(ctx: Context):
    assert await everybody(ctx, "Patient/1") == ["Patient/1"]
    assert await everybody(ctx, "#mother") == ["#mother"]
    assert await everybody(ctx, "") == [""]


async def test_all_who_are_in_groups_are_meant_once(ctx: Context):
    await group(ctx, "inner", "Patient/2", "Patient/1", "Group/outer")
    await group(ctx, "outer", "Patient/1", "Group/inner", "Patient/3", "Group/none")
    assert await everybody(ctx, "Group/outer") == ["Patient/1", "Patient/3", "Patient/2"]


async def test_a_care_team_means_its_participants(ctx: Context):
    participant = [{"member": {"reference": "Practitioner/1"}}, {"member": {"reference": "CareTeam/1"}}]
    await put(ctx, "CareTeam", "1", participant=participant)
    assert await everybody(ctx, "CareTeam/1") == ["Practitioner/1"]


async def test_a_group_without_members_or_that_is_not_here_means_nobody(ctx: Context):
    await group(ctx, "empty")
    assert await everybody(ctx, "Group/empty") == []
    assert await everybody(ctx, "Group/none") == []
