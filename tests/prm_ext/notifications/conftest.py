"""What tests of notifications share."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from tests.prm_ext.notifications.api_world import World, world_of


@pytest.fixture
async def world(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> AsyncIterator[World]:
    """A server with notifications, whose channels are set to `console`."""
    async with world_of(settings, database) as found:
        yield found
