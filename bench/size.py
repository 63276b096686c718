"""Search at size: N patients and 5 N other resources, one request in flight, p50 and p95 of each kind of search."""

import http.client
import itertools
import json
import random
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pymongo

from bench import processes
from bench.population import MRN, Population, Resource
from bench.report import table, verdict
from fhir_server.fhir.codec import encode

BUNDLE = 400
"""Entries of one transaction while loading."""
PAGE = 20
INDEX_TO_DATA = 1.5


def search_at_size(patients: int, others: int, data: Path | None, *, quick: bool = False) -> dict[str, Any]:
    """Load (unless `data` holds the population already), measure, print and return the figures."""
    others = others or 5 * patients
    population = Population(1)
    with ExitStack() as stack:
        mongod = stack.enter_context(processes.mongod(4096, data))
        environment = {"FHIR_SEARCH_TIMEOUT_MS": "60000"}
        with processes.server(mongod.uri, workers=2, environment=environment) as server:
            loaded = {} if _is_loaded(mongod.uri) else load(server.base_url, population, patients, others)
        server = stack.enter_context(processes.server(mongod.uri, workers=1, environment=environment))
        api = Api(server.base_url)
        rows = [_measure(api, query, 20 if quick else 200) for query in queries(population, patients)]
        rows += _pages(api, 100 if quick else 1000, 10 if quick else 100)
        sizes = _sizes(mongod.uri)
        memory = [processes.memory(worker) for worker in server.workers()]
    print(f"\nSearch: {patients:,} patients, {others:,} other resources, 1 worker, one request in flight\n")
    print(
        table(("search", "p50 ms", "p95 ms", "max ms", "target p95", "kept", "entries", "requests"), [_row(row) for row in rows])
    )
    print(
        f"\nData {sizes['data'] / 2**20:,.0f} MiB, indexes {sizes['index'] / 2**20:,.0f} MiB: ratio {sizes['ratio']:.2f}", end=" "
    )
    print(f"(target <= {INDEX_TO_DATA}); with history and guards the storage is {sizes['storage'] / 2**20:,.0f} MiB")
    return {"patients": patients, "others": others, "loaded": loaded, "searches": rows, "sizes": sizes, "memory": memory}


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    limit = row["target"]
    kept = verdict(row["p95"], limit) if limit else ""
    return (row["name"], row["p50"], row["p95"], row["max"], limit or "", kept, row["entries"], row["requests"])


