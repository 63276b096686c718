"""Dynamic client registration: https://www.rfc-editor.org/rfc/rfc7591."""

import secrets
from typing import Any

import httpx
import pytest
from auth_world import BACKEND_KEY, CALLBACK, Browser, client_for, code_for, redeem, request_params
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from joserfc.jwk import KeySet

from fhir_server.security.authorization.clients import Client

TOKEN = "an initial access token"
APP = {"client_name": "Growth chart", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}


@pytest.fixture
async def open_web(settings, database):
    """A server with which everyone may register."""
    async with client_for(settings.model_copy(update={"auth_registration": "open"}), database) as opened:
        yield opened


@pytest.fixture
async def proxied_web(settings, database):
    """The same behind a proxy, which says who is asking."""
    changes = {"auth_registration": "open", "trusted_proxies": "*"}
    async with client_for(settings.model_copy(update=changes), database) as opened:
        yield opened


async def test_registration_is_off_by_default(web: httpx.AsyncClient):
    assert (await web.post("/auth/register", json=APP)).status_code == 404
    assert "registration_endpoint" not in (await web.get("/fhir/.well-known/smart-configuration")).json()


async def test_an_app_registers_and_launches(open_web: httpx.AsyncClient, world, settings):
    metadata = (await open_web.get("/fhir/.well-known/smart-configuration")).json()
    answer = await open_web.post(
        metadata["registration_endpoint"], json={**APP, "initiate_login_uri": "https://app.example.org/l"}
    )
    found = answer.json()
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "client_secret" not in found
    assert found["redirect_uris"] == [CALLBACK]
    assert found["response_types"] == ["code"]
    client = await world.service.clients.get(found["client_id"])
    assert (client.tenant, client.trusted, client.introspects, client.launches) == (settings.default_tenant, False, False, False)
    assert client.launch_url == "https://app.example.org/l"
    code = await code_for(Browser(open_web), request_params(client), world.patient_user)
    assert (await redeem(open_web, client, code)).status_code == 200


async def test_a_confidential_app_gets_a_secret(open_web: httpx.AsyncClient, world):
    found = (await open_web.post("/auth/register", json={"redirect_uris": [CALLBACK]})).json()
    assert found["token_endpoint_auth_method"] == "client_secret_basic"
    assert found["client_secret_expires_at"] == 0
    client = await world.service.clients.get(found["client_id"])
    code = await code_for(Browser(open_web), request_params(client), world.patient_user)
    assert (await redeem(open_web, client, code, auth=(client.id, found["client_secret"]))).status_code == 200


async def test_who_registers_openly_gets_nothing_of_the_whole_system(open_web: httpx.AsyncClient):
    answer = await open_web.post("/auth/register", json={**APP, "scope": "patient/*.rs system/*.cruds openid nonsense"})
    assert answer.json()["scope"] == "patient/*.rs openid"
    answer = await open_web.post("/auth/register", json={**APP, "grant_types": ["client_credentials"]})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uris": []},
        {"redirect_uris": None},
        {"redirect_uris": "https://app.example.org/callback"},
        {"redirect_uris": [7]},
        {"redirect_uris": ["http://app.example.org/callback"]},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"redirect_uris": ["https://app.example.org/callback#fragment"]},
        {"redirect_uris": ["https://*.example.org/callback"]},
        {"token_endpoint_auth_method": "tls_client_auth"},
        {"token_endpoint_auth_method": 7},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": []}},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks": BACKEND_KEY.as_dict(private=True)},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks": KeySet([BACKEND_KEY]).as_dict(private=True)},
        {"response_types": ["token"]},
        {"grant_types": ["implicit"]},
        {"grant_types": "authorization_code"},
        {"scope": ["openid"]},
        {"initiate_login_uri": "javascript:alert(1)"},
        {"client_name": 7},
    ],
)
async def test_metadata_that_can_not_be_registered_is_refused(open_web: httpx.AsyncClient, changes: dict[str, Any]):
    answer = await open_web.post("/auth/register", json={**APP, **changes})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] in ("invalid_client_metadata", "invalid_redirect_uri")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(
    [
        "redirect_uris",
        "grant_types",
        "response_types",
        "jwks",
        "jwks_uri",
        "scope",
        "client_name",
        "contacts",
        "token_endpoint_auth_method",
        "tos_uri",
        "initiate_login_uri",
        "software_statement",
        "client_uri",
        "logo_uri",
    ]
)


@given(body=st.dictionaries(names, json_values, max_size=5))
@hypothesis_settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_no_metadata_breaks_the_server(proxied_web: httpx.AsyncClient, body: dict[str, Any]):
    headers = {"X-Forwarded-For": f"2001:db8::{secrets.token_hex(2)}:{secrets.token_hex(2)}"}
    answer = await proxied_web.post("/auth/register", json={**APP, **body}, headers=headers)
    assert answer.status_code in (201, 400), answer.text


@pytest.mark.parametrize("body", ["", "[]", "7", "{", '"text"'])
async def test_a_body_that_is_no_object_is_refused(open_web: httpx.AsyncClient, body: str):
    answer = await open_web.post("/auth/register", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")


async def test_with_a_token_only_those_who_have_it_register(settings, database, world):
    changes = {"auth_registration": "token", "auth_registration_token": TOKEN}
    async with client_for(settings.model_copy(update=changes), database) as web:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            answer = await web.post("/auth/register", json=APP, headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (401, "access_denied")
        service = {
            "client_name": "Loader",
            "grant_types": ["client_credentials"],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": KeySet([BACKEND_KEY]).as_dict(private=False),
            "scope": "system/Patient.rs",
        }
        answer = await web.post("/auth/register", json=service, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 201, answer.text
        client = await world.service.clients.get(answer.json()["client_id"])
        assert isinstance(client, Client)
        assert client.scopes == ("system/Patient.rs",)


async def test_an_address_registers_a_few_apps_and_then_has_to_wait(open_web: httpx.AsyncClient):
    statuses = [(await open_web.post("/auth/register", json={})).status_code for _ in range(25)]
    assert statuses[:20] == [400] * 20
    assert 429 in statuses
