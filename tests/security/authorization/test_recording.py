"""What the authorization server leaves in the audit trail: docs/security/audit.md."""

import re
from typing import Any

import httpx
from auth_world import PASSWORD, Browser, World, request_params, tokens_for
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.security.audit.event import audit_event
from fhir_server.security.audit.record import Place
from fhir_server.security.authorization.users import User
from tests.security.trail_reading import records


async def test_logins_and_failed_ones_are_recorded(
    browser: Browser, world: World, database: AsyncDatabase[dict[str, Any]]
) -> None:
    """A wrong password, an unknown name and a login leave their records, never what was entered."""
    await browser.authorize(request_params(world.public))
    await browser.submit("login", name=world.clinician.name, password="not the password")
    await browser.authorize(request_params(world.public))
    await browser.submit("login", name="nobody@example.org", password="not the password")
    await browser.authorize(request_params(world.public))
    await browser.submit("login", name=world.clinician.name, password=PASSWORD)
    found = [one for one in await records(database, world.tenant) if one.code == "login"]
    assert [(one.kind, one.status, one.principal) for one in found] == [
        ("login", 401, world.clinician.id),
        ("refused", 401, ""),
        ("login", 200, world.clinician.id),
    ]
    assert all(one.address.startswith("2001:db8::") for one in found)
    assert "nobody@example.org" not in repr(found)
    assert "password" not in repr(found).replace("detail='password'", "")


async def test_refused_tokens_are_recorded(web: httpx.AsyncClient, world: World, database: AsyncDatabase[dict[str, Any]]) -> None:
    """A code that nobody gave out leaves a record with the error, without the code."""
    body = {"grant_type": "authorization_code", "code": "made-up-code", "client_id": world.public.id}
    assert (await web.post("/auth/token", data=body)).status_code == 400
    (one,) = await records(database, world.tenant)
    assert (one.kind, one.code, one.status) == ("refused", "token", 400)
    assert "made-up-code" not in repr(one)


async def test_tokens_are_recorded_in_the_organisation_of_their_user(
    browser: Browser, world: World, database: AsyncDatabase[dict[str, Any]]
) -> None:
    """An organisation that is not the default one finds in its own trail who got tokens, and a logout with its address."""
    north = f"{world.tenant}-north"
    await world.service.users.change(world.patient_user.name, tenant=north, fhir_user="")
    await world.service.clients.change(world.public.id, tenant=north)
    await tokens_for(browser, world.public, await _again(world), "openid")
    await browser.go("GET", "/auth/manage")
    await browser.submit("logout")
    found = await records(database, north)
    assert [(one.kind, one.code, one.principal, one.client) for one in found[-2:]] == [
        ("login", "token", world.patient_user.id, world.public.id),
        ("logout", "logout", world.patient_user.id, ""),
    ]
    assert all(one.address.startswith("2001:db8::") and one.request_id for one in found)
    assert not [one for one in await records(database, world.tenant) if one.code == "token"]


async def test_what_people_allow_and_change_is_recorded(
    browser: Browser, world: World, database: AsyncDatabase[dict[str, Any]]
) -> None:
    """An app that is let in, one that is sent away, and a new password leave events, without the password."""
    scope = "launch/patient patient/Patient.rs"
    await tokens_for(browser, world.public, world.patient_user, scope)
    await browser.go("GET", "/auth/manage")
    assert browser.page is not None
    await browser.submit("revoke", grant=re.findall(r'name="grant" value="([^"]+)"', browser.page.text)[0])
    await browser.submit("password", old=PASSWORD, new="another good password")
    found = [one for one in await records(database, world.tenant) if one.kind == "account"]
    user, app = world.patient_user.id, world.public.id
    assert [(one.code, one.principal, one.client, one.detail) for one in found] == [
        ("consent", user, app, scope),
        ("revoke", user, app, scope),
        ("password", user, "", ""),
    ]
    assert all(one.address and one.request_id for one in found)
    assert "another good" not in repr(found)
    events = [audit_event(one, Place(one.at, "00000000", 0), 0, "http://x/fhir") for one in found]
    assert [(one["subtype"][0]["code"], one["action"]) for one in events] == [("110136", "C"), ("110136", "D"), ("110137", "U")]
    assert [one.get("outcomeDesc", "") for one in events] == [scope, scope, ""]


async def _again(world: World) -> User:
    user = await world.service.users.named(world.patient_user.name)
    assert user is not None
    return user
