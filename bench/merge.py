"""The part `merge`: merges and their undoing over HTTP, by the number of resources that refer to the source."""

import statistics
import time
from typing import Any, Final

import httpx
import psutil

from bench import processes
from bench.report import table, verdict

SIZES: Final = (10, 100, 500, 1000)
REFERRING: Final = 500
TARGET_MS: Final = 1000.0
LARGE: Final = 10_000
STRANGERS: Final = 20_000
"""Resources of other patients, which a merge must not look at."""
LOADED: Final = 500

Resource = dict[str, Any]


def merge(*, quick: bool) -> dict[str, Any]:
    """Measure merges within one transaction, and one in batches."""
    with (
        processes.mongod() as mongod,
        processes.server(mongod.uri, workers=1) as server,
        httpx.Client(base_url=f"{server.base_url}/", timeout=300) as http,
    ):
        bench = _Bench(http, [psutil.Process(mongod.pid), psutil.Process(server.pid)])
        bench.load("stranger", 1000 if quick else STRANGERS)
        sizes = SIZES[:2] if quick else SIZES
        rows = {size: bench.at_once(size, repeats=2 if quick else 5) for size in sizes}
        large = bench.in_batches(1000 if quick else LARGE)
    print("\nMerge: one server process, Observations that refer to the source\n")
    print(_table(rows))
    print(f"\nIn batches: {large['resources']:,} resources in {large['seconds']:.1f} s, {large['rate']:,.0f}/s")
    return {"at_once": rows, "in_batches": large}


def _table(rows: dict[int, dict[str, float]]) -> str:
    columns = ("referring", "merge ms", "target", "kept", "undo ms", "preview ms", "mongod CPU ms", "server CPU ms")
    found = []
    for size, row in rows.items():
        kept = (f"<= {TARGET_MS:.0f}", verdict(row["merge_ms"], TARGET_MS)) if size == REFERRING else ("", "")
        found.append(
            (size, row["merge_ms"], *kept, row["undo_ms"], row["preview_ms"], row["mongod_cpu_ms"], row["server_cpu_ms"])
        )
    return table(columns, found)


class _Bench:
    def __init__(self, http: httpx.Client, watched: list[psutil.Process]) -> None:
        self._http = http
        self._watched = watched
        self._count = 0

    def load(self, patient: str, size: int) -> None:
        self._put([{"resourceType": "Patient", "id": patient, "active": True, "name": [{"family": patient}]}])
        for begin in range(0, size, LOADED):
            self._put([_observation(f"{patient}-{number}", patient) for number in range(begin, min(size, begin + LOADED))])

    def _put(self, resources: list[Resource]) -> None:
        entry = [
            {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}} for one in resources
        ]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entry}
        self._http.post("", json=bundle, headers={"Prefer": "return=minimal"}).raise_for_status()

    def _pair(self, size: int) -> Resource:
        self._count += 1
        source, target = f"s{self._count}", f"t{self._count}"
        self.load(source, size)
        self.load(target, 0)
        sides = (("source-patient", source), ("target-patient", target))
        return {
            "resourceType": "Parameters",
            "parameter": [{"name": name, "valueReference": {"reference": f"Patient/{id_}"}} for name, id_ in sides],
        }

    def _cpu(self) -> tuple[float, float]:
        mongod, server = [sum(one.cpu_times()[:2]) * 1000 for one in self._watched]
        return mongod, server

    def _timed(self, operation: str, body: Resource, **headers: str) -> float:
        began = time.perf_counter()
        self._http.post(f"Patient/${operation}", json=body, headers=headers).raise_for_status()
        return (time.perf_counter() - began) * 1000

    def at_once(self, size: int, repeats: int) -> dict[str, float]:
        runs = []
        for _ in range(repeats):
            body = self._pair(size)
            preview = {**body, "parameter": [*body["parameter"], {"name": "preview", "valueBoolean": True}]}
            previewed = self._timed("merge", preview)
            before = self._cpu()
            merged = self._timed("merge", body)
            after = self._cpu()
            runs.append((merged, self._timed("undo-merge", body), previewed, after[0] - before[0], after[1] - before[1]))
        names = ("merge_ms", "undo_ms", "preview_ms", "mongod_cpu_ms", "server_cpu_ms")
        return {name: statistics.median(values) for name, values in zip(names, zip(*runs, strict=True), strict=True)}

    def in_batches(self, size: int) -> dict[str, float]:
        body = self._pair(size)
        began = time.perf_counter()
        answer = self._http.post("Patient/$merge", json=body, headers={"Prefer": "respond-async"})
        answer.raise_for_status()
        task = next(one["resource"]["id"] for one in answer.json()["parameter"] if one["name"] == "task")
        while self._http.get(f"Task/{task}").json()["status"] != "completed":
            time.sleep(0.1)
        seconds = time.perf_counter() - began
        return {"resources": size, "seconds": seconds, "rate": size / seconds}


def _observation(id_: str, patient: str) -> Resource:
    category = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "category": [{"coding": [category]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}], "text": "Heart rate"},
        "subject": {"reference": f"Patient/{patient}"},
        "encounter": {"reference": "Encounter/1"},
        "effectiveDateTime": "2024-01-01T10:00:00Z",
        "performer": [{"reference": "Practitioner/1"}],
        "valueQuantity": {"value": 72, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
    }
