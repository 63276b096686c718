"""The OAuth 2.0 security best current practice: https://www.rfc-editor.org/rfc/rfc9700, section by section."""

import asyncio
import re
from typing import Any

import httpx
import pytest
from auth_world import (
    CALLBACK,
    ORIGIN,
    PASSWORD,
    SECRET,
    Browser,
    World,
    challenge,
    code_for,
    redeem,
    refresh,
    request_params,
    sent_to_app,
    tokens_for,
)
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

SCOPE = "launch/patient patient/*.rs offline_access"


@pytest.mark.parametrize(
    "uri",
    [
        CALLBACK + "/",
        CALLBACK + "?a=b",
        CALLBACK + "#fragment",
        CALLBACK + "/../callback",
        CALLBACK.upper(),
        "https://app.example.org:443/callback",
        "https://app.example.org.evil.example/callback",
        "https://app.example.org@evil.example/callback",
        "https://evil.example/callback",
        "http://app.example.org/callback",
        "//evil.example/callback",
        "/callback",
        "javascript:alert(1)",
        "",
        None,
    ],
)
async def test_2_1_only_a_redirect_uri_that_is_registered_to_the_letter_is_redirected_to(
    browser: Browser, world: World, uri: str | None
):
    answer = await browser.authorize(request_params(world.public, redirect_uri=uri))
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "redirect_uri" in answer.text


@given(uri=st.text(min_size=1, max_size=60))
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_2_1_no_text_as_redirect_uri_is_redirected_to_or_breaks_the_server(browser: Browser, world: World, uri: str):
    for params in (request_params(world.public, redirect_uri=uri), request_params(world.public, redirect_uri=CALLBACK + uri)):
        answer = await browser.authorize(params)
        assert answer.status_code == 400
        assert "location" not in answer.headers


@pytest.mark.parametrize("client_id", ["nobody", "", None])
async def test_4_11_an_unknown_client_is_no_open_redirector(browser: Browser, world: World, client_id: str | None):
    answer = await browser.authorize(request_params(world.public, client_id=client_id))
    assert answer.status_code == 400
    assert "location" not in answer.headers


async def test_4_11_a_mistake_of_a_known_client_is_told_to_its_own_redirect_uri_only(browser: Browser, world: World):
    answer = sent_to_app(await browser.authorize(request_params(world.public, response_type="token")))
    assert answer["error"] == "unsupported_response_type"
    answer = await browser.authorize(request_params(world.public, response_type="token", redirect_uri="https://evil.example/"))
    assert answer.status_code == 400
    assert "location" not in answer.headers


async def test_4_11_a_switched_off_client_is_sent_nothing_any_more(browser: Browser, world: World):
    await browser.authorize(request_params(world.public))
    await browser.log_in(world.patient_user)
    await world.service.clients.change(world.public.id, active=False)
    answer = await browser.allow()
    assert answer.status_code == 404
    assert "location" not in answer.headers


@pytest.mark.parametrize("name", ["response_type", "client_id", "redirect_uri", "scope", "state", "aud", "code_challenge"])
async def test_a_parameter_that_is_there_twice_is_refused(browser: Browser, world: World, name: str):
    params = request_params(world.public)
    answer = await browser.go("GET", "/auth/authorize", params=[*params.items(), (name, params[name])])
    assert answer.status_code == 400
    assert "twice" in answer.text


@pytest.mark.parametrize("response_type", ["token", "id_token", "code token", "code id_token", "none", 'a"b', "\\"])
async def test_2_1_2_there_is_no_implicit_grant(browser: Browser, world: World, response_type: str):
    answer = await browser.authorize(request_params(world.public, response_type=response_type))
    if answer.status_code == 303:
        assert sent_to_app(answer)["error"] == "unsupported_response_type"
    else:
        assert answer.status_code == 400


async def test_2_4_there_is_no_password_grant(web: httpx.AsyncClient, world: World):
    form = {"grant_type": "password", "username": world.clinician.name, "password": PASSWORD, "client_id": world.public.id}
    answer = await web.post("/auth/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": "s256"},
        {"code_challenge": "short"},
    ],
)
@pytest.mark.parametrize("kind", ["public", "confidential"])
async def test_2_1_1_pkce_can_neither_be_left_out_nor_downgraded(
    browser: Browser, world: World, kind: str, changes: dict[str, Any]
):
    answer = sent_to_app(await browser.authorize(request_params(getattr(world, kind), **changes)))
    assert answer["error"] == "invalid_request"


@pytest.mark.parametrize("verifier", [None, "w" * 64, challenge(), "v" * 42, "v" * 65])
@pytest.mark.parametrize("kind", ["public", "confidential"])
async def test_4_8_a_code_without_its_verifier_is_worth_nothing(browser: Browser, world: World, kind: str, verifier: str | None):
    client = getattr(world, kind)
    code = await code_for(browser, request_params(client), world.patient_user)
    answer = await redeem(browser.http, client, code, code_verifier=verifier)
    assert answer.status_code == 400
    assert answer.json()["error"] in ("invalid_grant", "invalid_request")
    assert (await redeem(browser.http, client, code)).json()["error"] == "invalid_grant"


