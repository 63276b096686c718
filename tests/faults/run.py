"""Kill a server many times under load and print what was found: `python tests/faults/run.py --kills 24 --seed 1`."""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from fault_experiment import Experiment, Figures
from fault_nodes import ReplicaSet
from fault_server import FaultServer

KINDS = ("server", "mongod", "both", "stop", "worker")
NODE_KINDS = ("primary", "server", "primary", "worker")


async def main() -> int:
    """Run it and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--nodes", type=int, default=1, help="nodes of an external replica set, whose primary is killed as well")
    parser.add_argument("--pause", type=float, nargs=2, default=(1.0, 5.0), metavar=("LEAST", "MOST"))
    parser.add_argument("--sample", type=int, default=500, help="how many resources are read through the server in the end")
    asked = parser.parse_args()
    kinds = NODE_KINDS if asked.nodes > 1 else KINDS if asked.workers > 1 else KINDS[:-1]
    with tempfile.TemporaryDirectory(prefix="fhir-faults-") as directory:
        nodes = ReplicaSet(Path(directory), nodes=asked.nodes) if asked.nodes > 1 else None
        server = FaultServer(Path(directory), f"--workers={asked.workers}", **({"mongodb_uri": nodes.uri} if nodes else {}))
        experiment = Experiment(server, seed=asked.seed, clients=asked.clients, nodes=nodes)
        started = time.monotonic()
        try:
            if nodes:
                await nodes.start()
            await server.start()
            order = [kinds[number % len(kinds)] for number in range(asked.kills)]
            figures = await experiment.run(order, pause=tuple(asked.pause), sample=asked.sample)
        finally:
            await experiment.close()
            server.stop()
            if nodes:
                nodes.stop()
        sys.stdout.write(report(figures, time.monotonic() - started))
        if figures.violations:
            sys.stderr.write(server.log()[-5000:])
    return min(len(figures.violations), 1)


def report(figures: Figures, seconds: float) -> str:
    """Return the figures as text."""
    ledger = figures.ledger
    lines = [
        f"{len(figures.kills)} kills and stops in {seconds:.0f} s",
        f"{len(ledger.acknowledged):,} acknowledged versions, {len(ledger.committed):,} acknowledged transactions",
        f"{len(ledger.unknown):,} writes without an answer",
    ]
    for kind in sorted({kind for kind, _ in figures.kills}):
        times = [back for killed, back in figures.kills if killed == kind]
        if times:
            median, most = statistics.median(times), max(times)
            lines.append(f"{kind}: {len(times)} times, writes succeed again after {median:.1f} s (median), {most:.1f} s (most)")
    lines += [f"  {name}: {number:,}" for name, number in sorted(ledger.answers.items())]
    lines += [f"{len(figures.violations)} violations", *figures.violations[:50]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
