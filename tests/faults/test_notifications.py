"""Worker, dispatcher, broker, database and server are killed while messages are sent: each ends, and none goes out twice."""

from pathlib import Path

import pytest
from notification_faults import KINDS, NotificationExperiment, Providers, SendingServer


@pytest.mark.slow
async def test_every_message_ends_and_none_is_sent_twice_whatever_dies(tmp_path: Path) -> None:
    providers = Providers(latency=0.02, errors=0.1, lost=0.03, hang=0.01, unreachable=0.02, seed=3)
    server = SendingServer(tmp_path, providers)
    experiment = NotificationExperiment(server, providers, seed=3)
    try:
        await server.start()
        outcome = await experiment.run(160, KINDS, pause=(0.7, 1.5), clients=4)
    finally:
        await experiment.close()
        server.stop()
        providers.stop()
    assert outcome.violations == []
    assert outcome.duplicates == {}
    assert len(outcome.accepted) == 160
    assert set(outcome.kills) >= {"worker", "dispatcher", "valkey", "server", "mongod"}
    assert outcome.statuses["completed"] > 100
