"""Backend services: https://hl7.org/fhir/smart-app-launch/backend-services.html."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from auth_world import BACKEND_KEY, BASE, ORIGIN, SECRET, World, assertion, backend_token
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from fhir_server.security.authorization.client_keys import ClientKeys, KeySetError
from fhir_server.security.authorization.clients import Client
from fhir_server.security.authorization.fetching import FetchError

OTHER_KEY = RSAKey.generate_key(2048, {"kid": "backend-1"})
EC_KEY = ECKey.generate_key("P-384", {"kid": "ec-1"})


async def test_a_signed_assertion_brings_a_short_token_for_the_whole_tenant(web: httpx.AsyncClient, world: World):
    answer = await backend_token(web, assertion(world.backend))
    tokens = answer.json()
    assert answer.status_code == 200, answer.text
    assert tokens | {"access_token": ""} == {
        "access_token": "",
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "system/Patient.rs",
    }
    keys = KeySet.import_key_set((await web.get("/auth/jwks.json")).json())
    claims = jwt.decode(tokens["access_token"], keys, algorithms=["RS256"]).claims
    assert (claims["sub"], claims["client_id"], claims["tenant"]) == (world.backend.id, world.backend.id, world.tenant)
    assert claims["aud"] == BASE
    assert "patient" not in claims
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    found = (await web.get("/fhir/Patient", headers=headers)).json()
    assert {entry["resource"]["id"] for entry in found["entry"]} == {world.patient, world.other_patient}
    assert (await web.delete(f"/fhir/Patient/{world.patient}", headers=headers)).status_code == 403


async def test_the_audience_may_be_the_issuer(web: httpx.AsyncClient, world: World):
    assert (await backend_token(web, assertion(world.backend, aud=ORIGIN))).status_code == 200


async def test_an_assertion_is_good_once(web: httpx.AsyncClient, world: World):
    signed = assertion(world.backend)
    assert (await backend_token(web, signed)).status_code == 200
    answer = await backend_token(web, signed)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")
    assert answer.json()["error_description"] == "JWT ID is used before."


async def test_es384_is_as_good(web: httpx.AsyncClient, world: World):
    await world.service.clients.change(world.backend.id, jwks=KeySet([EC_KEY]).as_dict(private=False))
    assert (await backend_token(web, assertion(world.backend, EC_KEY, "ES384"))).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody"},
        {"iss": None},
        {"sub": None},
        {"sub": 7},
        {"aud": "https://elsewhere.example/token"},
        {"aud": None},
        {"aud": BASE},
        {"exp": None},
        {"exp": 1},
        {"exp": int(time.time()) + 3600},
        {"exp": "soon"},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"nbf": int(time.time()) + 3000},
    ],
)
async def test_a_claim_that_is_not_as_it_has_to_be_is_refused(web: httpx.AsyncClient, world: World, changes: dict[str, Any]):
    answer = await backend_token(web, assertion(world.backend, **changes))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


async def test_only_the_registered_key_and_its_algorithms_count(web: httpx.AsyncClient, world: World):
    wrong = [
        assertion(world.backend, OTHER_KEY),
        assertion(world.backend, alg="RS256"),
        assertion(world.backend, OctKey.import_key(SECRET, {"kid": "backend-1"}), "HS256"),
        assertion(world.backend, header={"kid": "unknown"}),
        assertion(world.backend, header={"jku": "https://evil.example/jwks.json"}),
        "a.b.c",
        "",
        "é",
    ]
    for signed in wrong:
        answer = await backend_token(web, signed)
        assert answer.json()["error"] == "invalid_client", signed
        assert answer.status_code in (400, 401)


async def test_scopes_beyond_the_registered_ones_fall_away(web: httpx.AsyncClient, world: World):
    asked = "system/Patient.rs system/Patient.cud user/*.rs patient/*.rs openid nonsense"
    assert (await backend_token(web, assertion(world.backend), asked)).json()["scope"] == "system/Patient.rs"
    answer = await backend_token(web, assertion(world.backend), "system/Patient.d")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


async def test_an_app_of_people_gets_no_token_of_its_own(web: httpx.AsyncClient, world: World):
    form = {"grant_type": "client_credentials", "scope": "system/*.rs"}
    answer = await web.post("/auth/token", data=form, auth=(world.confidential.id, SECRET))
    assert (answer.status_code, answer.json()["error"]) in {(400, "invalid_client"), (401, "invalid_client")}
    client = Client(f"app-{world.backend.id}", world.tenant, "App", "private_key_jwt", jwks=world.backend.jwks)
    await world.service.clients.add(client)
    answer = await backend_token(web, assertion(client))
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


async def test_a_backend_service_is_of_one_tenant(web: httpx.AsyncClient, world: World):
    await world.service.clients.change(world.backend.id, tenant="*")
    answer = await backend_token(web, assertion(world.backend))
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


class Keys:
    """A place where a client keeps its keys."""

    def __init__(self) -> None:
        self.found: Any = KeySet([BACKEND_KEY]).as_dict(private=False)
        self.fetched = 0

    async def __call__(self, url: str) -> bytes:
        """Return the key set."""
        assert url == "https://backend.example/jwks.json"
        self.fetched += 1
        if self.found is None:
            raise FetchError("It does not answer.")
        return json.dumps(self.found).encode()


async def test_keys_at_a_url_are_fetched_once_and_again_for_a_new_key(world: World):
    keys, moved = Keys(), timedelta(0)
    client = replace(world.backend, jwks=None, jwks_uri="https://backend.example/jwks.json")
    start = datetime.now(UTC)
    known = ClientKeys(keys, lambda: start + moved)
    for _ in range(3):
        await known.of(client, "backend-1")
    assert keys.fetched == 1
    await known.of(client, "new")
    assert keys.fetched == 1
    moved = timedelta(seconds=15)
    keys.found = KeySet([BACKEND_KEY, EC_KEY]).as_dict(private=False)
    found = await known.of(client, "ec-1")
    assert keys.fetched == 2
    assert {key.kid for key in found.keys} == {"backend-1", "ec-1"}
    moved = timedelta(seconds=400)
    await known.of(client, "ec-1")
    assert keys.fetched == 3


@pytest.mark.parametrize(
    "found",
    [None, {}, [], {"keys": []}, {"keys": [1]}, {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "1"}]}, {"keys": "x"}],
)
async def test_what_is_no_set_of_public_keys_is_not_used(world: World, found: Any):
    keys = Keys()
    keys.found = found
    client = replace(world.backend, jwks=None, jwks_uri="https://backend.example/jwks.json")
    with pytest.raises(KeySetError):
        await ClientKeys(keys, world.service.now).of(client, "backend-1")
