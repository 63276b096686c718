"""Kill a server many times under load and print what was found: `python tests/faults/run.py --kills 24 --seed 1`."""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from fault_experiment import Experiment, Figures
from fault_server import FaultServer

KINDS = ("server", "mongod", "both", "worker")


async def main() -> int:
    """Run it and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pause", type=float, nargs=2, default=(1.0, 5.0), metavar=("LEAST", "MOST"))
    parser.add_argument("--sample", type=int, default=500, help="how many resources are read through the server in the end")
    asked = parser.parse_args()
    kinds = KINDS if asked.workers > 1 else KINDS[:-1]
    with tempfile.TemporaryDirectory(prefix="fhir-faults-") as directory:
        server = FaultServer(Path(directory), f"--workers={asked.workers}")
        await server.start()
        experiment = Experiment(server, seed=asked.seed, clients=asked.clients)
        started = time.monotonic()
        try:
            order = [kinds[number % len(kinds)] for number in range(asked.kills)]
            figures = await experiment.run(order, pause=tuple(asked.pause), sample=asked.sample)
        finally:
            await experiment.close()
            server.stop()
        sys.stdout.write(report(figures, time.monotonic() - started))
        if figures.violations:
            sys.stderr.write(server.log()[-5000:])
    return min(len(figures.violations), 1)


def report(figures: Figures, seconds: float) -> str:
    """Return the figures as text."""
    ledger = figures.ledger
    lines = [
        f"{len(figures.kills)} kills in {seconds:.0f} s",
        f"{len(ledger.acknowledged):,} acknowledged versions, {len(ledger.committed):,} acknowledged transactions",
        f"{len(ledger.unknown):,} writes without an answer",
    ]
    for kind in KINDS:
        times = [back for killed, back in figures.kills if killed == kind]
        if times:
            median, most = statistics.median(times), max(times)
            lines.append(f"{kind}: {len(times)} kills, writes succeed again after {median:.1f} s (median), {most:.1f} s (most)")
    lines += [f"  {name}: {number:,}" for name, number in sorted(ledger.answers.items())]
    lines += [f"{len(figures.violations)} violations", *figures.violations[:50]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
