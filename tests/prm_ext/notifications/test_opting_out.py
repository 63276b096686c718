"""Who does not want to be written to: kept and looked up."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.exchange import Call, Context
from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import index_models
from fhir_server.search.vocabulary import WORDS
from fhir_server.store.database import Database
from fhir_server.store.redirects import redirects_of
from prm_ext.notifications.channels.channel import CHANNELS, Channel
from prm_ext.notifications.codes import KINDS
from prm_ext.notifications.consent import Objection, objection, opt_in, opt_out, preferences, set_preference
from prm_ext.notifications.provisions import ADDRESS

PHONE, SHARED, CLINIC, OTHER = "+14155550132", "+14155550178", "+14155550100", "+14155550101"
EMAIL = "elena.garcia@example.org"


@pytest.fixture
async def ctx(settings: Settings, database: Any) -> Context:
    """The context of what the server does by itself."""
    return await Contexts(Database(database, settings, index_models, WORDS), settings).of_tenant(settings.default_tenant)


async def stored(ctx: Context, **resource: Any) -> dict[str, Any]:
    reply = await ctx.dispatch(ctx, Call("create", resource["resourceType"], resource=resource))
    return reply.resource or {}


async def patient(ctx: Context, *phones: str, **more: Any) -> dict[str, Any]:
    points = [{"system": "phone", "value": phone, "use": "mobile"} for phone in phones]
    return await stored(ctx, resourceType="Patient", telecom=[*points, {"system": "email", "value": EMAIL}], **more)


def ref(resource: dict[str, Any]) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


async def objected(
    ctx: Context,
    *people: str,
    channel: Channel = "sms",
    sender: str = CLINIC,
    kind: str = "appointment-reminder",
    address: str = PHONE,
) -> Objection | None:
    return await objection(ctx, people, channel=channel, sender=sender, kind=kind, address=address)


async def consents(ctx: Context, query: str = "") -> list[dict[str, Any]]:
    params = tuple(tuple(part.split("=", 1)) for part in query.split("&") if part)
    bundle = (await ctx.dispatch(ctx, Call("search-type", "Consent", params=params))).resource or {}
    return [entry["resource"] for entry in bundle.get("entry", ())]


async def test_where_nobody_has_said_anything_nothing_stands_against_a_message(ctx: Context):
    assert await objected(ctx, "Patient/1") is None
    assert await objected(ctx) is None
    assert await objected(ctx, address="") is None


async def test_stop_ends_that_channel_and_sender_and_nothing_else(ctx: Context):
    elena = await patient(ctx, PHONE)
    await opt_out(ctx, [ref(elena)], channel="sms", sender=CLINIC, address=PHONE, source="keyword", message="Communication/7")
    found = await objected(ctx, ref(elena))
    (kept,) = await consents(ctx, f"patient={ref(elena)}&status=active&category=urn:prm:consent-category|notifications")
    assert found == Objection(
        ref(kept), f"The recipient does not want messages of the kind 'appointment-reminder' over sms: {ref(kept)}."
    )
    assert kept["policyRule"]["coding"][0]["code"] == "OPTOUT"
    assert kept["extension"][0]["extension"][1] == {"url": "message", "valueReference": {"reference": "Communication/7"}}
    for kind in KINDS:
        assert await objected(ctx, ref(elena), kind=kind) is not None
    assert await objected(ctx, ref(elena), channel="whatsapp") is None
    assert await objected(ctx, ref(elena), channel="email", address=EMAIL) is None
    assert await objected(ctx, ref(elena), sender=OTHER) is None
    assert await objected(ctx, ref(elena), address=SHARED) is None


async def test_stop_from_a_shared_number_ends_messages_to_that_number_whoever_they_are_for(ctx: Context):
    elena, child = await patient(ctx, SHARED), await patient(ctx, SHARED)
    await opt_out(ctx, [ref(elena), ref(child)], channel="sms", sender=CLINIC, address=SHARED, source="keyword")
    assert len(await consents(ctx)) == 2
    assert await objected(ctx, ref(child), address=SHARED) is not None
    assert await objected(ctx, "Patient/new-one", address=SHARED) is not None
    assert await objected(ctx, address=SHARED) is not None


async def test_stop_from_a_number_of_nobody_is_kept_for_the_number(ctx: Context):
    await opt_out(ctx, [], channel="sms", sender=CLINIC, address=PHONE, source="keyword")
    (kept,) = await consents(ctx)
    assert kept["patient"] == {"type": "Patient", "identifier": {"system": ADDRESS, "value": PHONE}}
    assert await objected(ctx, "Patient/1") is not None


async def test_people_who_are_no_patients_are_kept_by_their_address(ctx: Context):
    await opt_out(ctx, ["RelatedPerson/3"], channel="sms", sender=CLINIC, address=PHONE, source="provider")
    (kept,) = await consents(ctx)
    assert "reference" not in kept["patient"]
    assert await objected(ctx, "RelatedPerson/3") is not None


async def test_stop_said_twice_is_kept_once(ctx: Context):
    elena = await patient(ctx, PHONE)
    for _ in range(2):
        await opt_out(ctx, [ref(elena)], channel="sms", sender=CLINIC, address=PHONE, source="keyword")
    assert [one["meta"]["versionId"] for one in await consents(ctx)] == ["1"]


async def test_stop_said_by_many_at_once_is_kept_once(ctx: Context):
    await asyncio.gather(*(opt_out(ctx, [], channel="sms", sender=CLINIC, address=PHONE, source="keyword") for _ in range(8)))
    assert len(await consents(ctx)) == 1


async def test_start_takes_stop_back_and_stop_comes_again(ctx: Context):
    elena = await patient(ctx, PHONE)
    about: dict[str, Any] = {"channel": "sms", "sender": CLINIC, "address": PHONE, "source": "keyword"}
    await opt_out(ctx, [ref(elena)], **about)
    assert await opt_in(ctx, **about) == 1
    assert await objected(ctx, ref(elena)) is None
    (kept,) = await consents(ctx)
    assert (kept["policyRule"]["coding"][0]["code"], kept["provision"]["type"], kept["status"]) == ("OPTIN", "permit", "active")
    assert await opt_in(ctx, **about) == 0
    await opt_out(ctx, [ref(elena)], **about)
    assert await objected(ctx, ref(elena)) is not None
    assert [one["meta"]["versionId"] for one in await consents(ctx)] == ["3"]


async def test_start_takes_back_only_what_it_is_about(ctx: Context):
    for channel, sender in (("sms", CLINIC), ("sms", OTHER), ("whatsapp", CLINIC)):
        await opt_out(ctx, [], channel=channel, sender=sender, address=PHONE, source="keyword")
    assert await opt_in(ctx, channel="sms", sender=CLINIC, address=PHONE, source="keyword") == 1
    assert await objected(ctx) is None
    assert await objected(ctx, sender=OTHER) is not None
    assert await objected(ctx, channel="whatsapp") is not None


async def test_start_for_any_sender_takes_back_all_of_the_channel(ctx: Context):
    for sender in (CLINIC, OTHER, ""):
        await opt_out(ctx, [], channel="sms", sender=sender, address=PHONE, source="keyword")
    assert await opt_in(ctx, channel="sms", sender="", address=PHONE, source="keyword") == 3
    assert await objected(ctx) is None


async def test_addresses_are_the_same_however_a_provider_writes_them(ctx: Context):
    await opt_out(ctx, [], channel="whatsapp", sender=f"whatsapp:{CLINIC}", address=f"whatsapp:{PHONE}", source="keyword")
    assert await objected(ctx, channel="whatsapp") is not None
    await opt_out(ctx, [], channel="email", sender="Clinic <no-reply@example.org>", address=EMAIL.title(), source="provider")
    assert await objected(ctx, channel="email", sender="no-reply@example.org", address=EMAIL) is not None
    assert await opt_in(ctx, channel="whatsapp", sender=CLINIC, address=PHONE, source="keyword") == 1


async def test_what_ehrs_have_written_counts_from_that_moment_on(ctx: Context, http: httpx.AsyncClient):
    elena = await patient(ctx, PHONE)
    body = {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "57016-8"}]}],
        "patient": {"reference": ref(elena)},
        "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTOUT"}]},
        "provision": {
            "type": "deny",
            "purpose": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HMARKT"}],
            "code": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationMode", "code": "SMSWRIT"}]}],
        },
    }
    reply = await http.post("Consent", json=body)
    assert reply.status_code == 201, reply.text
    assert (await objected(ctx, ref(elena), kind="health-tips")).consent == f"Consent/{reply.json()['id']}"
    assert await objected(ctx, ref(elena), kind="appointment-reminder") is None
    assert await objected(ctx, "Patient/other", kind="health-tips") is None
    assert (await http.delete(f"Consent/{reply.json()['id']}")).status_code == 204
    assert await objected(ctx, ref(elena), kind="health-tips") is None


async def test_a_denial_about_a_related_person_counts_for_that_person(ctx: Context):
    actor = {
        "role": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}]},
        "reference": {"reference": "RelatedPerson/7"},
    }
    rule = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTOUT"}]}
    action = {"coding": [{"system": "urn:prm:consent-action", "code": "contact"}]}
    await stored(
        ctx,
        resourceType="Consent",
        status="active",
        scope={"coding": [{"code": "patient-privacy"}]},
        category=[{"text": "messages"}],
        patient={"reference": "Patient/1"},
        policyRule=rule,
        provision={"type": "deny", "action": [action], "actor": [actor]},
    )
    assert await objected(ctx, "RelatedPerson/7") is not None
    assert await objected(ctx, "Patient/1") is None


async def test_a_denial_that_has_ended_does_not_count(ctx: Context):
    await opt_out(ctx, [], channel="sms", sender=CLINIC, address=PHONE, source="keyword")
    (kept,) = await consents(ctx)
    kept["provision"]["period"] = {"end": "2026-12-31"}
    await ctx.dispatch(ctx, Call("update", "Consent", kept["id"], resource=kept))
    assert await objected(replace(ctx, now=lambda: datetime(2026, 11, 24, tzinfo=UTC))) is not None
    assert await objected(replace(ctx, now=lambda: datetime(2027, 1, 2, tzinfo=UTC))) is None


async def test_other_tenants_have_consents_of_their_own(ctx: Context, settings: Settings, database: Any):
    await opt_out(ctx, [], channel="sms", sender=CLINIC, address=PHONE, source="keyword")
    other = await Contexts(Database(database, settings, index_models, WORDS), settings).of_tenant(f"{ctx.tenant}x")
    assert await objected(other) is None


async def test_who_has_been_merged_into_another_objects_as_the_other_does(ctx: Context):
    source, target = await patient(ctx, PHONE), await patient(ctx, SHARED)
    await set_preference(ctx, source["id"], kind="health-tips", channel="sms", allowed=False)
    await set_preference(ctx, target["id"], kind="campaign", channel="sms", allowed=False)
    parameters = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "source-patient", "valueReference": {"reference": ref(source)}},
            {"name": "target-patient", "valueReference": {"reference": ref(target)}},
        ],
    }
    await ctx.dispatch(ctx, Call("operation", "Patient", operation="merge", resource=parameters))
    assert not redirects_of(ctx.repo.database).idle(ctx.tenant)
    for person in (source, target):
        for kind in ("health-tips", "campaign"):
            assert await objected(ctx, ref(person), kind=kind) is not None
    await set_preference(ctx, target["id"], kind="", channel="", allowed=True)
    for kind in ("health-tips", "campaign"):
        assert await objected(ctx, ref(source), kind=kind) is None
    assert len(await consents(ctx, "status=active")) == 1


async def test_looking_up_is_one_query_over_indexes(ctx: Context):
    elena = await patient(ctx, PHONE)
    await opt_out(ctx, [ref(elena)], channel="sms", sender=CLINIC, address=PHONE, source="keyword")
    asked = []
    find = ctx.repo.database.find

    async def counted(search: Any) -> Any:
        asked.append(search)
        return await find(search)

    ctx.repo.database.find = counted
    await objected(ctx, ref(elena), "RelatedPerson/3")
    (search,) = asked
    plan = await ctx.repo.database.mongodb.command(
        "explain", {"find": "Consent", "filter": search.filter}, verbosity="executionStats"
    )
    assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
    assert plan["executionStats"]["totalDocsExamined"] <= 2


async def test_the_patient_of_an_opt_out_may_be_gone(ctx: Context, settings: Settings, database: Any):
    strict = settings.model_copy(update={"reference_check": True})
    checked = await Contexts(Database(database, strict, index_models, WORDS), strict).of_tenant(strict.default_tenant)
    await opt_out(checked, ["Patient/never-was"], channel="sms", sender=CLINIC, address=PHONE, source="keyword")
    assert await objected(ctx, "Patient/never-was") is not None


# Preferences


async def wanted(ctx: Context, person: dict[str, Any], **more: Any) -> set[tuple[str, str]]:
    """Return what a patient does not want, and check that the lookup says the same."""
    found = await preferences(ctx, person, **more)
    assert len(found) == len(KINDS) * len(CHANNELS)
    assert all(one.allowed == (one.consent == "") for one in found)
    return {(one.channel, one.kind) for one in found if not one.allowed}


async def test_a_patient_wants_everything_until_something_is_said(ctx: Context):
    assert await wanted(ctx, await patient(ctx, PHONE)) == set()


async def test_health_tips_off_and_appointment_reminders_on(ctx: Context):
    elena = await patient(ctx, PHONE)
    await set_preference(ctx, elena["id"], kind="health-tips", channel="", allowed=False)
    assert await wanted(ctx, elena) == {(channel, "health-tips") for channel in CHANNELS}
    for channel in CHANNELS:
        assert await objected(ctx, ref(elena), channel=channel, kind="health-tips") is not None
        assert await objected(ctx, ref(elena), channel=channel, kind="appointment-reminder") is None


async def test_a_preference_holds_at_any_address_and_from_any_sender(ctx: Context):
    elena = await patient(ctx, PHONE)
    await set_preference(ctx, elena["id"], kind="health-tips", channel="sms", allowed=False)
    assert await objected(ctx, ref(elena), kind="health-tips", address=OTHER, sender=OTHER) is not None


async def test_preferences_are_kept_in_one_consent_and_taken_back(ctx: Context):
    elena = await patient(ctx, PHONE)
    await set_preference(ctx, elena["id"], kind="", channel="email", allowed=False)
    await set_preference(ctx, elena["id"], kind="lab-results", channel="email", allowed=True)
    await set_preference(ctx, elena["id"], kind="campaign", channel="sms", allowed=False)
    assert await wanted(ctx, elena) == {("email", kind) for kind in KINDS if kind != "lab-results"} | {("sms", "campaign")}
    await set_preference(ctx, elena["id"], kind="campaign", channel="sms", allowed=False)
    (kept,) = await consents(ctx)
    assert kept["meta"]["versionId"] == "3"
    await set_preference(ctx, elena["id"], kind="", channel="", allowed=True)
    assert await wanted(ctx, elena) == set()
    (kept,) = await consents(ctx)
    assert kept["policyRule"]["coding"][0]["code"] == "OPTIN"


async def test_to_allow_what_is_allowed_leaves_nothing_behind(ctx: Context):
    elena = await patient(ctx, PHONE)
    await set_preference(ctx, elena["id"], kind="campaign", channel="sms", allowed=True)
    assert await consents(ctx) == []


async def test_preferences_that_were_put_out_of_force_do_not_count_and_come_back(ctx: Context):
    elena = await patient(ctx, PHONE)
    await set_preference(ctx, elena["id"], kind="campaign", channel="sms", allowed=False)
    (kept,) = await consents(ctx)
    await ctx.dispatch(ctx, Call("update", "Consent", kept["id"], resource={**kept, "status": "inactive"}))
    assert await wanted(ctx, elena) == set()
    await set_preference(ctx, elena["id"], kind="alert", channel="sms", allowed=False)
    assert await wanted(ctx, elena) == {("sms", "alert")}
    assert len(await consents(ctx)) == 1


async def test_preferences_set_by_many_at_once_are_all_kept(ctx: Context):
    elena = await patient(ctx, PHONE)
    kinds = ["campaign", "health-tips", "alert"]
    await asyncio.gather(*(set_preference(ctx, elena["id"], kind=kind, channel="sms", allowed=False) for kind in kinds))
    assert await wanted(ctx, elena) == {("sms", kind) for kind in kinds}
    assert len(await consents(ctx)) == 1


async def test_preferences_show_what_was_said_from_the_addresses_that_the_patient_has_now(ctx: Context):
    elena = await patient(ctx, PHONE)
    await opt_out(ctx, [ref(elena)], channel="sms", sender=CLINIC, address=PHONE, source="keyword")
    assert await wanted(ctx, elena) == {("sms", kind) for kind in KINDS}
    assert await wanted(ctx, elena, senders={"sms": OTHER}) == set()
    assert await wanted(ctx, elena, senders={"sms": f"whatsapp:{CLINIC}"}) == {("sms", kind) for kind in KINDS}
    await set_preference(ctx, elena["id"], kind="", channel="", allowed=True)
    assert await wanted(ctx, elena) == {("sms", kind) for kind in KINDS}
    moved = {**elena, "telecom": [{"system": "phone", "value": SHARED}]}
    assert await wanted(ctx, moved) == set()


async def test_preferences_of_a_patient_show_what_somebody_else_said_from_the_same_number(ctx: Context):
    await opt_out(ctx, [], channel="whatsapp", sender=CLINIC, address=PHONE, source="keyword")
    assert await wanted(ctx, await patient(ctx, PHONE)) == {("whatsapp", kind) for kind in KINDS}


@pytest.mark.parametrize(("kind", "channel"), [("go ssip", "sms"), ("campaign", "pigeon")])
async def test_what_there_is_not_can_not_be_preferred(ctx: Context, kind: str, channel: str):
    with pytest.raises(FhirError) as raised:
        await set_preference(ctx, "1", kind=kind, channel=channel, allowed=False)
    assert (raised.value.status, raised.value.issues[0].code) == (422, "value")
