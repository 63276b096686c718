"""An authorization server with users, apps and patients of one organisation."""

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from auth_world import BACKEND_KEY, CALLBACK, HASH, SCOPES, SECRET, Browser, World, client_for, make_patients
from joserfc.jwk import KeySet
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.search.index import index_models
from fhir_server.security.authorization import passwords
from fhir_server.security.authorization.clients import Client
from fhir_server.security.authorization.collections import digest
from fhir_server.security.authorization.service import Service
from fhir_server.security.authorization.users import User
from fhir_server.store.database import Database


@pytest.fixture(autouse=True, scope="session")
def cheap_passwords() -> Iterator[None]:
    """Hash passwords in little time; what is tested is not how long it takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        yield


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with the built-in authorization server, and without extensions, whose routes take long to make."""
    return settings.model_copy(update={"auth": "builtin", "extensions": ""})


@pytest.fixture
def service(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> Service:
    """The service beside the one of the application, over the same database."""
    return Service(Database(database, settings, index_models), settings)


@pytest.fixture
async def web(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole application that keeps no cookies."""
    async with client_for(settings, database) as opened:
        yield opened


@pytest.fixture
async def world(service: Service, tenant: str, database: AsyncDatabase[dict[str, Any]], settings: Settings) -> World:
    """Make them."""
    await service.prepare()
    patient, other = await make_patients(settings, database)
    tag = secrets.token_hex(4)

    def client(name: str, **fields: Any) -> Client:
        given = {"redirect_uris": (CALLBACK,), "scopes": SCOPES, **fields}
        return Client(id=f"{name}-{tag}", tenant=tenant, name=f"{name.title()} app", **given)

    made = World(
        service,
        tenant,
        clinician=User(
            f"doctor-{tag}", tenant, display="Dr. Ada", roles=("clinician",), fhir_user="Practitioner/p1", password=HASH
        ),
        patient_user=User(f"amy-{tag}", tenant, display="Amy", roles=("patient",), fhir_user=f"Patient/{patient}", password=HASH),
        public=client("public", launch_url="https://app.example.org/launch"),
        confidential=client("confidential", auth_method="client_secret_basic", secret=digest(SECRET)),
        backend=client(
            "backend",
            auth_method="private_key_jwt",
            grant_types=("client_credentials",),
            scopes=("system/*.rs",),
            redirect_uris=(),
            jwks=KeySet([BACKEND_KEY]).as_dict(private=False),
        ),
        ehr=client("ehr", auth_method="client_secret_basic", secret=digest(SECRET), launches=True, introspects=True),
        trusted=client("trusted", trusted=True),
        patient=patient,
        other_patient=other,
    )
    for user in (made.clinician, made.patient_user):
        await service.users.add(user)
    for one in (made.public, made.confidential, made.backend, made.ehr, made.trusted):
        await service.clients.add(one)
    return made


@pytest.fixture
def browser(web: httpx.AsyncClient) -> Browser:
    """A browser that has not been here before."""
    return Browser(web)
