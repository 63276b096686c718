"""A process of its own beside the one that answers requests, which brings merges to their end."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.operations.merge.finishing import finish_due
from fhir_server.search.index import index_models
from fhir_server.search.vocabulary import WORDS
from fhir_server.store.database import Database

Finish = Callable[..., Awaitable[int]]


@pytest.fixture
def contexts(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> Contexts:
    """What another process makes contexts of."""
    return Contexts(Database(database, settings, index_models, WORDS), settings)


@pytest.fixture
def finish(contexts: Contexts, tenant: str) -> Finish:
    """Do what is due so many seconds from now, as another process would; return how many merges were worked on."""

    async def finish(seconds: float = 0.0) -> int:
        def now() -> datetime:
            return datetime.now(UTC) + timedelta(seconds=seconds)

        return await finish_due(contexts.database, contexts.of_tenant, tenant=tenant, now=now)

    return finish
