"""Searches as people type: whether the patient that was meant is among the first ten, and how long it takes.

`script/bench --fuzzy N` loads N patients straight into a MongoDB of its own, runs one worker of the server with one
request in flight, and types what `bench.people` says.
"""

import asyncio
import itertools
import random
import sys
import time
import urllib.parse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pymongo

from bench import processes
from bench.people import People, is_meant, kinds
from bench.population import Resource
from bench.report import table, verdict
from bench.size import Api
from fhir_server.config import Settings
from fhir_server.exchange import utc_now
from fhir_server.search.index import entries, index_models
from fhir_server.search.vocabulary import COLLECTION, WORDS
from fhir_server.store.database import Database, connect
from fhir_server.store.versions import document
from fhir_server.store.writes import write

TYPE = "Patient"
CHUNK = 1000
FIRST = 10
RECALL = 0.95
TARGETS = {200_000: 10.0, 1_000_000: 15.0}
TENANT = "default"


def search_fuzzily(patients: int, data: Path | None, *, requests: int = 300) -> dict[str, Any]:
    """Load (unless `data` holds the population already), measure, print and return the figures."""
    people = People()
    with ExitStack() as stack:
        mongod = stack.enter_context(processes.mongod(4096, data))
        loaded = asyncio.run(_load(mongod.uri, people, patients))
        server = stack.enter_context(processes.server(mongod.uri, workers=1))
        api = Api(server.base_url)
        rows = [_measure(api, people, patients, kind, requests) for kind in kinds()]
        sizes = _sizes(mongod.uri)
    target = next((limit for size, limit in sorted(TARGETS.items()) if patients <= size), 0.0)
    print(f"\nAs people type: {patients:,} patients, 1 worker, one request in flight\n")
    names = ("typed", "recall@10", f"target {RECALL}", "p50 ms", "p95 ms", "max ms", f"target {target:.0f} ms")
    print(table(names, [_row(row, target) for row in rows]))
    print("\n" + ", ".join(f"{name} {size:,.1f}" for name, size in sizes.items()))
    return {"patients": patients, "loaded": loaded, "searches": rows, "sizes": sizes}


def _row(row: dict[str, Any], target: float) -> tuple[object, ...]:
    kept = verdict(row["p95"], target) if target else ""
    return (row["name"], row["recall"], row["recall"] >= RECALL, row["p50"], row["p95"], row["max"], kept)


async def _load(uri: str, people: People, patients: int) -> dict[str, float]:
    settings = Settings.model_construct()
    async with connect(uri, settings) as client:
        database = Database(client[processes.DATABASE], settings, index_models, WORDS)
        await database.prepare(TYPE)
        collection = database.collection(TYPE)
        if await collection.estimated_document_count() >= patients:
            return {}
        began = time.perf_counter()
        numbers = iter(range(patients))
        while chunk := list(itertools.islice(numbers, CHUNK)):
            documents = [_document(people.patient(number)) for number in chunk]
            await database.accompany(TENANT, [(TYPE, one["s"]) for one in documents])
            await collection.with_options(write_concern=pymongo.WriteConcern(w=1)).insert_many(documents, ordered=False)
            rate = (chunk[-1] + 1) / (time.perf_counter() - began)
            print(f"\r{chunk[-1] + 1:,} patients, {rate:,.0f}/s ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return {"seconds": time.perf_counter() - began}


def _document(patient: Resource) -> dict[str, Any]:
    made = write(patient, entries(patient), id_=patient["id"], now=utc_now(), method="PUT")
    return document(TENANT, made.version, made.index)


def _measure(api: Api, people: People, patients: int, kind: str, requests: int) -> dict[str, Any]:
    rng = random.Random(kind)
    make = kinds()[kind]
    times: list[float] = []
    hits, missed = 0, []
    for number in range(requests + 10):
        patient = people.patient(rng.randrange(patients))
        typed = make(rng, patient)
        path = f"Patient?_query=fuzzy&_count={FIRST}&q={urllib.parse.quote(typed)}"
        body, elapsed = api.get(path)
        if number < 10:  # noqa: PLR2004 -- the first ones warm up
            continue
        times.append(elapsed)
        found = [entry["resource"] for entry in body.get("entry", ())]
        if any(one["id"] == patient["id"] or is_meant(patient, one) for one in found):
            hits += 1
        else:
            missed.append(f"{typed} ({patient['name'][0]['given'][0]} {patient['name'][0]['family']})")
    times.sort()
    return {
        "name": kind,
        "recall": hits / requests,
        "p50": times[len(times) // 2],
        "p95": times[int(0.95 * len(times))],
        "max": times[-1],
        "missed": missed[:20],
    }


def _sizes(uri: str) -> dict[str, float]:
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        client.admin.command("fsync")
        database = client[processes.DATABASE]
        patients, words = (database.command("collStats", name) for name in (TYPE, COLLECTION))
    return {
        "words": float(words["count"]),
        "MiB of words": words["size"] / 2**20,
        "MiB of their index": words["totalIndexSize"] / 2**20,
        "MiB of the index of pairs and blocking keys": patients["indexSizes"]["t_1_s._match_1"] / 2**20,
    }
