"""What has had its time is worth nothing, whether MongoDB has removed it yet or not."""

from datetime import UTC, datetime, timedelta

import httpx
from auth_world import SECRET, Browser, World, code_for, redeem, refresh, request_params, sent_to_app, tokens_for

from fhir_server.security.authorization.issue import access_claims, signed
from fhir_server.security.authorization.launches import Launch

PAST = datetime.now(UTC) - timedelta(seconds=1)
OFFLINE = "launch/patient patient/*.rs offline_access"


async def age(world: World, collection: str, field: str = "expires", **query: str) -> datetime:
    """Let the time of documents of this test be over; return until when they had it."""
    found = world.service.database.collection(collection)
    (document,) = await found.find(query).to_list()
    await found.update_one({"_id": document["_id"]}, {"$set": {field: PAST}})
    return document[field]


def seconds_left(until: datetime) -> float:
    return (until - datetime.now(UTC)).total_seconds()


async def test_a_code_is_good_for_a_minute(browser: Browser, world: World):
    code = await code_for(browser, request_params(world.public), world.patient_user)
    until = await age(world, "_auth_codes", "valid_until", client=world.public.id)
    assert 50 < seconds_left(until) <= 60
    answer = await redeem(browser.http, world.public, code)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_launch_is_good_for_ten_minutes(browser: Browser, world: World):
    value = await world.service.launches.new(Launch(world.tenant, world.patient))
    until = await age(world, "_auth_launches", tenant=world.tenant)
    assert 590 < seconds_left(until) <= 600
    answer = await browser.authorize(request_params(world.public, "launch patient/*.rs", launch=value))
    assert sent_to_app(answer)["error"] == "invalid_request"


async def test_a_request_waits_for_its_person_for_twenty_minutes(browser: Browser, world: World):
    await browser.authorize(request_params(world.public))
    until = await age(world, "_auth_flows", client=world.public.id)
    assert 1190 < seconds_left(until) <= 1200
    assert (await browser.log_in(world.patient_user)).status_code == 404
    assert "open for too long" in browser.page.text


async def test_offline_access_that_is_not_used_ends(browser: Browser, world: World, settings):
    tokens = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    until = await age(world, "_auth_grants", client=world.public.id)
    assert abs(seconds_left(until) - settings.auth_refresh_days * 86400) < 60
    answer = await refresh(browser.http, world.public, tokens["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_each_use_of_offline_access_prolongs_it(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    grants = world.service.database.collection("_auth_grants")
    soon = datetime.now(UTC) + timedelta(seconds=60)
    await grants.update_one({"client": world.public.id}, {"$set": {"expires": soon}})
    assert (await refresh(browser.http, world.public, tokens["refresh_token"])).status_code == 200
    (grant,) = await grants.find({"client": world.public.id}).to_list()
    assert grant["expires"] > soon + timedelta(days=1)


async def test_access_while_logged_in_ends_at_the_end_of_the_session(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.patient_user, "launch/patient patient/*.rs online_access")
    session = await world.service.database.collection("_auth_sessions").find_one({"user": world.patient_user.id})
    assert await age(world, "_auth_sessions", user=world.patient_user.id) == session["expires"]
    answer = await refresh(browser.http, world.public, tokens["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_an_access_token_ends_by_itself(web: httpx.AsyncClient, world: World):
    answers = []
    for age_ in (0, 3600):
        issued = datetime.now(UTC) - timedelta(seconds=age_)
        claims = access_claims(world.service.place, world.backend, "system/*.rs", issued, 300)
        token = signed(claims, await world.service.keys.signer())
        introspection = (await web.post("/auth/introspect", data={"token": token}, auth=(world.ehr.id, SECRET))).json()
        read = await web.get(f"/fhir/Patient/{world.patient}", headers={"Authorization": f"Bearer {token}"})
        answers.append((introspection["active"], read.status_code))
    assert answers == [(True, 200), (False, 401)]


async def test_mongodb_removes_what_has_expired(world: World):
    for name in ("codes", "grants", "refresh_tokens", "revoked", "assertions", "launches", "flows", "sessions", "attempts"):
        indexes = await world.service.database.collection(f"_auth_{name}").index_information()
        assert indexes["expires"]["expireAfterSeconds"] == 0, name
