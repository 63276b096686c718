"""The token endpoint: https://www.rfc-editor.org/rfc/rfc6749#section-3.2, and what RFC 7009 and 7662 add."""

import base64
from typing import Any

import httpx
import pytest
from auth_world import (
    BASE,
    ORIGIN,
    SECRET,
    Browser,
    World,
    code_for,
    redeem,
    refresh,
    request_params,
    tokens_for,
)
from joserfc import jwt
from joserfc.jwk import KeySet

OFFLINE = "launch/patient patient/*.rs patient/Patient.u offline_access openid fhirUser"


async def introspected(web: httpx.AsyncClient, token: str, auth: tuple[str, str]) -> dict[str, Any]:
    answer = await web.post("/auth/introspect", data={"token": token}, auth=auth)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_client_with_a_secret_may_send_it_in_the_header_or_in_the_body(browser: Browser, world: World):
    client = world.confidential
    code = await code_for(browser, request_params(client), world.patient_user)
    assert (await redeem(browser.http, client, code)).status_code == 200
    await browser.authorize(request_params(client))
    answer = await browser.allow()
    code = httpx.URL(answer.headers["location"]).params["code"]
    form = {"client_id": client.id, "client_secret": SECRET, "auth": None}
    assert (await redeem(browser.http, client, code, **form)).status_code == 200


async def test_refreshing_gives_new_tokens_for_the_same_patient(browser: Browser, world: World):
    first = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    answer = await refresh(browser.http, world.public, first["refresh_token"])
    second = answer.json()
    assert answer.status_code == 200
    assert second["access_token"] != first["access_token"]
    assert {name: second[name] for name in ("patient", "scope", "expires_in", "token_type")} == {
        name: first[name] for name in ("patient", "scope", "expires_in", "token_type")
    }
    keys = KeySet.import_key_set((await browser.http.get("/auth/jwks.json")).json())
    before, after = (jwt.decode(tokens["id_token"], keys, algorithms=["RS256"]).claims for tokens in (first, second))
    assert (before["sub"], before["auth_time"]) == (after["sub"], after["auth_time"])


async def test_a_refresh_may_ask_for_less_and_the_next_one_for_all_again(browser: Browser, world: World):
    first = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    second = (await refresh(browser.http, world.public, first["refresh_token"], scope="patient/*.rs")).json()
    assert second["scope"] == "patient/*.rs"
    third = (await refresh(browser.http, world.public, second["refresh_token"])).json()
    assert third["scope"] == first["scope"]


async def test_a_refresh_may_not_ask_for_more_and_loses_nothing_by_it(browser: Browser, world: World):
    first = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    answer = await refresh(browser.http, world.public, first["refresh_token"], scope="patient/*.rs user/*.rs")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    assert (await refresh(browser.http, world.public, first["refresh_token"])).status_code == 200


async def test_a_public_client_is_known_by_its_refresh_token(browser: Browser, world: World):
    first = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    assert (await browser.http.post("/auth/token", data=form)).status_code == 200
    replay = await browser.http.post("/auth/token", data=form)
    assert (replay.status_code, replay.json()["error"]) == (400, "invalid_grant")


