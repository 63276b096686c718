"""A context over the real database, and a short way to put resources into it."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.engine import handle
from fhir_server.exchange import Context
from fhir_server.search.index import entries, index_models
from fhir_server.search.vocabulary import WORDS
from fhir_server.store.commit import Committer
from fhir_server.store.database import Database
from fhir_server.store.repository import Repository
from fhir_server.store.versions import Version, document, stamped

BASE = "http://test/fhir"
MOMENT = datetime(2024, 1, 1, tzinfo=UTC)

Put = Callable[..., Awaitable[None]]


@pytest.fixture
def ctx(settings: Settings, database: AsyncDatabase[dict[str, Any]], tenant: str) -> Context:
    """The context of a request of this test's tenant."""
    return context_of(settings, database, tenant)


def context_of(settings: Settings, database: AsyncDatabase[dict[str, Any]], tenant: str) -> Context:
    """Return a context over a tenant's data."""
    opened = Database(database, settings, index_models, WORDS)
    return Context(Repository(opened, Committer(opened), tenant), settings, handle, BASE)


@pytest.fixture
def put(ctx: Context) -> Put:
    """Stores resources, which have ids already, as they are."""

    async def store(*resources: dict[str, Any]) -> None:
        await put_all(ctx, resources)

    return store


async def put_all(ctx: Context, resources: Any) -> None:
    """Store resources as first versions, one insert a type."""
    by_type: dict[str, list[dict[str, Any]]] = {}
    for resource in resources:
        type_, id_ = resource["resourceType"], resource["id"]
        version = Version(type_, id_, 1, MOMENT, "PUT", stamped(resource, id_, 1, MOMENT))
        by_type.setdefault(type_, []).append(document(ctx.tenant, version, entries(resource, None, BASE)))
    for type_, documents in by_type.items():
        await ctx.repo.prepare([type_])
        await ctx.repo.database.accompany(ctx.tenant, [(type_, one["s"]) for one in documents])
        await ctx.repo.collection(type_).insert_many(documents)
