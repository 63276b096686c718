"""What tests of binary data share."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.blobs import Blobs
from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.search.index import index_models
from fhir_server.store.database import Database


@pytest.fixture
async def contexts(media_settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> AsyncIterator[Contexts]:
    """The contexts of a process, over each store."""
    found = Contexts(Database(database, media_settings, index_models), media_settings)
    yield found
    await found.blobs.close()


@pytest.fixture
def blobs(contexts: Contexts) -> Blobs:
    """Binary data, over each store."""
    return contexts.blobs
