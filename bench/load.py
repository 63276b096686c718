"""The load generator `../shared/bench/bench_fhir.py`, run as a process of its own, and what its figures mean here."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.report import ROOT

GENERATOR = ROOT.parent / "shared" / "bench" / "bench_fhir.py"

READS = ("read", "search-name", "search-ident", "search-birth", "revinclude")
WRITES = ("create", "update", "transaction")

MEDPLUM = {
    "create": 465.0,
    "read": 2920.0,
    "update": 438.0,
    "transaction": 15.0,
    "search-name": 583.0,
    "search-ident": 2009.0,
    "search-birth": 1636.0,
    "revinclude": 955.0,
}
"""Requests a second of Medplum 5 on this kind of machine: 10,000 patients, 16 in flight."""
NODE = {"create": 266.0, "read": 676.0, "update": 157.0}
"""The same of a Node FHIR server on MongoDB."""
FACTOR = {"transaction": 10.0}
"""How many times the better of the two is asked of the server; twice where nothing is said."""


def target(operation: str) -> float:
    """Return the requests a second that the server has to reach with two workers."""
    return FACTOR.get(operation, 2.0) * max(MEDPLUM[operation], NODE.get(operation, 0.0))


@dataclass(frozen=True, slots=True)
class Load:
    """How much of it."""

    patients: int = 10_000
    rev_patients: int = 100
    seconds: float = 10.0
    repeats: int = 3
    warmup: float = 1.0
    concurrency: int = 16
    noise_limit: float = 0.0
    """Cores that other processes may use; above it a run is repeated (0: whatever they use)."""


def run(
    base_url: str,
    operations: Sequence[str],
    load: Load,
    *,
    state: Path,
    watch: Mapping[str, int] | None = None,
    quiet: bool = False,
    headers: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """Return the medians of each operation; `state` keeps what was seeded, and the next run reads it.

    Every request gets the `headers` (`Name: value`).
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        command = [
            *(sys.executable, str(GENERATOR), "--base-url", base_url, "--ops", ",".join(operations)),
            *("--patients", str(load.patients), "--rev-patients", str(load.rev_patients), "--concurrency", str(load.concurrency)),
            *("--seconds", str(load.seconds), "--repeats", str(load.repeats), "--warmup", str(load.warmup)),
            *("--state-file", str(state), "--json-out", out.name),
        ]
        for header in headers:
            command += ["--header", header]
        for name, pid in (watch or {}).items():
            command += ["--watch", f"{name}={pid}"]
        if watch and load.noise_limit:
            command += ["--noise-limit", str(load.noise_limit)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL if quiet else None)  # noqa: S603 -- our own
        result = json.load(out)
    for operation, why in result["unsupported"].items():
        print(f"{operation} is not measured: {why}", file=sys.stderr)
    return {row["op"]: row for row in result["summary"]}


def cpu_ms(row: Mapping[str, Any], process: str = "server") -> float:
    """Return the milliseconds of CPU that a watched process took for one request."""
    return 1000.0 * float(row[f"{process}_cpu_cores"]) / float(row["throughput"])


def capacity(row: Mapping[str, Any], cores: int) -> float:
    """Return the requests a second at which server, database and client would together fill the cores.

    On a machine that others use as well, it says more than the throughput does.
    """
    return cores / sum(float(row[f"{name}_cpu_cores"]) for name in ("server", "db", "client")) * float(row["throughput"])
