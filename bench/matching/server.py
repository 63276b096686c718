"""What matching costs in a server: `PYTHONPATH=. .venv-bench/bin/python -m bench.matching.server --patients 200000`.

Loads people into an embedded MongoDB, with all indexes, and measures in this process: $match of second records of some of
them, creating patients with and without looking for duplicates, and looking through the population. Time on a clock, and CPU
of this process and of MongoDB.
"""

import argparse
import asyncio
import contextlib
import logging
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import structlog

from bench.matching.people import Person, Town
from bench.matching.population import again, patient
from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.engine import handle
from fhir_server.exchange import Call, Context, utc_now
from fhir_server.extension import load as load_extensions
from fhir_server.resources.find_duplicates import Step, find_duplicates
from fhir_server.resources.matches import find_matches, sought
from fhir_server.search.index import entries, index_models
from fhir_server.search.vocabulary import WORDS
from fhir_server.store.database import Database, connect
from fhir_server.store.embedded import EmbeddedMongod
from fhir_server.store.versions import document
from fhir_server.store.writes import write

BATCH, WARMUP, LOOKED_THROUGH = 1000, 50, 5000


@dataclass
class Cost:
    """Milliseconds of each call, and of CPU: the median of this process, the mean of `mongod`, whose clock is coarse."""

    times: list[float]
    own: float
    mongod: float

    def show(self, name: str) -> None:
        """Print a line."""
        p95 = statistics.quantiles(self.times, n=20)[-1]
        print(
            f"{name:34} p50 {statistics.median(self.times):7.2f} ms  p95 {p95:7.2f} ms"
            f"  CPU: server {self.own:6.2f} ms, mongod {self.mongod:6.2f} ms",
            flush=True,
        )


class Bench:
    """A population in a database."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._rng = random.Random(7)
        self._town = Town(random.Random(5), options.patients)
        self._people: list[Person] = []
        self._new: list[Person] = []

    async def run(self, settings: Settings, mongod: psutil.Process) -> None:
        """Load, measure and print."""
        self._people = self._town.people(self._options.patients)
        async with connect(settings.mongodb_uri, settings) as client:
            database = Database(client[settings.mongodb_database], settings, index_models, WORDS)
            ctx = await Contexts(database, settings, load_extensions(settings)).of_tenant(settings.default_tenant)
            await self._load(ctx)
            await self._measure(ctx, mongod)

    async def _load(self, ctx: Context) -> None:
        await ctx.repo.database.prepare("Patient")
        collection = ctx.repo.collection("Patient")
        if await collection.estimated_document_count():
            return
        began = time.monotonic()
        for start in range(0, len(self._people), BATCH):
            documents = [
                _document(ctx, patient(self._rng, person, f"p{start + place:09d}"))
                for place, person in enumerate(self._people[start : start + BATCH])
            ]
            await collection.insert_many(documents, ordered=False)
            print(
                f"\rLoaded {start + len(documents):,} at {(start + BATCH) / (time.monotonic() - began):,.0f}/s",
                end="",
                flush=True,
            )
        print()

    async def _measure(self, ctx: Context, mongod: psutil.Process) -> None:
        second = self._second()
        # Not those of an earlier run on the same database.
        seed = await ctx.repo.collection("Patient").estimated_document_count()
        self._new = Town(random.Random(seed), self._options.patients).people(2 * (self._options.calls + WARMUP))
        sizes = [len((await find_matches(ctx, sought(ctx, next(second)), floor="certainly-not")).candidates) for _ in range(200)]
        print(
            f"candidates: mean {statistics.mean(sizes):.0f}, p95 {statistics.quantiles(sizes, n=20)[-1]:.0f}, most {max(sizes)}"
        )

        async def match() -> None:
            parameters = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": next(second)}]}
            await handle(ctx, Call("operation", "Patient", operation="match", resource=parameters))

        (await self._cost(match, mongod)).show("$match")
        for mode in ("off", "warn"):
            inner = replace(ctx, settings=ctx.settings.model_copy(update={"duplicates": mode}))
            (await self._cost(partial(self._create, inner), mongod)).show(f"create, duplicates={mode}")
        await self._look_through(ctx)

    async def _create(self, ctx: Context) -> None:
        new = self._new.pop()
        await handle(ctx, Call("create", "Patient", resource=_without_id(patient(self._rng, new, ""))))

    def _second(self) -> Iterator[dict[str, Any]]:
        while True:
            person = again(self._rng, self._town, self._rng.choice(self._people))
            if person.phone or person.email or (person.given and person.birth):
                yield _without_id(patient(self._rng, person, ""))

    async def _cost(self, work: Callable[[], Awaitable[None]], mongod: psutil.Process) -> Cost:
        for _ in range(WARMUP):
            await work()
        times: list[float] = []
        own: list[float] = []
        other = _cpu(mongod)
        for _ in range(self._options.calls):
            began, cpu = time.perf_counter(), time.process_time()
            await work()
            times.append(1000 * (time.perf_counter() - began))
            own.append(1000 * (time.process_time() - cpu))
        return Cost(times, statistics.median(own), 1000 * (_cpu(mongod) - other) / self._options.calls)

    async def _look_through(self, ctx: Context) -> None:
        began, own = time.monotonic(), time.process_time()
        last = Step()

        def stop(step: Step) -> None:
            nonlocal last
            last = step
            if step.seen >= LOOKED_THROUGH:
                raise InterruptedError

        with contextlib.suppress(InterruptedError):
            await find_duplicates(ctx, restart=True, progress=stop)
        cpu = 1000 * (time.process_time() - own) / last.seen
        print(
            f"find-duplicates: {last.seen / (time.monotonic() - began):,.0f} patients/s, {cpu:.2f} ms of CPU each,"
            f" {last.compared / last.seen:.0f} pairs compared each"
        )


def _document(ctx: Context, resource: dict[str, Any]) -> dict[str, Any]:
    item = write(resource, entries(resource, ctx.registry, ctx.base_url), id_=resource["id"], now=utc_now(), method="PUT")
    return document(ctx.tenant, item.version, item.index)


def _without_id(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name != "id"}


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=200_000)
    parser.add_argument("--calls", type=int, default=300, help="calls of each kind that are measured")
    parser.add_argument("--data", type=Path, required=True, help="directory of the database; what is there is used again")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with EmbeddedMongod(options.data, cache_mb=1024, oplog_mb=990) as mongod:
        mongod.wait()
        settings = Settings(_env_file=None, mongodb_uri=mongod.uri, mrn=False, invalid_contacts="warn")
        running = next(child for child in psutil.Process().children(recursive=True) if "mongod" in child.name())
        asyncio.run(Bench(options).run(settings, running))


if __name__ == "__main__":
    main()
