"""The parts of the benchmark that go over HTTP: throughput with two workers, and ratios with one."""

import os
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import load as generator
from bench import processes
from bench.load import READS, WRITES, Load
from bench.report import table, verdict

READ_RATIO = 0.6
CREATE_MS = 1.0
TRANSACTION_MS = 10.0
WORKER_MIB = 200.0
READY_SECONDS = 3.0


def throughput(
    load: Load, directory: Path, *, workers: int = 2, operations: tuple[str, ...] = (*READS, *WRITES)
) -> dict[str, Any]:
    """Measure each operation with several in flight, against the targets of the project."""
    with processes.mongod() as mongod, processes.server(mongod.uri, workers=workers) as server:
        watch = {"server": server.pid, "db": mongod.pid}
        rows = generator.run(server.base_url, operations, load, state=directory / "throughput.json", watch=watch)
        memory = [processes.memory(worker) for worker in server.workers()]
    print(f"\nThroughput: {workers} workers, {load.patients:,} patients, {load.concurrency} in flight\n")
    print(_throughput_table(rows))
    print("\nMemory per worker after the run: " + ", ".join(f"{m['rss']:.0f} MiB RSS, {m['pss']:.0f} MiB PSS" for m in memory))
    return {"workers": workers, "operations": rows, "memory": memory}


def _throughput_table(rows: dict[str, dict[str, Any]]) -> str:
    columns = (
        "operation",
        "req/s",
        "target",
        "kept",
        "Medplum 5",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "errors",
        "server CPU ms",
        "mongod CPU ms",
        "by CPU req/s",
        "other cores",
    )
    return table(
        columns,
        [
            (
                operation,
                row["throughput"],
                generator.target(operation),
                verdict(row["throughput"], generator.target(operation), at_least=True),
                generator.MEDPLUM[operation],
                *(row["p50_ms"], row["p95_ms"], row["p99_ms"], row["errors"]),
                *(generator.cpu_ms(row), generator.cpu_ms(row, "db")),
                *(generator.capacity(row, os.cpu_count() or 1), row["other_cpu_cores"]),
            )
            for operation, row in rows.items()
        ],
    )


def ratios(load: Load, directory: Path) -> dict[str, Any]:
    """Measure one worker against the bare route, in turns, and the CPU that writes take."""
    state = directory / "ratios.json"
    with processes.mongod() as mongod, processes.server(mongod.uri, workers=1) as server, processes.baseline(mongod.uri) as bare:
        generator.run(server.base_url, ("read",), replace(load, seconds=0.2, repeats=1, warmup=0, noise_limit=0), state=state)
        once = replace(load, repeats=1)
        ours, theirs = [], []
        for _ in range(load.repeats):
            ours.append(
                generator.run(server.base_url, ("read",), once, state=state, watch={"server": server.pid}, quiet=True)["read"]
            )
            theirs.append(
                generator.run(bare.base_url, ("read",), once, state=state, watch={"server": bare.pid}, quiet=True)["read"]
            )
        writes = generator.run(server.base_url, WRITES, load, state=state, watch={"server": server.pid, "db": mongod.pid})
        rest = [operation for operation in READS if operation != "read"]
        searches = generator.run(server.base_url, rest, load, state=state, watch={"server": server.pid, "db": mongod.pid})
        memory = [processes.memory(worker) for worker in server.workers()]
    ready = processes.start_to_ready()
    result = {
        "read": statistics.median(row["throughput"] for row in ours),
        "bare_read": statistics.median(row["throughput"] for row in theirs),
        "read_cpu_ms": statistics.median(generator.cpu_ms(row) for row in ours),
        "bare_read_cpu_ms": statistics.median(generator.cpu_ms(row) for row in theirs),
        "writes": writes,
        "searches": searches,
        "memory": memory,
        "ready_seconds": ready,
    }
    result["read_ratio"] = result["read"] / result["bare_read"]
    print(f"\nRatios: 1 worker, {load.patients:,} patients, {load.concurrency} in flight\n")
    print(_ratio_table(result))
    return result


def _ratio_table(result: dict[str, Any]) -> str:
    rows: list[tuple[str, float | None, str, str]] = [
        ("read, bare ASGI route (req/s)", result["bare_read"], "", ""),
        ("read, server (req/s)", result["read"], "", ""),
        (
            "read, server / bare route",
            result["read_ratio"],
            f">= {READ_RATIO}",
            verdict(result["read_ratio"], READ_RATIO, at_least=True),
        ),
        ("read, bare route: CPU (ms)", result["bare_read_cpu_ms"], "", ""),
        ("read, server: CPU (ms)", result["read_cpu_ms"], "", ""),
    ]
    limits = {"create": CREATE_MS, "transaction": TRANSACTION_MS}
    for operation, row in (result["writes"] | result["searches"]).items():
        limit = limits.get(operation)
        cost = generator.cpu_ms(row)
        kept = (f"<= {limit}", verdict(cost, limit)) if limit else ("", "")
        rows.append((f"{operation}, server: CPU (ms)", cost, *kept))
    worst = max(memory["rss"] for memory in result["memory"])
    rows.append(("memory of the worker after the run (MiB RSS)", worst, f"<= {WORKER_MIB}", verdict(worst, WORKER_MIB)))
    ready = result["ready_seconds"]
    rows.append(("first start to Ready (s)", ready["first"], "", ""))
    rows.append(("start to Ready (s)", ready["later"], f"<= {READY_SECONDS}", verdict(ready["later"], READY_SECONDS)))
    return table(("figure", "value", "target", "kept"), rows)