async def test_a_confidential_client_is_not_known_by_its_refresh_token(browser: Browser, world: World):
    first = await tokens_for(browser, world.confidential, world.patient_user, OFFLINE)
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    answer = await browser.http.post("/auth/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    answer = await browser.http.post("/auth/token", data={**form, "client_id": world.confidential.id})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    answer = await browser.http.post("/auth/token", data=form, auth=(world.confidential.id, SECRET))
    assert answer.status_code == 200


async def test_access_while_logged_in_ends_with_the_login(browser: Browser, world: World):
    scope = "launch/patient patient/*.rs online_access"
    first = await tokens_for(browser, world.public, world.patient_user, scope)
    second = (await refresh(browser.http, world.public, first["refresh_token"])).json()
    await browser.go("GET", "/auth/manage")
    await browser.submit("logout")
    answer = await refresh(browser.http, world.public, second["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_offline_access_does_not_end_with_the_login(browser: Browser, world: World):
    first = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    await browser.go("GET", "/auth/manage")
    await browser.submit("logout")
    assert (await refresh(browser.http, world.public, first["refresh_token"])).status_code == 200


async def test_a_user_who_is_switched_off_gets_no_new_tokens(browser: Browser, world: World):
    first = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    await world.service.users.change(world.patient_user.name, active=False)
    answer = await refresh(browser.http, world.public, first["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_scope_that_the_client_lost_is_gone_with_the_next_refresh(browser: Browser, world: World):
    first = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    await world.service.clients.change(world.public.id, scopes=["patient/Patient.rs", "patient/*.rs", "offline_access"])
    second = (await refresh(browser.http, world.public, first["refresh_token"])).json()
    assert second["scope"] == "patient/*.rs offline_access"


async def test_revoking_a_refresh_token_ends_the_access_tokens_too(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    form = {"token": tokens["refresh_token"], "client_id": world.public.id}
    assert (await browser.http.post("/auth/revoke", data=form)).status_code == 200
    ehr = (world.ehr.id, SECRET)
    assert await introspected(browser.http, tokens["access_token"], ehr) == {"active": False}
    assert await introspected(browser.http, tokens["refresh_token"], ehr) == {"active": False}
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await browser.http.get(f"/fhir/Patient/{world.patient}", headers=headers)).status_code == 401
    assert (await browser.http.post("/auth/revoke", data=form)).status_code == 200


async def test_revoking_an_access_token_ends_only_that_one(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    form = {"token": tokens["access_token"], "token_type_hint": "refresh_token", "client_id": world.public.id}
    assert (await browser.http.post("/auth/revoke", data=form)).status_code == 200
    assert await introspected(browser.http, tokens["access_token"], (world.ehr.id, SECRET)) == {"active": False}
    assert (await refresh(browser.http, world.public, tokens["refresh_token"])).status_code == 200


async def test_nobody_revokes_the_token_of_another_client(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    form = {"token": tokens["refresh_token"], "client_id": world.trusted.id}
    answer = await browser.http.post("/auth/revoke", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert (await refresh(browser.http, world.public, tokens["refresh_token"])).status_code == 200


async def test_introspection_tells_a_resource_server_what_smart_names(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    found = await introspected(browser.http, tokens["access_token"], (world.ehr.id, SECRET))
    assert found["exp"] - found["iat"] == 600
    assert found | {"exp": 0, "iat": 0, "jti": ""} == {
        "active": True,
        "scope": OFFLINE,
        "client_id": world.public.id,
        "sub": world.patient_user.id,
        "aud": BASE,
        "iss": ORIGIN,
        "exp": 0,
        "iat": 0,
        "jti": "",
        "tenant": world.tenant,
        "roles": ["patient"],
        "patient": world.patient,
        "fhirUser": f"{BASE}/Patient/{world.patient}",
        "token_type": "Bearer",
    }
    refresh_token = await introspected(browser.http, tokens["refresh_token"], (world.ehr.id, SECRET))
    assert (refresh_token["active"], refresh_token["scope"]) == (True, OFFLINE)


async def test_other_clients_learn_nothing_by_introspection(browser: Browser, world: World):
    tokens = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    assert await introspected(browser.http, tokens["access_token"], (world.confidential.id, SECRET)) == {"active": False}
    await world.service.clients.change(world.ehr.id, tenant="another")
    assert await introspected(browser.http, tokens["access_token"], (world.ehr.id, SECRET)) == {"active": False}


async def test_introspection_needs_a_client_that_authenticates(browser: Browser, world: World):
    answer = await browser.http.post("/auth/introspect", data={"token": "t", "client_id": world.public.id})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("token", ["", "a.b.c", "x" * 3000, "é", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."])
async def test_what_is_no_token_of_ours_is_not_active(web: httpx.AsyncClient, world: World, token: str):
    answer = await web.post("/auth/introspect", data={"token": token}, auth=(world.ehr.id, SECRET))
    if token:
        assert (answer.status_code, answer.json()) == (200, {"active": False})
    else:
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "header",
    ["Basic", "Basic !!!", "Basic " + base64.b64encode(b"\xff\xfe").decode(), "Basic " + base64.b64encode(b'"\\:"\\').decode()],
)
async def test_authorization_that_can_not_be_read_is_no_failure_of_the_server(web: httpx.AsyncClient, header: str):
    form = {"grant_type": "authorization_code", "code": "c"}
    answer = await web.post("/auth/token", data=form, headers={"Authorization": header})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("grant_type", ["", "implicit", 'a"b', "é", "urn:ietf:params:oauth:grant-type:jwt-bearer"])
async def test_a_grant_type_that_is_not_known_is_refused(web: httpx.AsyncClient, world: World, grant_type: str):
    answer = await web.post("/auth/token", data={"grant_type": grant_type, "client_id": world.public.id})
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")


async def test_only_forms_are_read(web: httpx.AsyncClient):
    answer = await web.post("/auth/token", json={"grant_type": "authorization_code"})
    assert (answer.status_code, answer.json()["error"]) == (415, "invalid_request")
    answer = await web.post("/auth/token", data={"grant_type": "x" * 70_000})
    assert (answer.status_code, answer.json()["error"]) == (413, "invalid_request")
    answer = await web.post("/auth/token", content="a=1&a=2", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
