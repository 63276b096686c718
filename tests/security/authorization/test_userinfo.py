"""Who a token speaks for: https://openid.net/specs/openid-connect-core-1_0.html#UserInfo."""

from typing import Any

import httpx
import pytest
from auth_world import BASE, ORIGIN, Browser, World, assertion, backend_token, tokens_for
from joserfc import jwt
from joserfc.jwk import KeySet
from pymongo.asynchronous.database import AsyncDatabase
from test_recording import records

from fhir_server.security import tenants
from fhir_server.security.tenants import Tenants

USERINFO = "/auth/userinfo"
ALL = "launch/patient patient/Patient.rs openid fhirUser profile offline_access"


async def asked(web: httpx.AsyncClient, token: str, method: str = "GET") -> httpx.Response:
    """Ask with a token."""
    return await web.request(method, USERINFO, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
async def profiled(world: World) -> World:
    """An app that may know the name of the user."""
    scopes = (*world.public.scopes, "profile")
    await world.service.clients.change(world.public.id, scopes=list(scopes))
    return world


async def test_it_is_found_by_discovery(web: httpx.AsyncClient) -> None:
    """The configuration of OpenID Connect names it."""
    assert (await web.get("/.well-known/openid-configuration")).json()["userinfo_endpoint"] == f"{ORIGIN}{USERINFO}"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_it_says_who_the_user_is(browser: Browser, profiled: World, method: str) -> None:
    """The subject is that of the id token; name and resource come with the scopes that are about them."""
    tokens = await tokens_for(browser, profiled.public, profiled.patient_user, ALL)
    answer = await asked(browser.http, tokens["access_token"], method)
    user = f"{BASE}/Patient/{profiled.patient}"
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.json() == {"sub": profiled.patient_user.id, "fhirUser": user, "profile": user, "name": "Amy"}
    keys = KeySet.import_key_set((await browser.http.get("/auth/jwks.json")).json())
    assert jwt.decode(tokens["id_token"], keys, algorithms=["RS256"]).claims["sub"] == answer.json()["sub"]


async def test_scopes_bound_what_it_says(browser: Browser, profiled: World) -> None:
    """With openid alone there is the subject alone; fhirUser adds the resource, not the name."""
    tokens = await tokens_for(browser, profiled.public, profiled.clinician, "openid user/Patient.rs")
    assert (await asked(browser.http, tokens["access_token"])).json() == {"sub": profiled.clinician.id}
    tokens = await tokens_for(Browser(browser.http), profiled.public, profiled.clinician, "openid fhirUser user/Patient.rs")
    found = (await asked(browser.http, tokens["access_token"])).json()
    assert found == {"sub": profiled.clinician.id, "fhirUser": f"{BASE}/Practitioner/p1"}


async def test_it_takes_the_scope_openid(browser: Browser, world: World, web: httpx.AsyncClient) -> None:
    """Tokens for data alone, and those of services, do not open it."""
    tokens = await tokens_for(browser, world.public, world.patient_user, "launch/patient patient/Patient.rs")
    service = (await backend_token(web, assertion(world.backend))).json()
    for token in (tokens["access_token"], service["access_token"]):
        answer = await asked(web, token)
        assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


async def test_only_good_access_tokens_open_it(
    browser: Browser, world: World, web: httpx.AsyncClient, database: AsyncDatabase[dict[str, Any]]
) -> None:
    """Id tokens, refresh tokens, changed and revoked ones are refused, and what is refused is recorded."""
    tokens = await tokens_for(browser, world.public, world.patient_user, ALL)
    changed = tokens["access_token"][:-4] + "AAAA"
    await web.post("/auth/revoke", data={"token": tokens["access_token"], "client_id": world.public.id})
    bad = (tokens["id_token"], tokens["refresh_token"], changed, tokens["access_token"], "nonsense")
    for token in bad:
        answer = await asked(web, token)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    refused = [one for one in await records(database, world.tenant) if one.kind == "refused"]
    assert [(one.code, one.status, one.detail) for one in refused] == [("token", 401, "invalid_token")] * len(bad)
    assert not any(token in repr(refused) for token in bad)


async def test_without_a_token_it_asks_for_one(web: httpx.AsyncClient) -> None:
    """There is no error code where nothing was sent: RFC 6750, section 3."""
    for headers in ({}, {"Authorization": "Basic eDp5"}):
        answer = await web.get(USERINFO, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_a_token_in_the_url_is_refused(browser: Browser, world: World) -> None:
    """What is in a URL ends up in logs: RFC 9700, section 4.3.2."""
    tokens = await tokens_for(browser, world.public, world.patient_user, ALL)
    answer = await browser.http.get(USERINFO, params={"access_token": tokens["access_token"]})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_users_who_may_not_log_in_any_more_are_nobody(browser: Browser, world: World) -> None:
    """A user that was switched off is told to nobody."""
    tokens = await tokens_for(browser, world.public, world.patient_user, ALL)
    assert (await asked(browser.http, tokens["access_token"])).status_code == 200
    await world.service.users.change(world.patient_user.name, active=False)
    assert (await asked(browser.http, tokens["access_token"])).status_code == 401


async def test_users_of_a_suspended_tenant_are_told_to_nobody(
    browser: Browser, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused like every other request with a token for the tenant."""
    monkeypatch.setattr(tenants, "REFRESH_SECONDS", 0.0)
    tokens = await tokens_for(browser, world.public, world.patient_user, ALL)
    await Tenants(world.service.database).create(world.tenant)
    await Tenants(world.service.database).suspend(world.tenant)
    answer = await asked(browser.http, tokens["access_token"])
    assert (answer.status_code, answer.json()["error"]) == (403, "invalid_token")


async def test_pages_of_registered_apps_may_ask(web: httpx.AsyncClient, world: World) -> None:
    """Apps in browsers get the answer, other pages do not."""
    del world
    mine = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "GET"}
    assert (await web.options(USERINFO, headers=mine)).headers["access-control-allow-origin"] == mine["Origin"]
    answer = await web.get(USERINFO, headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
