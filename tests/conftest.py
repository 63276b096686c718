"""One embedded MongoDB and one embedded Valkey for the whole run, and what tests make of them.

The database is real and shared, also between xdist workers, so that collections and indexes are made once. Tests are
kept apart by `tenant`, which is a new one for each test. The same holds for Valkey, whose keys tests name by the tenant.
"""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pymongo
import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.store.database import connect
from fhir_server.store.embedded import EmbeddedMongod
from fhir_server.store.valkey import EmbeddedValkey
from tests.media_servers import ACCESS_KEY, BUCKET, SECRET_KEY, shared, start_clamd, start_s3, stop_all

pytest_plugins = ["tests.leaks"]
_URI = "FHIR_TEST_MONGODB_URI"
_REDIS = "FHIR_TEST_REDIS_URL"
_DATABASE = "fhir_test"
_MEMORY_NEEDED = 4 * 2**30
MASTER_KEY = "dGhlIG1hc3RlciBrZXkgb2YgdGVzdHMsIDMyIGJ5dGU="
_OWNED = pytest.StashKey[tuple[EmbeddedMongod, Path]]()
_OWNED_VALKEY = pytest.StashKey[tuple[EmbeddedValkey, Path]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start `mongod` and Valkey in the controlling process; xdist workers inherit their addresses by the environment."""
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    # Tests start a hundred processes, each of which would compile the whole server anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # Of tests of media: they start what they need there (tests/media_servers.py).
    os.environ["FHIR_TEST_MEDIA_DIRECTORY"] = tempfile.mkdtemp(prefix="fhir-test-media-")
    os.environ["FHIR_TEST_MEDIA_OWNER"] = str(os.getpid())
    if _REDIS not in os.environ:
        directory = Path(tempfile.mkdtemp(prefix="fhir-test-"))
        valkey = EmbeddedValkey(directory)
        config.stash[_OWNED_VALKEY] = (valkey, directory)
        os.environ[_REDIS] = valkey.start().url
    if uri := os.environ.get(_URI):
        pymongo.MongoClient[dict[str, Any]](uri).drop_database(_DATABASE)
        return
    directory = Path(tempfile.mkdtemp(prefix="fhir-test-", dir=_memory()))
    mongod = EmbeddedMongod(directory, cache_mb=256, oplog_mb=256)
    config.stash[_OWNED] = (mongod, directory)
    os.environ[_URI] = mongod.start().uri


def _memory() -> Path | None:
    """Return where files are kept in memory, None where there is no such place or it is too small.

    Each write waits until MongoDB has it on disk, which is most of the time of many tests, and this one nobody kills.
    """
    place = Path("/dev/shm")
    _remove_orphans(place)
    roomy = place.is_dir() and min(shutil.disk_usage(place).free, psutil.virtual_memory().available) > _MEMORY_NEEDED
    return place if roomy else None


def _remove_orphans(place: Path) -> None:
    """Remove what runs that were killed have left in memory; whoever still runs holds the lock of its directory."""
    for lock in place.glob("fhir-test-*/owner.lock"):
        with contextlib.suppress(OSError), lock.open("r+b") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop them, also after an interrupted run."""
    if os.environ.get("FHIR_TEST_MEDIA_OWNER") == str(os.getpid()):
        stop_all(Path(os.environ.pop("FHIR_TEST_MEDIA_DIRECTORY")))
        del os.environ["FHIR_TEST_MEDIA_OWNER"]
    owned_valkey = config.stash.get(_OWNED_VALKEY, None)
    if owned_valkey is not None:
        del config.stash[_OWNED_VALKEY]
        os.environ.pop(_REDIS, None)
        owned_valkey[0].stop()
        shutil.rmtree(owned_valkey[1], ignore_errors=True)
    owned = config.stash.get(_OWNED, None)
    if owned is None:
        return
    del config.stash[_OWNED]
    mongod, directory = owned
    os.environ.pop(_URI, None)
    mongod.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def mongodb_uri() -> str:
    """The address of the MongoDB of this run."""
    return os.environ[_URI]


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The address, with its password, of the Valkey of this run; name keys by your `tenant`, and delete nothing else."""
    return os.environ[_REDIS]


@pytest.fixture(scope="session")
async def client(mongodb_uri: str) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    """A client that all tests of this process share."""
    # While a long test runs that does not wait for anything, nobody answers MongoDB's heartbeats: that is no failure.
    async with connect(mongodb_uri, Settings.model_construct(mongodb_timeout_ms=60_000)) as opened:
        yield opened


@pytest.fixture(scope="session")
def database(client: AsyncMongoClient[dict[str, Any]]) -> AsyncDatabase[dict[str, Any]]:
    """The database that all tests share; look only at what your `tenant` owns."""
    return client[_DATABASE]


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test uses."""
    return f"t{uuid.uuid4().hex[:16]}"


@pytest.fixture
def settings(tenant: str, mongodb_uri: str) -> Settings:
    """Settings as they are by default, for this test's tenant."""
    return default_settings(tenant, mongodb_uri)


def default_settings(tenant: str, mongodb_uri: str) -> Settings:
    """Return settings as they are by default; neither `.env` nor the environment is read."""
    values = {name: field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()}
    values |= {"default_tenant": tenant, "mongodb_uri": mongodb_uri, "mongodb_database": _DATABASE}
    values["master_key"] = MASTER_KEY
    values["count_timeout_ms"] = 2000  # A busy machine must not cost a test its total.
    return Settings(_env_file=None, **values)


@pytest.fixture(scope="session")
def s3_endpoint() -> str:
    """The address of the S3 server of this run."""
    return shared("s3", start_s3)["endpoint"]


@pytest.fixture(scope="session")
def clamd() -> str:
    """The socket of the ClamAV daemon of this run, which knows the EICAR test file."""
    return shared("clamd", start_clamd)["socket"]


@pytest.fixture(params=["gridfs", "s3"])
def media_settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Settings of each store of binary data."""
    if request.param == "gridfs":
        return settings
    return s3_settings(settings, request.getfixturevalue("s3_endpoint"))


def s3_settings(settings: Settings, endpoint: str) -> Settings:
    """Return settings that keep binary data in the S3 server of this run."""
    values = {"blob_store": "s3", "s3_endpoint": endpoint, "s3_bucket": BUCKET}
    return settings.model_copy(update=values | {"s3_access_key": ACCESS_KEY, "s3_secret_key": SECRET_KEY})


@pytest.fixture
async def http(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole application, without a socket in between; paths are relative to the FHIR base."""
    async with client_of(settings, database) as opened:
        yield opened


def client_of(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> httpx.AsyncClient:
    """Return a client of an application with these settings."""
    from fhir_server.web.app import create_app  # noqa: PLC0415

    transport = httpx.ASGITransport(create_app(settings, database), client=("127.0.0.1", 50000))
    return httpx.AsyncClient(transport=transport, base_url="http://test/fhir/", headers={"Accept": "application/fhir+json"})
