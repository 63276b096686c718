"""Who may not see protected identifiers sees their end, and can neither find them out nor destroy them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.engine import handle
from fhir_server.exchange import Call, Context, Prefer, Principal
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.masking import Restoring, masked, masked_value
from fhir_server.fhir.outcome import FhirError
from fhir_server.fhir.protected import systems
from fhir_server.search.index import index_models
from fhir_server.search.registry import BUILTIN
from fhir_server.security.permissions import Grant, Identifiers, Limits, Permissions, Way
from fhir_server.store.database import Database

SSN = "http://hl7.org/fhir/sid/us-ssn"
NUMBER = "523-45-6789"
ABSENT = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]}


def patient(**members: Any) -> dict[str, Any]:
    """Return a patient whose number stands in more than its identifier."""
    return {
        "resourceType": "Patient",
        "id": "p",
        "identifier": [{"system": "urn:x", "value": "1"}, {"system": SSN, "value": NUMBER}],
        "name": [{"family": "Holm", "text": f"Holm, {NUMBER.replace('-', '')}"}],
        "contained": [{"resourceType": "Person", "id": "c", "identifier": [{"system": SSN, "value": "321-54-9876"}]}],
    } | members


@pytest.fixture
async def contexts(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> Contexts:
    return Contexts(Database(database, settings, index_models), settings)


@pytest.fixture
async def full(contexts: Contexts, tenant: str) -> Context:
    return await contexts.of(tenant, "http://test/fhir")


async def confined(contexts: Contexts, ctx: Context, how: Identifiers) -> Context:
    """Return the context of somebody who may do everything but see protected identifiers."""
    everything = (Grant(RESOURCE_TYPES, "cruds"),)
    access = Permissions(Principal("somebody"), ctx.tenant, BUILTIN, Limits((Way((everything,)),), identifiers=how))
    return await contexts.of(ctx.tenant, ctx.base_url, access=access)


async def put(ctx: Context, resource: dict[str, Any]) -> dict[str, Any]:
    reply = await handle(ctx, Call("update", resource["resourceType"], resource["id"], resource=resource))
    assert reply.resource is not None
    return reply.resource


async def read(ctx: Context, id_: str = "p") -> dict[str, Any]:
    reply = await handle(ctx, Call("read", "Patient", id_))
    assert reply.resource is not None
    return reply.resource


def bare(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name != "meta"}


async def test_the_last_four_digits_are_shown_and_marked(contexts: Contexts, full: Context) -> None:
    await put(full, patient())
    found = await read(await confined(contexts, full, "masked"))
    assert found["identifier"] == [{"system": "urn:x", "value": "1"}, {"system": SSN, "value": "***-**-6789", "_value": ABSENT}]
    assert found["name"][0]["text"] == "Holm, *****6789"
    assert found["contained"][0]["identifier"] == [{"system": SSN, "value": "***-**-9876", "_value": ABSENT}]
    assert bare(await read(full)) == patient()


async def test_where_even_that_is_too_much_nothing_is_shown(contexts: Contexts, full: Context) -> None:
    await put(full, patient())
    found = await read(await confined(contexts, full, "hidden"))
    assert found["identifier"][1] == {"system": SSN, "_value": ABSENT}
    assert found["name"][0]["text"] == "Holm, *********"


@pytest.mark.parametrize("how", ["masked", "hidden"])
async def test_no_answer_whatsoever_shows_more(contexts: Contexts, full: Context, how: Identifiers) -> None:
    ctx = await confined(contexts, full, how)
    await put(full, patient())
    await put(full, patient(active=True))
    request = {"method": "GET", "url": "Patient/p"}
    change = {"resource": patient(gender="male"), "request": {"method": "PUT", "url": "Patient/p"}}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"request": request}, change]}
    calls = [
        Call("read", "Patient", "p", encoded=True),
        Call("vread", "Patient", "p", "1", encoded=True),
        Call("history-instance", "Patient", "p"),
        Call("history-type", "Patient"),
        Call("search-type", "Patient", params=(("identifier", f"{SSN}|{NUMBER}"),), encoded=True),
        Call("search-type", "Patient", params=(("_elements", "identifier"),), encoded=True),
        Call("operation", "Patient", "p", operation="everything", encoded=True),
        Call("update", "Patient", "p", resource=patient(active=False)),
        Call("create", "Patient", resource=patient()),
        Call("create", "Patient", resource=patient(), if_none_exist=f"identifier={NUMBER}&_id=p"),
        Call("transaction", resource=bundle, prefer=Prefer(return_="representation")),
        Call("transaction", resource=bundle | {"type": "transaction"}, prefer=Prefer(return_="representation")),
        Call("patch", "Patient", "p", resource=[{"op": "add", "path": "/language", "value": "en"}]),
    ]
    for call in calls:
        reply = await handle(ctx, call)
        assert reply.encoded is None
        assert reply.resource is not None
        text = json.dumps(reply.resource | {"link": []})  # A link repeats what was asked for.
        assert "6789" in text if how == "masked" else "***" in text or "masked" in text
        for number in (NUMBER, NUMBER.replace("-", ""), "321-54-9876"):
            assert number not in text, call.interaction


@pytest.mark.parametrize("how", ["masked", "hidden"])
async def test_a_masked_value_that_is_written_back_stands_for_the_stored_one(
    contexts: Contexts, full: Context, how: Identifiers
) -> None:
    await put(full, patient())
    ctx = await confined(contexts, full, how)
    seen = await read(ctx)
    await put(ctx, seen | {"active": True})
    assert bare(await read(full)) == patient(active=True)
    for patch in (
        [{"op": "replace", "path": "/active", "value": False}],
        [{"op": "remove", "path": "/identifier/0"}],
    ):
        await handle(ctx, Call("patch", "Patient", "p", resource=patch))
    assert (await read(full))["identifier"] == [{"system": SSN, "value": NUMBER}]


async def test_who_sees_all_and_sends_a_masked_value_does_not_destroy_it_either(contexts: Contexts, full: Context) -> None:
    await put(full, patient())
    seen = await read(await confined(contexts, full, "masked"))
    await put(full, seen)
    assert bare(await read(full)) == patient()


async def test_several_numbers_are_told_apart_by_their_ends(contexts: Contexts, full: Context) -> None:
    both = [{"system": SSN, "value": NUMBER}, {"system": SSN, "value": "321-54-9876"}]
    await put(full, patient(identifier=both))
    ctx = await confined(contexts, full, "masked")
    seen = await read(ctx)
    await put(ctx, seen | {"identifier": seen["identifier"][::-1]})
    assert [one["value"] for one in (await read(full))["identifier"]] == ["321-54-9876", NUMBER]
    await put(ctx, seen | {"identifier": seen["identifier"][1:]})
    assert [one["value"] for one in (await read(full))["identifier"]] == ["321-54-9876"]


@pytest.mark.parametrize("how", ["full", "masked"])
async def test_a_masked_value_that_stands_for_none_is_refused(contexts: Contexts, full: Context, how: Identifiers) -> None:
    ctx = full if how == "full" else await confined(contexts, full, how)
    for id_, value in (("p", "***-**-1111"), ("new", "***-**-6789")):
        await put(full, patient())
        wrong = patient(identifier=[{"system": SSN, "value": value, "_value": ABSENT}]) | {"id": id_}
        with pytest.raises(FhirError) as refused:
            await put(ctx, wrong)
        issue = refused.value.issues[0]
        assert (refused.value.status, issue.code, issue.expression) == (422, "value", ("Patient.identifier[0].value",))
    assert bare(await read(full)) == patient()


async def test_a_patch_can_not_move_the_number_to_where_it_is_shown(contexts: Contexts, full: Context) -> None:
    await put(full, patient())
    ctx = await confined(contexts, full, "masked")
    for op in ("copy", "move"):
        patch = [{"op": op, "from": "/identifier/1/value", "path": "/name/0/family"}, {"op": "remove", "path": "/identifier/1"}]
        reply = await handle(ctx, Call("patch", "Patient", "p", resource=patch))
        assert NUMBER not in json.dumps(reply.resource)
        assert (await read(full))["name"][0]["family"] == "***-**-6789"
        await put(full, patient())
    copied = [{"op": "copy", "from": "/identifier/1/value", "path": "/name/0/family"}]
    await handle(ctx, Call("patch", "Patient", "p", resource=copied))
    await handle(ctx, Call("patch", "Patient", "p", resource=[{"op": "remove", "path": "/identifier/1"}]))
    assert NUMBER not in json.dumps(await read(ctx))
    assert "523456789" not in json.dumps(await read(ctx))
    await put(full, patient())
    tested = [{"op": "test", "path": "/identifier/1/value", "value": NUMBER}]
    with pytest.raises(FhirError):
        await handle(ctx, Call("patch", "Patient", "p", resource=tested))


async def test_a_new_whole_number_may_be_set_by_who_does_not_see_the_old_one(contexts: Contexts, full: Context) -> None:
    await put(full, patient())
    ctx = await confined(contexts, full, "masked")
    shown = await put(ctx, patient(identifier=[{"system": SSN, "value": "219-09-9999"}]))
    assert shown["identifier"][0]["value"] == "***-**-9999"
    assert (await read(full))["identifier"][0]["value"] == "219-09-9999"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(NUMBER, "***-**-6789"), ("523456789", "*****6789"), ("AB 1234 56", "** ***4 56"), ("12345", "*****"), ("1", "*")],
)
def test_short_values_are_masked_as_a_whole(value: str, shown: str) -> None:
    assert masked_value(value) == shown


_SYSTEM = st.sampled_from([SSN, "urn:oid:2.16.840.1.113883.4.1", "urn:x"])
_VALUE = st.from_regex(r"[1-8]\d{2}-?[1-9]\d-?[1-9]\d{3}", fullmatch=True)
_IDENTIFIERS = st.lists(st.fixed_dictionaries({"system": _SYSTEM, "value": _VALUE}), max_size=5)


@given(_IDENTIFIERS, _IDENTIFIERS, st.booleans())
def test_masking_and_restoring_gives_back_every_resource(
    own: list[dict[str, Any]], inner: list[dict[str, Any]], narrative: bool
) -> None:
    protected = systems(SSN)
    values = [one["value"] for one in [*own, *inner] if one["system"] != "urn:x"]
    resource = {"resourceType": "Patient", "identifier": own, "contained": [{"resourceType": "Person", "identifier": inner}]}
    seen = masked(resource, protected)
    assert masked(seen, protected) == seen
    assert not any(value in json.dumps(seen) for value in values)
    restoring = Restoring(resource, protected)
    restored = restoring.restore(seen)
    assert restoring.missing == []
    if len({masked_value(value) for value in values}) == len(values) and not narrative:
        others = {one["value"].replace("-", "") for one in [*own, *inner] if one["system"] == "urn:x"}
        if others.isdisjoint(value.replace("-", "") for value in values):
            assert restored == resource
    assert seen == masked(restored, protected)


async def test_the_context_of_a_confined_reader_never_shares_what_others_see(contexts: Contexts, full: Context) -> None:
    """JSON that was made once for somebody else is not sent."""
    await put(full, patient())
    whole = await handle(full, Call("read", "Patient", "p", encoded=True))
    assert whole.encoded is not None
    again = await handle(await confined(contexts, full, "masked"), Call("read", "Patient", "p", encoded=True))
    assert again.encoded is None
    assert replace(again, resource=None).resource is None
    assert NUMBER not in json.dumps(again.resource)