class Api:
    """A client with one connection and little work of its own."""

    def __init__(self, base_url: str) -> None:
        parts = urllib.parse.urlsplit(base_url)
        self.prefix = parts.path
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        self._headers = {"Accept": "application/fhir+json", "Content-Type": "application/fhir+json", "Prefer": "return=minimal"}

    def get(self, path: str) -> tuple[dict[str, Any], float]:
        """Return the body and the milliseconds that it took to come."""
        body, elapsed = self._request("GET", path, None)
        return json.loads(body), elapsed

    def post(self, body: bytes) -> None:
        """Send a transaction."""
        self._request("POST", "", body)

    def _request(self, method: str, path: str, body: bytes | None) -> tuple[bytes, float]:
        target = path if path.startswith("/") else f"{self.prefix}/{path}".rstrip("/")
        began = time.perf_counter()
        self._connection.request(method, target, body, self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        elapsed = 1000 * (time.perf_counter() - began)
        if response.status != http.client.OK:
            raise SystemExit(f"{method} {target} gave {response.status}: {answer[:500].decode(errors='replace')}")
        return answer, elapsed


def load(base_url: str, population: Population, patients: int, others: int) -> dict[str, Any]:
    """Send the population in transactions, four at a time."""
    began = time.perf_counter()
    total = 0
    bodies = _bodies(population.resources(patients, others))
    apis = [Api(base_url) for _ in range(4)]
    with ThreadPoolExecutor(len(apis)) as pool:
        running = {pool.submit(api.post, body): api for api, body in zip(apis, itertools.islice(bodies, len(apis)), strict=False)}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                api = running.pop(future)
                total += BUNDLE
                if body := next(bodies, None):
                    running[pool.submit(api.post, body)] = api
            if total % (BUNDLE * 100) < BUNDLE * len(done):
                print(
                    f"\r{total:,} resources, {total / (time.perf_counter() - began):,.0f}/s ", end="", file=sys.stderr, flush=True
                )
    seconds = time.perf_counter() - began
    print(file=sys.stderr)
    return {"seconds": seconds, "resources_per_second": (200 + patients + others) / seconds}


def _bodies(resources: Iterable[Resource]) -> Iterator[bytes]:
    """Group by type first, so that each transaction touches one collection or two."""
    iterator = iter(resources)
    while chunk := list(itertools.islice(iterator, BUNDLE)):
        entries = [
            {"resource": resource, "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}}
            for resource in chunk
        ]
        yield encode({"resourceType": "Bundle", "type": "transaction", "entry": entries})


def _is_loaded(uri: str) -> bool:
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        return client[processes.DATABASE]["Patient"].estimated_document_count() > 0


def _sizes(uri: str) -> dict[str, float]:
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        # What a checkpoint has not written yet is not in the sizes.
        client.admin.command("fsync")
        database = client[processes.DATABASE]
        names = [name for name in database.list_collection_names() if not name.startswith("_")]
        stats = {name: database.command("collStats", name) for name in names}
    data, index = (float(sum(found[key] for found in stats.values())) for key in ("size", "totalIndexSize"))
    storage = float(sum(found["storageSize"] for found in stats.values()))
    return {"data": data, "index": index, "storage": storage, "ratio": index / data}


Query = tuple[str, Callable[[random.Random], str], float]
"""Its name, what makes a request of the kind, and the target of p95 in milliseconds (0: none)."""


def queries(population: Population, patients: int) -> list[Query]:
    """Return the kinds of search that are measured."""

    def someone(rng: random.Random) -> Resource:
        return population.patient(rng.randrange(patients))

    def asking(template: str) -> Callable[[random.Random], str]:
        return lambda rng: _fill(template, someone(rng))

    female = f"Patient?gender=female&_total=accurate&_count={PAGE}"
    return [
        ("identifier", asking("Patient?identifier={mrn}"), 10),
        ("family prefix", asking("Patient?family={prefix}"), 10),
        ("family + birthdate", asking("Patient?family={family}&birthdate={born}"), 10),
        ("gender + city + given", asking("Patient?gender={gender}&address-city={city}&given={given}"), 10),
        ("_id with _revinclude", asking("Patient?_id={id}&_revinclude=Observation:subject"), 10),
        ("a patient's communications by date", asking("Communication?subject=Patient/{id}&_sort=-sent"), 10),
        ("chain: appointments by birthdate", asking("Appointment?patient.birthdate={born}"), 25),
        ("chain: observations by code and family", asking("Observation?code=8867-4&subject:Patient.family={family}"), 25),
        ("chain: encounters by MRN", asking("Encounter?patient.identifier={mrn}"), 25),
        ("chain through half of all patients", lambda _: f"Observation?code=8867-4&patient.gender=female&_count={PAGE}", 0),
        ("_has: family and a code", asking("Patient?family={family}&_has:Observation:patient:code=4548-4"), 25),
        ("_has: a code", lambda _: f"Patient?_has:Observation:patient:code=4548-4&_count={PAGE}", 25),
        ("_total=accurate, half of all patients", lambda _: female, 150),
        ("name:contains", asking("Patient?name:contains={inside}"), 50),
        ("read", asking("Patient/{id}"), 0),
    ]


def _fill(template: str, patient: Resource) -> str:
    name = patient["name"][0]
    values = {
        "id": patient["id"],
        "mrn": f"{MRN}|{patient['identifier'][0]['value']}",
        "family": name["family"],
        "prefix": name["family"][:4],
        "inside": name["family"][1:6],
        "given": name["given"][0],
        "born": patient["birthDate"],
        "gender": patient["gender"],
        "city": patient["address"][0]["city"],
    }
    return template.format(**{key: urllib.parse.quote(value, safe="") for key, value in values.items()})


def _measure(api: Api, query: Query, requests: int) -> dict[str, Any]:
    name, make, limit = query
    rng = random.Random(name)
    times, entries = [], 0
    for path in (make(rng) for _ in range(3)):
        api.get(path)
    for path in (make(rng) for _ in range(requests)):
        body, elapsed = api.get(path)
        times.append(elapsed)
        entries += len(body.get("entry", ()))
    return _figures(name, limit, times, entries)


def _pages(api: Api, nth: int, requests: int) -> list[dict[str, Any]]:
    """Measure the first page sorted by birthdate, and the nth, reached by following `next`."""
    first = f"Patient?_sort=birthdate&_count={PAGE}"
    path = first
    for _ in range(nth - 1):
        page, _ = api.get(path)
        path = next(link["url"] for link in page["link"] if link["relation"] == "next")
        parts = urllib.parse.urlsplit(path)
        path = f"{parts.path}?{parts.query}"
    rows = []
    for name, url in (("page 1 by birthdate", first), (f"page {nth:,} by birthdate", path)):
        found = [api.get(url) for _ in range(requests)]
        rows.append(_figures(name, 15, [elapsed for _, elapsed in found], sum(len(page["entry"]) for page, _ in found)))
    return rows


def _figures(name: str, limit: float, times: list[float], entries: int) -> dict[str, Any]:
    times = sorted(times)
    at = {quantile: times[min(len(times) - 1, int(quantile * len(times)))] for quantile in (0.5, 0.95)}
    return {
        "name": name,
        "target": limit,
        "p50": at[0.5],
        "p95": at[0.95],
        "max": times[-1],
        "requests": len(times),
        "entries": round(entries / len(times), 1),
    }
