"""Duplicates and $match for somebody who may not see every patient, or not everything of a patient."""

from typing import Any

import pytest

from fhir_server.contexts import Contexts
from fhir_server.engine import handle
from fhir_server.exchange import Call, Context, Principal
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import FhirError
from fhir_server.resources.reviews import CODE, SYSTEM
from fhir_server.search.index import index_models
from fhir_server.search.registry import BUILTIN
from fhir_server.security.permissions import Grant, Limits, Permissions, Way
from fhir_server.store.database import Database
from tests.operations.test_match import parameters, patient

SECRET = {"meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]}}


@pytest.fixture
def contexts(settings, database):
    return Contexts(Database(database, settings, index_models), settings)


async def context(contexts: Contexts, *, letters: str = "cruds", clearance: bool = False, **limits: Any) -> Context:
    grants = (Grant(RESOURCE_TYPES, letters),)
    way = Way((grants,), hidden_labels=frozenset() if clearance else frozenset({"R"}))
    tenant = contexts.settings.default_tenant
    access = Permissions(Principal("somebody"), tenant, BUILTIN, Limits((way,), **limits))
    return await contexts.of(tenant, "http://test/fhir", access=access)


async def put(contexts: Contexts, resource: dict[str, Any]) -> None:
    ctx = await contexts.of(contexts.settings.default_tenant, "http://test/fhir")
    await handle(ctx, Call("update", "Patient", resource["id"], resource=resource))


async def match(ctx: Context, resource: dict[str, Any], **simple: Any) -> list[dict[str, Any]]:
    call = Call("operation", "Patient", operation="match", resource=parameters(resource, **simple))
    reply = await handle(ctx, call)
    assert reply.resource is not None
    return reply.resource.get("entry", [])


async def tasks(contexts: Contexts) -> int:
    ctx = await contexts.of(contexts.settings.default_tenant, "http://test/fhir")
    reply = await handle(ctx, Call("search-type", "Task", params=(("code", f"{SYSTEM}|{CODE}"),)))
    assert reply.resource is not None
    return int(reply.resource["total"])


def under(contexts: Contexts, mode: str) -> Contexts:
    return Contexts(contexts.database, contexts.settings.model_copy(update={"duplicates": mode}))


async def test_who_may_not_be_seen_is_not_matched(contexts):
    await put(contexts, patient("secret") | SECRET)
    assert await match(await context(contexts), patient()) == []
    (found,) = await match(await context(contexts, clearance=True), patient())
    assert found["resource"]["id"] == "secret"


async def test_matching_takes_the_right_to_search_patients(contexts):
    with pytest.raises(FhirError) as error:
        await match(await context(contexts, letters="cru"), patient())
    assert error.value.status == 403


async def test_elements_that_are_hidden_tell_nothing(contexts):
    await put(contexts, patient("p1"))
    ctx = await context(contexts, clearance=True, hidden={"Patient": frozenset({"telecom"})})
    (found,) = await match(ctx, patient(), explain=True)
    fields = {
        part["valueCode"] for one in found["search"]["extension"] for part in one.get("extension", ()) if "valueCode" in part
    }
    assert "birth" in fields
    assert not fields & {"phone", "email"}
    assert "telecom" not in found["resource"]


async def test_nothing_is_said_of_who_may_not_be_seen_but_a_task_is_made(contexts):
    await put(contexts, patient("secret") | SECRET)
    ctx = await context(under(contexts, "warn"))
    reply = await handle(ctx, Call("create", "Patient", resource=patient()))
    assert (reply.status, reply.issues) == (201, ())
    assert await tasks(contexts) == 1


async def test_nobody_is_refused_because_of_who_may_not_be_seen(contexts):
    await put(contexts, patient("secret") | SECRET)
    reply = await handle(await context(under(contexts, "reject")), Call("create", "Patient", resource=patient()))
    assert reply.status == 201
    assert await tasks(contexts) == 1
    with pytest.raises(FhirError) as error:
        await handle(await context(under(contexts, "reject"), clearance=True), Call("create", "Patient", resource=patient()))
    assert error.value.status == 409
