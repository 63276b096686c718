"""`script/bench`: measures the server and prints tables; --help tells the parts."""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.load import GENERATOR, READS, WRITES, Load
from bench.report import machine, save

PARTS = ("micro", "throughput", "ratios", "merge", "security")


def main() -> int:
    """Run the parts that were asked for."""
    options = _options()
    load = Load(
        options.patients, options.rev_patients, options.seconds, options.repeats, 1.0, options.concurrency, options.noise_limit
    )
    if options.quick:
        load = replace(load, patients=min(options.patients, 1000), rev_patients=20, seconds=2.0, repeats=1, warmup=0.5)
    what = machine()
    print(f"{what['cpus']} x {what['cpu']}, {what['memory_gib']} GiB, {what['platform']}, Python {what['python']}")
    result: dict[str, Any] = {"load": {name: getattr(load, name) for name in Load.__slots__}}
    if options.plot:
        from bench.plot import draw  # noqa: PLC0415 -- each part loads what it needs only

        print(f"Drawn in {draw()}.")
        return 0
    if options.search_size:
        from bench.size import search_at_size  # noqa: PLC0415 -- the same

        result["size"] = search_at_size(options.search_size, options.others, options.data, quick=options.quick)
        save(f"size-{options.search_size}", result)
        return 0
    if options.fuzzy:
        from bench.fuzzy import search_fuzzily  # noqa: PLC0415 -- the same

        result["fuzzy"] = search_fuzzily(options.fuzzy, options.data, requests=30 if options.quick else 300)
        save(f"fuzzy-{options.fuzzy}", result)
        return 0
    for part in options.parts:
        result[part] = _run(part, options, load)
    path = save("quick" if options.quick else "bench", result)
    print(f"\nEverything is in {path}.")
    return 0


def _run(part: str, options: argparse.Namespace, load: Load) -> dict[str, Any]:
    if part == "micro":
        from bench.micro import micro  # noqa: PLC0415 -- each part loads what it needs only

        return micro(0.3 if options.quick else 2.0)
    if part == "merge":
        from bench.merge import merge  # noqa: PLC0415 -- the same

        return merge(quick=options.quick)
    from bench import parts  # noqa: PLC0415 -- the same

    if not GENERATOR.exists():
        raise SystemExit(f"The load generator {GENERATOR} is missing; `--parts micro` and `--search-size` run without it.")
    with tempfile.TemporaryDirectory(prefix="fhir-bench-state-") as directory:
        if part == "security":
            from bench.security import security  # noqa: PLC0415 -- each part loads what it needs only

            return security(load, Path(directory))
        if part == "ratios":
            return parts.ratios(load, Path(directory))
        return parts.throughput(load, Path(directory), workers=options.workers, operations=options.ops)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    parser.add_argument(
        "--parts", type=_choices(PARTS), default=PARTS, help=f"comma-separated; all by default: {','.join(PARTS)}"
    )
    operations = (*READS, *WRITES)
    parser.add_argument(
        "--ops", type=_choices(operations), default=operations, help=f"of the part throughput: {','.join(operations)}"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="measured time of one run (default 10)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each operation; the median counts (default 3)")
    parser.add_argument("--patients", type=int, default=10_000, help="patients in the database (default 10000)")
    parser.add_argument("--rev-patients", type=int, default=100, help="patients with encounters and observations (default 100)")
    parser.add_argument("--concurrency", type=int, default=16, help="requests in flight (default 16)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes in the part throughput (default 2)")
    parser.add_argument(
        "--noise-limit", type=float, default=0.0, metavar="CORES", help="repeat a run while others use more than this"
    )
    parser.add_argument("--quick", action="store_true", help="1,000 patients and short runs: to see that it works")
    parser.add_argument("--search-size", type=int, default=0, metavar="N", help="instead: searches over N patients")
    parser.add_argument("--fuzzy", type=int, default=0, metavar="N", help="instead: searches as people type over N patients")
    parser.add_argument("--others", type=int, default=0, metavar="M", help="other resources at that size (default 5 N)")
    parser.add_argument("--data", type=Path, help="keep the data of --search-size here, and use them again")
    parser.add_argument("--plot", action="store_true", help="instead: draw what was measured at several sizes")
    return parser.parse_args()


def _choices(known: tuple[str, ...]) -> Any:
    def read(text: str) -> tuple[str, ...]:
        chosen = tuple(word.strip() for word in text.split(",") if word.strip())
        if unknown := [word for word in chosen if word not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return chosen

    return read


if __name__ == "__main__":
    sys.exit(main())
