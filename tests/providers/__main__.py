"""Run the providers as a process: `python -m tests.providers --port 9100 --latency 0.05 --errors 0.1 --seed 1`.

It prints one line of JSON when it listens: its base URL, the SMTP port and the settings of notifications.
"""

import argparse
import asyncio
import json
import signal
from dataclasses import fields

from tests.providers.behaviour import Behaviour
from tests.providers.stand_ins import StandIns


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.providers", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--smtp-port", type=int, default=0)
    parser.add_argument("--reroute", action="append", default=[], metavar="PUBLIC=PLACE", help="Where public URLs really go.")
    parser.add_argument("--sendgrid-webhook", default="")
    parser.add_argument("--ses-webhook", default="")
    for one in fields(Behaviour):
        name = f"--{one.name.replace('_', '-')}"
        if isinstance(one.default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=one.default)
        else:
            parser.add_argument(name, type=type(one.default), default=one.default)
    return parser.parse_args()


async def _run(given: argparse.Namespace) -> None:
    behaviour = Behaviour(**{one.name: getattr(given, one.name) for one in fields(Behaviour)})
    providers = StandIns(behaviour, dict(one.split("=", 1) for one in given.reroute))
    providers.sendgrid.webhook, providers.ses.webhook = given.sendgrid_webhook, given.ses_webhook
    await providers.start(given.port, given.smtp_port)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    print(json.dumps({"url": providers.url, "smtp_port": providers.smtp.port, "settings": providers.settings}), flush=True)  # noqa: T201
    await ended.wait()
    await providers.stop()


if __name__ == "__main__":
    asyncio.run(_run(_arguments()))