async def test_4_5_a_code_that_is_injected_into_the_session_of_another_fails_by_its_verifier(browser: Browser, world: World):
    stolen = await code_for(browser, request_params(world.public), world.patient_user)
    answer = await redeem(browser.http, world.public, stolen, code_verifier="x" * 64)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_code_is_good_once_and_a_replay_ends_what_it_gave(browser: Browser, world: World):
    code = await code_for(browser, request_params(world.public, SCOPE), world.patient_user)
    tokens = (await redeem(browser.http, world.public, code)).json()
    replay = await redeem(browser.http, world.public, code)
    assert (replay.status_code, replay.json()["error"]) == (400, "invalid_grant")
    assert (await refresh(browser.http, world.public, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert await introspected(browser.http, world, tokens["access_token"]) == {"active": False}
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await browser.http.get(f"/fhir/Patient/{world.patient}", headers=headers)).status_code == 401


async def test_of_concurrent_uses_of_a_code_one_wins_at_most(browser: Browser, world: World):
    code = await code_for(browser, request_params(world.public, SCOPE), world.patient_user)
    answers = await asyncio.gather(*(redeem(browser.http, world.public, code) for _ in range(6)))
    assert sum(answer.status_code == 200 for answer in answers) <= 1
    assert {answer.status_code for answer in answers} <= {200, 400}


async def test_a_code_of_one_client_is_worth_nothing_to_another(browser: Browser, world: World):
    code = await code_for(browser, request_params(world.public), world.patient_user)
    answer = await redeem(browser.http, world.confidential, code)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert (await redeem(browser.http, world.public, code)).status_code == 200


@pytest.mark.parametrize("uri", [None, CALLBACK + "/", "https://evil.example/"])
async def test_a_code_is_redeemed_with_the_redirect_uri_that_it_was_sent_to(browser: Browser, world: World, uri: str | None):
    code = await code_for(browser, request_params(world.public), world.patient_user)
    answer = await redeem(browser.http, world.public, code, redirect_uri=uri)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_4_4_every_answer_names_the_issuer_against_mix_up(browser: Browser, world: World):
    metadata = (await browser.http.get("/.well-known/openid-configuration")).json()
    assert metadata["authorization_response_iss_parameter_supported"] is True
    assert metadata["issuer"] == ORIGIN
    refused = sent_to_app(await browser.authorize(request_params(world.public, code_challenge=None)))
    assert (refused["iss"], refused["state"]) == (ORIGIN, "state-of-the-app")
    await browser.authorize(request_params(world.public))
    await browser.log_in(world.patient_user)
    assert sent_to_app(await browser.allow())["iss"] == ORIGIN


async def test_4_7_forms_need_the_token_of_the_session_that_they_were_made_for(browser: Browser, world: World):
    await browser.authorize(request_params(world.public))
    await browser.log_in(world.patient_user)
    target = re.search(r'action="([^"]+/consent)"', browser.page.text)[1]
    for token in ("", "guessed"):
        answer = await browser.send("POST", target, data={"form_token": token, "scope": "patient/*.rs"})
        assert answer.status_code == 403
    other = Browser(browser.http)
    await other.authorize(request_params(world.public))
    token = re.search(r'name="form_token" value="([^"]+)"', other.page.text)[1]
    answer = await browser.send("POST", target, data={"form_token": token, "scope": "patient/*.rs"})
    assert answer.status_code == 403


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_4_7_a_form_of_another_site_is_refused_even_with_the_right_token(
    browser: Browser, world: World, headers: dict[str, str]
):
    await browser.authorize(request_params(world.public))
    target = re.search(r'action="([^"]+/login)"', browser.page.text)[1]
    token = re.search(r'name="form_token" value="([^"]+)"', browser.page.text)[1]
    form = {"form_token": token, "name": world.patient_user.name, "password": PASSWORD}
    answer = await browser.send("POST", target, data=form, headers=headers)
    assert answer.status_code == 403
    assert (await browser.send("POST", target, data=form, headers={"Origin": ORIGIN})).status_code == 303


async def test_4_7_a_login_gets_a_new_session_so_that_none_can_be_fixed_beforehand(browser: Browser, world: World):
    await browser.authorize(request_params(world.public))
    before = dict(browser.cookies)
    await browser.log_in(world.patient_user)
    assert before["fhir-session"] != browser.cookies["fhir-session"]
    fixed = Browser(browser.http)
    fixed.cookies = before
    await fixed.authorize(request_params(world.public))
    assert "Log in" in fixed.page.text


async def test_4_12_forms_are_answered_with_303_so_that_passwords_are_not_sent_on(browser: Browser, world: World):
    await browser.authorize(request_params(world.trusted))
    target = re.search(r'action="([^"]+/login)"', browser.page.text)[1]
    token = re.search(r'name="form_token" value="([^"]+)"', browser.page.text)[1]
    form = {"form_token": token, "name": world.patient_user.name, "password": PASSWORD}
    answer = await browser.send("POST", target, data=form)
    assert answer.status_code == 303
    answer = await browser.send("GET", answer.headers["location"])
    while answer.headers["location"].startswith(ORIGIN):
        answer = await browser.send("GET", answer.headers["location"])
        assert answer.status_code == 303
    assert "code" in sent_to_app(answer)


async def test_4_16_no_page_can_be_framed_or_run_a_script_or_leak_where_somebody_was(browser: Browser, world: World):
    await browser.authorize(request_params(world.public))
    pages = [browser.page, await browser.log_in(world.patient_user), await browser.go("GET", "/auth/manage")]
    pages.append(await browser.authorize(request_params(world.public, client_id="nobody")))
    for page in pages:
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "base-uri 'none'" in policy
        assert "script" not in policy.replace("javascript", "")
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["cache-control"] == "no-store"
        assert "<script" not in page.text
        assert "http://" not in re.sub(re.escape(ORIGIN), "", page.text)


async def test_4_3_2_a_token_in_a_url_opens_nothing(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.patient_user, SCOPE)
    token = tokens["access_token"]
    answer = await browser.http.get(f"/fhir/Patient/{world.patient}", params={"access_token": token})
    assert answer.status_code == 401


@pytest.mark.parametrize("endpoint", ["token", "introspect", "revoke", "launch"])
async def test_4_3_2_credentials_in_a_url_are_refused(web: httpx.AsyncClient, world: World, endpoint: str):
    query = {"client_id": world.confidential.id, "client_secret": SECRET, "grant_type": "authorization_code", "token": "t"}
    answer = await web.post(f"/auth/{endpoint}", params=query, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert (await web.get(f"/auth/{endpoint}", params=query)).status_code == 405


async def test_4_14_refresh_tokens_rotate_and_a_reused_one_ends_the_whole_family(browser: Browser, world: World):
    first = await tokens_for(browser, world.public, world.patient_user, SCOPE)
    second = (await refresh(browser.http, world.public, first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    replay = await refresh(browser.http, world.public, first["refresh_token"])
    assert (replay.status_code, replay.json()["error"]) == (400, "invalid_grant")
    assert (await refresh(browser.http, world.public, second["refresh_token"])).json()["error"] == "invalid_grant"
    assert await introspected(browser.http, world, second["access_token"]) == {"active": False}


async def test_4_14_of_concurrent_uses_of_a_refresh_token_one_wins_at_most(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.patient_user, SCOPE)
    answers = await asyncio.gather(*(refresh(browser.http, world.public, tokens["refresh_token"]) for _ in range(6)))
    assert sum(answer.status_code == 200 for answer in answers) <= 1
    assert {answer.status_code for answer in answers} <= {200, 400}


async def test_4_14_a_refresh_token_is_bound_to_its_client(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.patient_user, SCOPE)
    answer = await refresh(browser.http, world.trusted, tokens["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert (await refresh(browser.http, world.public, tokens["refresh_token"])).status_code == 200


async def test_2_5_a_confidential_client_has_to_authenticate(browser: Browser, world: World):
    code = await code_for(browser, request_params(world.confidential), world.patient_user)
    for auth in (None, (world.confidential.id, "wrong"), ("nobody", SECRET), (world.confidential.id, "")):
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "client_id": world.confidential.id}
        answer = await browser.http.post("/auth/token", data=form, **({"auth": auth} if auth else {}))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.headers["www-authenticate"].startswith("Basic ")
    assert (await redeem(browser.http, world.confidential, code)).status_code == 200


async def test_2_5_a_client_authenticates_by_one_method_at_a_time(browser: Browser, world: World):
    code = await code_for(browser, request_params(world.confidential), world.patient_user)
    answer = await redeem(browser.http, world.confidential, code, client_secret=SECRET, client_id=world.confidential.id)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_answers_with_tokens_are_not_stored(browser: Browser, world: World):
    code = await code_for(browser, request_params(world.public), world.patient_user)
    answer = await redeem(browser.http, world.public, code)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"


async def test_what_is_kept_of_secrets_is_their_digest(browser: Browser, world: World):
    code = await code_for(browser, request_params(world.public, SCOPE), world.patient_user)
    tokens = (await redeem(browser.http, world.public, code)).json()
    database = world.service.database.mongodb
    kept = ""
    for name in await database.list_collection_names():
        if name.startswith("_auth_"):
            kept += repr([document async for document in database[name].find({})])
    for secret in (code, tokens["refresh_token"], tokens["access_token"], browser.cookies["fhir-session"], SECRET, PASSWORD):
        assert secret not in kept


async def introspected(web: httpx.AsyncClient, world: World, token: str) -> dict[str, Any]:
    answer = await web.post("/auth/introspect", data={"token": token}, auth=(world.ehr.id, SECRET))
    assert answer.status_code == 200, answer.text
    return answer.json()
