"""Of a suspended organisation nobody logs in and no app gets tokens: docs/security/tenants.md."""

import httpx
import pytest
from auth_world import Browser, World, assertion, backend_token, code_for, redeem, refresh, request_params, tokens_for

from fhir_server.security import tenants
from fhir_server.security.tenants import Tenants

OFFLINE = "launch/patient patient/Patient.rs offline_access"


@pytest.fixture
async def organisation(world: World, monkeypatch: pytest.MonkeyPatch) -> Tenants:
    """The organisation of the world; what changes of it is known at once."""
    monkeypatch.setattr(tenants, "REFRESH_SECONDS", 0.0)
    found = Tenants(world.service.database)
    await found.create(world.tenant)
    return found


async def test_nobody_logs_in(browser: Browser, world: World, organisation: Tenants) -> None:
    """Who knows the password is told why; who does not learns nothing."""
    await organisation.suspend(world.tenant)
    await browser.authorize(request_params(world.public))
    assert (await browser.log_in(world.patient_user, "not the password")).status_code == 401
    answer = await browser.log_in(world.patient_user)
    assert (answer.status_code, "is suspended here" in answer.text) == (403, True)
    await organisation.suspend(world.tenant, suspended=False)
    await browser.authorize(request_params(world.public))
    assert (await browser.log_in(world.patient_user)).status_code == 200


async def test_who_is_logged_in_sees_no_patients_any_more(browser: Browser, world: World, organisation: Tenants) -> None:
    """Pages ask to log in, as if the session had ended."""
    await browser.authorize(request_params(world.public))
    await browser.log_in(world.clinician)
    assert browser.page is not None
    assert "Amy" in browser.page.text
    await organisation.suspend(world.tenant)
    await browser.authorize(request_params(world.public))
    assert "Amy" not in browser.page.text
    assert "Log in" in browser.page.text


async def test_a_code_gives_no_token(browser: Browser, world: World, organisation: Tenants) -> None:
    """Not even one that was given before."""
    code = await code_for(browser, request_params(world.public), world.patient_user)
    await organisation.suspend(world.tenant)
    answer = await redeem(browser.http, world.public, code)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_refresh_token_is_refused_and_good_again_afterwards(
    browser: Browser, world: World, organisation: Tenants
) -> None:
    """It is not used up by the attempt."""
    tokens = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    await organisation.suspend(world.tenant)
    answer = await refresh(browser.http, world.public, tokens["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    await organisation.suspend(world.tenant, suspended=False)
    assert (await refresh(browser.http, world.public, tokens["refresh_token"])).status_code == 200


async def test_a_service_gets_no_token(web: httpx.AsyncClient, world: World, organisation: Tenants) -> None:
    """Backend services are of an organisation too."""
    await organisation.suspend(world.tenant)
    answer = await backend_token(web, assertion(world.backend))
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
    await organisation.suspend(world.tenant, suspended=False)
    assert (await backend_token(web, assertion(world.backend))).status_code == 200
