"""The keys that tokens are signed with, and what is encrypted under the master key."""

from datetime import UTC, datetime, timedelta

import pytest
from auth_world import World, tokens_for

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import index_models
from fhir_server.security.authorization.collections import KEYS
from fhir_server.security.authorization.keys import OVERLAP, SigningKeys
from fhir_server.security.authorization.sealing import Sealer
from fhir_server.security.authorization.service import BuiltinIssuer, Service
from fhir_server.store.database import Database


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def read(self) -> datetime:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


@pytest.fixture
async def keys(client, settings, tenant, clock):
    """Keys in a database of their own, since all tests share those of the other one."""
    name = f"fhir_keys_{tenant}"
    yield SigningKeys(found := Database(client[name], settings, index_models), Sealer(found), clock.read)
    await client.drop_database(name)


async def test_the_first_key_is_made_once(keys: SigningKeys):
    (first,) = await keys.all()
    assert (await keys.signer()).kid == first.kid
    assert [key.kid for key in await keys.all(fresh=True)] == [first.kid]


async def test_a_new_key_is_published_before_it_signs_and_the_old_one_after_that(keys: SigningKeys, clock: Clock):
    old = (await keys.all())[0].kid
    new = (await keys.rotate(after=timedelta(minutes=10))).kid
    assert [key.kid for key in await keys.all()] == [new, old]
    assert (await keys.signer()).kid == old
    clock.now += timedelta(minutes=10)
    assert (await keys.signer()).kid == new
    assert {key["kid"] for key in (await keys.published())["keys"]} == {new, old}
    clock.now += OVERLAP + timedelta(seconds=1)
    assert [key["kid"] for key in (await keys.published())["keys"]] == [new]


async def test_with_revoke_the_old_keys_are_gone_at_once(keys: SigningKeys):
    await keys.rotate(after=timedelta(minutes=10))
    new = (await keys.rotate(revoke=True)).kid
    assert [key["kid"] for key in (await keys.published())["keys"]] == [new]
    assert (await keys.signer()).kid == new


async def test_other_processes_learn_of_a_new_key(keys: SigningKeys, client, settings, tenant, clock: Clock):
    database = Database(client[f"fhir_keys_{tenant}"], settings, index_models)
    other = SigningKeys(database, Sealer(database), clock.read)
    await other.all()
    await keys.all()
    new = (await keys.rotate()).kid
    clock.now += timedelta(seconds=2)
    assert new not in {key.kid for key in await other.all()}
    assert new in {key.kid for key in await other.all(fresh=True)}


async def test_private_keys_are_encrypted_in_the_database(keys: SigningKeys, client, tenant):
    await keys.signer()
    documents = await client[f"fhir_keys_{tenant}"][KEYS].find().to_list()
    assert len(documents) == 1
    assert b"PRIVATE KEY" not in bytes(documents[0]["sealed"])
    assert set(documents[0]["public"]) == {"kty", "kid", "n", "e", "use", "alg"}


async def test_what_is_sealed_for_one_purpose_does_not_open_for_another(service: Service):
    sealed = await service.sealer.seal(b"secret", "one")
    assert await service.sealer.unseal(sealed, "one") == b"secret"
    for wrong, purpose in ((sealed, "two"), (sealed[:-1] + b"x", "one"), (b"x" * 8 + sealed[8:], "one")):
        with pytest.raises(FhirError) as caught:
            await service.sealer.unseal(wrong, purpose)
        assert caught.value.status == 503


async def test_without_a_master_key_nothing_is_sealed(settings, client, tenant):
    database = Database(client[f"fhir_none_{tenant}"], settings.model_copy(update={"master_key": ""}), index_models)
    with pytest.raises(FhirError) as caught:
        await Sealer(database).seal(b"secret", "one")
    assert caught.value.status == 503


async def test_the_issuer_in_the_process_gives_keys_and_knows_what_was_revoked(browser, world: World):
    issuer = BuiltinIssuer(world.service)
    tokens = await tokens_for(browser, world.public, world.patient_user, "launch/patient patient/*.rs offline_access")
    published = (await browser.http.get("/auth/jwks.json")).json()["keys"]
    assert list(await issuer.keys()) == published
    (grant,) = await world.service.grants.of_user(world.patient_user.id)
    assert await issuer.accepts({"grant": grant.id, "jti": "x"})
    await world.service.grants.revoke(grant.id)
    assert not await issuer.accepts({"grant": grant.id, "jti": "x"})
    assert await issuer.accepts({"jti": "x"})
    assert tokens["token_type"] == "Bearer"
