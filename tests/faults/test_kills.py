"""Processes are killed under load; what was acknowledged stays, and nothing is half there."""

from pathlib import Path

import pytest
from fault_experiment import Experiment
from fault_server import FaultServer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "kinds"), [(1, ("server", "mongod")), (2, ("worker", "mongod", "both"))], ids=["one process", "two workers"]
)
async def test_no_kill_loses_or_halves_what_was_written(tmp_path: Path, workers: int, kinds: tuple[str, ...]) -> None:
    server = FaultServer(tmp_path, f"--workers={workers}")
    await server.start()
    experiment = Experiment(server, seed=workers)
    try:
        figures = await experiment.run(kinds, pause=(0.5, 1.5), sample=40)
    finally:
        await experiment.close()
        server.stop()
    assert figures.violations == []
    assert [kind for kind, _ in figures.kills] == list(kinds)
    assert len(figures.ledger.acknowledged) > 50
    assert figures.ledger.committed
