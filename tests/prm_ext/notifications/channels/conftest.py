"""Providers of the tests of channels: their stand-ins, reached by the real SDKs."""

from collections.abc import AsyncIterator

import pytest

from prm_ext.notifications.channels.threads import Threads
from tests.providers.stand_ins import StandIns, running


@pytest.fixture
async def providers() -> AsyncIterator[StandIns]:
    """The stand-ins, which report nothing by themselves."""
    async with running() as found:
        found.behaviour.life = False
        yield found


@pytest.fixture
def threads():
    """Threads for SDKs."""
    made = Threads(8)
    yield made
    made.close()
