"""What is remembered of who asks is in force only as long as it would be found anew: docs/security/authentication.md."""

import time
from typing import Any

import httpx
import pytest

from fhir_server.security.tenants import REFRESH_SECONDS, Tenants
from fhir_server.store.redirects import redirects_of
from tests.security.authz_server import AuthServer, default_settings, token

CLINICIAN = {"sub": "ada", "scope": "user/*.cruds", "roles": ["admin"]}


@pytest.fixture
def server(tenant: str, mongodb_uri: str, database: Any) -> AuthServer:
    """A server that asks for tokens."""
    return AuthServer(default_settings(tenant, mongodb_uri), database)


def later(server: AuthServer, seconds: float) -> None:
    """Let time pass for what is known of tenants."""
    server.tenants.clock = lambda: time.monotonic() + seconds


async def status(client: httpx.AsyncClient, path: str = "Patient/absent") -> int:
    """Return the status of a read."""
    return (await client.get(path)).status_code


async def test_a_token_is_verified_once(server: AuthServer) -> None:
    """Many requests with one token ask the issuer once."""
    ada = server.client(CLINICIAN)
    assert [await status(ada) for _ in range(5)] == [404] * 5
    assert server.issuer.asked == 1


async def test_a_suspension_is_noticed_by_who_is_known(server: AuthServer, tenant: str) -> None:
    """A tenant that is suspended is closed to tokens that were let in before, five seconds later at most."""
    ada = server.client(CLINICIAN)
    assert await status(ada) == 404
    await Tenants(server.database).suspend(tenant)
    later(server, REFRESH_SECONDS)
    assert await status(ada) == 403
    await Tenants(server.database).suspend(tenant, suspended=False)
    later(server, 2 * REFRESH_SECONDS)
    assert await status(ada) == 404


async def test_an_expired_token_is_refused_although_it_was_known(server: AuthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of a token ends with the token."""
    bearer = token(CLINICIAN | {"tenant": server.settings.default_tenant, "exp": int(time.time()) + 2})
    ada = server.client(bearer=bearer)
    assert await status(ada) == 404
    tokens = server.app._authentication._tokens  # type: ignore[union-attr]
    monkeypatch.setattr(tokens, "_now", lambda: time.time() + 3600)
    assert await status(ada) == 401


async def test_a_changed_policy_binds_who_is_known(tenant: str, mongodb_uri: str, database: Any, tmp_path: Any) -> None:
    """A role that is taken away in the policy is gone for tokens that were let in before."""
    path = tmp_path / "default.yaml"
    path.write_text("version: 1\nroles:\n  nurse:\n    rules:\n      - {types: [Patient], allow: rs}\n")
    server = AuthServer(default_settings(tenant, mongodb_uri, policy_dir=tmp_path), database)
    nurse = server.client({"sub": "nan", "scope": "user/*.cruds", "roles": ["nurse"]})
    assert [await status(nurse), await status(nurse)] == [404, 404]
    path.write_text("version: 1\nroles:\n  nurse:\n    rules:\n      - {types: [Practitioner], allow: rs}\n")
    policies = server.app._authentication._policies  # type: ignore[union-attr]
    policies._clock = lambda: time.monotonic() + 10
    assert [await status(nurse), await status(nurse)] == [403, 403]
    assert await status(nurse, "Practitioner/absent") == 404


async def test_breaking_the_glass_is_judged_each_time(server: AuthServer) -> None:
    """A reason that is too short is refused also from who is known, and one that is given holds for its request only."""
    ada = server.client(CLINICIAN | {"roles": ["clinician"]})
    assert await status(ada) == 404
    assert (await ada.get("Patient/absent", headers={"X-Break-Glass": "short"})).status_code == 400
    assert (await ada.get("Patient/absent", headers={"X-Break-Glass": "an emergency in room 4"})).status_code == 404
    assert await status(ada) == 404


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_may_be_written_in_any_case(server: AuthServer, scheme: str) -> None:
    """https://www.rfc-editor.org/rfc/rfc9110#section-11.1: schemes are compared without case."""
    bearer = token(CLINICIAN | {"tenant": server.settings.default_tenant})
    client = server.client(Authorization=f"{scheme} {bearer}")
    assert [await status(client), await status(client)] == [404, 404]


async def test_a_merge_leads_a_known_patient_to_the_survivor(server: AuthServer) -> None:
    """The app of a patient who has been merged sees the record of the survivor, also where it asked before."""
    ada = server.client(CLINICIAN)
    ids = [(await ada.post("Patient", json={"resourceType": "Patient", "gender": one})).json()["id"] for one in ("male", "other")]
    app = server.client({"sub": "app", "scope": "patient/*.rs", "patient": ids[0]})
    assert [await status(app, f"Patient/{one}") for one in (ids[0], ids[0], ids[1])] == [200, 200, 404]
    merge = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "source-patient", "valueReference": {"reference": f"Patient/{ids[0]}"}},
            {"name": "target-patient", "valueReference": {"reference": f"Patient/{ids[1]}"}},
        ],
    }
    assert (await ada.post("Patient/$merge", json=merge)).status_code == 200
    assert not redirects_of(server.database).idle(server.settings.default_tenant)
    assert await status(app, f"Patient/{ids[1]}") == 200
