"""How many requests a client may send."""

from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.web.rates import LocalRates, Rates, SharedRates
from tests.conftest import client_of
from tests.security.authz_server import AuthServer, StaticIssuer, default_settings


async def test_so_many_at_once_and_then_one_for_each_part_of_a_minute() -> None:
    """A key that waited may send again; others are not held up."""
    now = [1000.0]
    rates = LocalRates(6, lambda: now[0])
    assert [await rates.take("a") for _ in range(6)] == [0] * 6
    assert await rates.take("a") == 10
    assert await rates.take("b") == 0
    now[0] += 10
    assert [await rates.take("a") for _ in range(2)] == [0, 10]
    now[0] += 3600
    assert [await rates.take("a") for _ in range(7)] == [0] * 6 + [10]


async def test_processes_share_what_they_count(redis_url: str, tenant: str) -> None:
    """Two processes with one Valkey allow together what one would allow."""
    one, other = (SharedRates(redis_url, tenant, 4) for _ in range(2))
    taken = [await rates.take("a") for rates in (one, other, one, other, one, other)]
    assert taken[:4] == [0] * 4
    assert all(14 < wait <= 15 for wait in taken[4:])
    assert await one.take("b") == 0
    for rates in (one, other):
        await rates.close()


async def test_each_process_counts_alone_while_valkey_is_away(tenant: str) -> None:
    """Who can not count together still counts."""
    rates: Rates = SharedRates("redis://127.0.0.1:1", tenant, 2)
    taken = [await rates.take("a") for _ in range(3)]
    assert taken[:2] == [0, 0]
    assert taken[2] > 29
    await rates.close()


async def test_too_many_requests_are_refused_with_the_time_to_wait(
    settings: Settings, database: AsyncDatabase[dict[str, Any]]
) -> None:
    """429 has Retry-After and an OperationOutcome; what everybody may read is not counted."""
    async with client_of(settings.model_copy(update={"rate_limit": 3}), database) as http:
        answers = [await http.get("Patient") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[3].headers["retry-after"] == "20"
        assert answers[3].json()["issue"][0]["code"] == "throttled"
        assert (await http.get("metadata")).status_code == 200
        assert (await http.get("http://test/api/v1/prm/patients")).status_code == 429


async def test_people_are_counted_by_app_and_user(tenant: str, mongodb_uri: str, database: AsyncDatabase[dict[str, Any]]) -> None:
    """What one sends does not hold up another from the same address."""
    server = AuthServer(default_settings(tenant, mongodb_uri, rate_limit=1), database)
    ada, eve = (server.client({"sub": name, "scope": "user/*.rs", "roles": ["read_only"]}) for name in ("ada", "eve"))
    assert [(await one.get("Patient")).status_code for one in (ada, ada, eve)] == [200, 429, 200]


@pytest.fixture
def guarded(tenant: str, mongodb_uri: str, database: AsyncDatabase[dict[str, Any]]) -> AuthServer:
    """A server that looks at few bad tokens."""
    return AuthServer(default_settings(tenant, mongodb_uri, rate_bad_tokens=2), database, StaticIssuer())


async def test_bad_tokens_are_not_looked_at_for_ever(guarded: AuthServer) -> None:
    """After some, unknown tokens from the address wait; who is known goes on."""
    known: httpx.AsyncClient = guarded.client({"sub": "ada", "scope": "user/*.rs", "roles": ["read_only"]})
    assert (await known.get("Patient")).status_code == 200
    statuses = [(await guarded.client(bearer=f"bad-{number}").get("Patient")).status_code for number in range(4)]
    assert statuses == [401, 401, 429, 429]
    assert (await known.get("Patient")).status_code == 200
    asked = guarded.issuer.asked
    fresh = guarded.client({"sub": "eve", "scope": "user/*.rs", "roles": ["read_only"]})
    assert (await fresh.get("Patient")).status_code == 429
    assert guarded.issuer.asked == asked


async def test_the_same_bad_token_is_verified_once(guarded: AuthServer) -> None:
    """A refused token is remembered for some seconds."""
    bad = guarded.client({"sub": "ada", "aud": "another"})
    assert [(await bad.get("Patient")).status_code for _ in range(2)] == [401, 401]
    assert guarded.issuer.asked == 1
