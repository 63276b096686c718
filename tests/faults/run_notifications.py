"""Kill what sends messages, many times: `python tests/faults/run_notifications.py --count 5000 --kills 30 --seed 1`."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from notification_faults import KINDS, NotificationExperiment, Providers, SendingServer


async def main() -> int:
    """Run it and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, nargs=2, default=(2.0, 6.0), metavar=("LEAST", "MOST"))
    asked = parser.parse_args()
    providers = Providers(latency=0.05, errors=0.1, lost=0.03, hang=0.01, unreachable=0.02, seed=asked.seed)
    with tempfile.TemporaryDirectory(prefix="fhir-faults-") as directory:
        server = SendingServer(Path(directory), providers)
        experiment = NotificationExperiment(server, providers, seed=asked.seed)
        try:
            await server.start()
            kinds = tuple(KINDS[number % len(KINDS)] for number in range(asked.kills))
            outcome = await experiment.run(asked.count, kinds, pause=tuple(asked.pause))
        finally:
            await experiment.close()
            server.stop()
            providers.stop()
        sys.stdout.write(outcome.report())
        if outcome.violations:
            sys.stderr.write(server.log()[-8000:])
    return min(len(outcome.violations), 1)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
