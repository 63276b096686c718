"""Each line about a request to the authorization server says of which tenant it is, once that is known."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from auth_world import (
    BASE,
    SECRET,
    Browser,
    World,
    assertion,
    backend_token,
    client_for,
    refresh,
    tokens_for,
)
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from tests.logged import Logged, logged

OFFLINE = "launch/patient patient/*.rs offline_access openid fhirUser"


@pytest.fixture
def log(settings: Settings, world: World) -> Iterator[Logged]:
    """What is logged from when the world is there."""
    del world
    with logged(settings) as output:
        yield output


@pytest.fixture
async def web(settings: Settings, database: AsyncDatabase[dict[str, Any]], log: Logged) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that was made when logging was configured."""
    del log
    async with client_for(settings, database) as opened:
        yield opened


def of_nobody(log: Logged, since: int = 0) -> list[dict[str, Any]]:
    """Return the lines that name no tenant."""
    return [line for line in log.lines()[since:] if not line.get("tenant")]


async def test_programs_that_are_known(web: httpx.AsyncClient, world: World, log: Logged, tenant: str) -> None:
    """Tokens that are given, renewed, looked at and revoked, launches, and what is read with a token."""
    browser = Browser(web)
    given = await tokens_for(browser, world.public, world.patient_user, OFFLINE)
    began = len(log.lines())
    answers = [
        await refresh(web, world.public, given["refresh_token"]),
        await web.post("/auth/introspect", data={"token": given["access_token"]}, auth=(world.confidential.id, SECRET)),
        await web.get("/auth/userinfo", headers={"Authorization": f"Bearer {given['access_token']}"}),
        await backend_token(web, assertion(world.backend)),
        await backend_token(web, assertion(world.backend), "user/*.rs"),
        await web.post("/auth/launch", data={"patient": world.patient}, auth=(world.ehr.id, SECRET)),
        await web.get(f"{BASE}/Patient/{world.patient}", headers={"Authorization": f"Bearer {given['access_token']}"}),
        await web.post("/auth/revoke", data={"token": given["access_token"], "client_id": world.public.id}),
        await refresh(web, world.public, given["refresh_token"]),
        await web.get(f"{BASE}/Patient/{world.patient}", headers={"Authorization": "Bearer of nobody"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 400, 201, 200, 200, 400, 401]
    requests = [line for line in log.lines()[began:] if line["event"] == "request"]
    assert len(requests) == len(answers)
    assert [line["status"] for line in of_nobody(log, began)] == [401]
    assert {line["tenant"] for line in requests if line["tenant"]} == {tenant}


async def test_people_who_log_in(web: httpx.AsyncClient, world: World, log: Logged, tenant: str) -> None:
    """From the moment in which a name is somebody's, all lines have the tenant."""
    browser = Browser(web)
    await browser.go("GET", "/auth/manage")
    await browser.log_in(world.clinician, "a wrong password")
    await browser.log_in(world.clinician)
    await browser.go("GET", "/auth/manage")
    lines = log.lines()
    assert {line["event"] for line in lines} == {"request", "a login failed", "somebody logged in"}
    assert [(line["event"], line["method"]) for line in of_nobody(log)] == [("request", "GET")]
    assert {line["tenant"] for line in lines if line.get("tenant")} == {tenant}


async def test_who_is_nobody_has_no_tenant(web: httpx.AsyncClient, world: World, log: Logged) -> None:
    """Refusals of what is not known."""
    browser = Browser(web)
    await browser.go("GET", "/auth/manage")
    await browser.submit("login", name="nobody", password="a wrong password")
    await web.post("/auth/token", data={"grant_type": "refresh_token", "refresh_token": "x", "client_id": "unknown"})
    await web.get(f"{BASE}/Patient/{world.patient}", headers={"Authorization": "Bearer wrong"})
    assert {line["event"] for line in log.lines()} == {"request", "a login failed"}
    assert of_nobody(log) == log.lines()
