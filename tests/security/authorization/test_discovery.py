"""What clients find out: https://hl7.org/fhir/smart-app-launch/conformance.html, and which pages may call this server."""

import httpx
import pytest
from auth_world import BASE, CALLBACK, ORIGIN, World, client_for

from fhir_server.config import Settings
from fhir_server.security.authorization.place import Place

APP = "https://app.example.org"


async def test_smart_configuration_is_below_the_base_and_at_the_issuer(web: httpx.AsyncClient):
    below = await web.get("/fhir/.well-known/smart-configuration")
    assert below.status_code == 200
    assert below.headers["content-type"] == "application/json"
    found = below.json()
    assert found == (await web.get("/.well-known/smart-configuration")).json()
    assert found["issuer"] == ORIGIN
    assert found["authorization_endpoint"] == f"{ORIGIN}/auth/authorize"
    assert found["token_endpoint"] == f"{ORIGIN}/auth/token"
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["grant_types_supported"] == ["authorization_code", "refresh_token", "client_credentials"]
    assert found["token_endpoint_auth_signing_alg_values_supported"] == ["RS384", "ES384"]
    assert {"launch-ehr", "launch-standalone", "sso-openid-connect", "permission-v2"} <= set(found["capabilities"])


async def test_openid_configuration_is_there_too_and_its_keys_can_be_fetched(web: httpx.AsyncClient):
    found = (await web.get("/.well-known/openid-configuration")).json()
    assert found == (await web.get("/fhir/.well-known/openid-configuration")).json()
    assert found == (await web.get("/.well-known/oauth-authorization-server")).json()
    assert found["id_token_signing_alg_values_supported"] == ["RS256"]
    keys = (await web.get(found["jwks_uri"])).json()["keys"]
    assert len(keys) == 1
    assert {"kty", "kid", "n", "e", "use", "alg"} == set(keys[0])
    assert keys[0]["kty"] == "RSA"


async def test_all_endpoints_that_are_named_exist(web: httpx.AsyncClient):
    found = (await web.get("/fhir/.well-known/smart-configuration")).json()
    for name, url in found.items():
        if name.endswith("_endpoint"):
            assert (await web.options(url)).status_code == 405, name


async def test_the_capability_statement_names_the_endpoints(web: httpx.AsyncClient):
    statement = (await web.get("/fhir/metadata")).json()
    security = statement["rest"][0]["security"]
    assert security["service"][0]["coding"][0]["code"] == "SMART-on-FHIR"
    uris = {found["url"]: found["valueUri"] for found in security["extension"][0]["extension"]}
    assert uris["authorize"] == f"{ORIGIN}/auth/authorize"
    assert uris["token"] == f"{ORIGIN}/auth/token"
    assert security["cors"] is True


async def test_without_the_setting_nothing_of_it_is_there(settings: Settings, database):
    async with client_for(settings.model_copy(update={"auth": "off"}), database) as web:
        assert (await web.get("/fhir/.well-known/smart-configuration")).status_code == 404
        assert (await web.get("/auth/authorize")).status_code == 404
        assert (await web.get("/fhir/metadata")).json()["rest"][0]["security"] == {"cors": False}


def test_urls_come_from_the_settings_and_not_from_requests(settings: Settings):
    behind = settings.model_copy(update={"base_url": "https://ehr.example.org/r4/fhir/"})
    assert Place.of(behind) == Place("https://ehr.example.org/r4", "https://ehr.example.org/r4/fhir", fixed=True)
    elsewhere = behind.model_copy(update={"auth_issuer": "https://login.example.org/"})
    assert Place.of(elsewhere).issuer == "https://login.example.org"
    assert Place.of(settings.model_copy(update={"host": "::1"})).base == "http://[::1]:8080/fhir"


@pytest.mark.parametrize(
    ("url", "same"),
    [
        (BASE, True),
        (BASE + "/", True),
        ("http://localhost:8080/fhir", True),
        ("http://[::1]:8080/fhir", True),
        ("http://127.0.0.1:8081/fhir", False),
        ("https://127.0.0.1:8080/fhir", False),
        ("http://evil.example:8080/fhir", False),
        ("http://127.0.0.1:8080/fhir/Patient", False),
        ("http://127.0.0.1:99999/fhir", False),
        ("", False),
    ],
)
def test_loopback_has_several_names(settings: Settings, url: str, same: bool):
    assert Place.of(settings).is_base(url) is same


def test_a_base_that_was_set_has_one_name(settings: Settings):
    place = Place.of(settings.model_copy(update={"base_url": BASE}))
    assert place.is_base(BASE)
    assert not place.is_base("http://localhost:8080/fhir")


async def test_a_host_header_does_not_change_where_people_are_sent(web: httpx.AsyncClient):
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    found = (await web.get("/fhir/.well-known/smart-configuration", headers=headers)).json()
    assert found["authorization_endpoint"] == f"{ORIGIN}/auth/authorize"


async def test_every_page_may_read_the_discovery_documents(web: httpx.AsyncClient):
    for path in ("/fhir/.well-known/smart-configuration", "/auth/jwks.json", "/fhir/metadata"):
        answer = await web.get(path, headers={"Origin": "https://anybody.example"})
        assert answer.headers["access-control-allow-origin"] == "https://anybody.example"
        assert "access-control-allow-credentials" not in answer.headers


async def test_the_pages_of_registered_apps_may_call_the_endpoints_and_the_fhir_service(web: httpx.AsyncClient, world: World):
    assert CALLBACK.startswith(APP)
    for path in ("/auth/token", "/auth/revoke", "/fhir/Patient", f"/fhir/Patient/{world.patient}"):
        asked = {"Origin": APP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        answer = await web.options(path, headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == APP
        assert answer.headers["access-control-allow-headers"] == "authorization"
    answer = await web.get("/fhir/Patient", headers={"Origin": APP})
    assert answer.headers["access-control-allow-origin"] == APP
    assert "Origin" in answer.headers["vary"]


async def test_the_pages_of_others_may_not(web: httpx.AsyncClient, world: World):
    await world.service.clients.change(world.public.id, active=True)
    for origin in ("https://evil.example", "http://app.example.org", "https://app.example.org:8443", "null"):
        answer = await web.get("/fhir/Patient", headers={"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers


async def test_the_pages_for_people_are_for_no_other_site(web: httpx.AsyncClient, world: World):
    for path in ("/auth/authorize", "/auth/manage", f"/auth/flow/{world.patient}"):
        answer = await web.get(path, headers={"Origin": APP})
        assert "access-control-allow-origin" not in answer.headers
