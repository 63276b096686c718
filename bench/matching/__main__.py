"""`script/bench-matching`: how well duplicates are found, beside Splink; --help tells what else it does."""

import argparse
import json
import logging
import time
from collections.abc import Iterable, Iterator

from bench.matching import em, febrl, splink_run, tuning, weights
from bench.matching.evaluate import Data, Pair, Quality, assessments, best, candidates, labelled, quality
from bench.matching.population import make
from fhir_server.matching import Assessment, Model, default_model

TRAINING = (11, 12, 13)
"""What the default model was set on; never to be judged on."""
TEST = (101, 102, 103, 104, 105, 106)
GOOD = ("certain", "probable")


def main() -> int:
    """Do what was asked for."""
    options = _options()
    logging.disable(logging.WARNING)
    if options.fit:
        found = weights.fitted([labelled(f"seed {seed}", make(seed)) for seed in TRAINING])
        print(json.dumps(found, indent=2))
    elif options.tune:
        print(json.dumps(tuning.Tuner(TRAINING).tuned(default_model().model_dump(mode="json")), indent=2))
    else:
        _judge(options.seeds, with_splink=not options.no_splink)
    return 0


def _judge(seeds: Iterable[int], *, with_splink: bool) -> None:
    print(f"{'population':12} {'':36} {'F1':>7} {'precision':>9} {'recall':>7}   pairs")
    for data in _populations(seeds):
        records = data.records()
        pairs = candidates(data, records)
        print(f"{data.name:12} {len(records):,} records, {len(data.truth):,} pairs are one person;", end=" ")
        print(f"{len(pairs):,} share a key, {len(pairs & data.truth) / len(data.truth):.4f} of those that are")
        single = data.name.startswith("FEBRL")
        _show_ours(data, "default model", default_model(), records, pairs)
        if single:
            _show_ours(data, "estimated, no households", em.estimated(data, records, pairs), records, pairs)
        if with_splink:
            began = time.process_time()
            at, found = best(splink_run.scores(data, records), data.truth)
            _show(f"Splink, best threshold ({at:.1f})", found, f"{time.process_time() - began:.1f} s")


def _populations(seeds: Iterable[int]) -> Iterator[Data]:
    yield febrl.febrl3()
    yield febrl.febrl4()
    for seed in seeds:
        yield labelled(f"hard {seed}", make(seed))


def _show_ours(data: Data, name: str, model: Model, records: list, pairs: set[Pair]) -> None:
    began = time.process_time()
    found = assessments(model, records, pairs)
    took = f"{time.process_time() - began:.1f} s"
    at, top = best({pair: one.bits for pair, one in found.items()}, data.truth)
    _show(f"{name}, best threshold ({at:.1f})", top, took)
    _show(f"{name}, probable", quality(_graded(found, GOOD), data.truth), "")
    _show(f"{name}, certain", quality(_graded(found, GOOD[:1]), data.truth), "")


def _graded(found: dict[Pair, Assessment], grades: tuple[str, ...]) -> set[Pair]:
    return {pair for pair, one in found.items() if one.grade in grades}


def _show(name: str, found: Quality, took: str) -> None:
    print(f"  {name:47} {found.f1:7.4f} {found.precision:9.4f} {found.recall:7.4f}   {took}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench-matching", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=TEST, help="seeds of the hard population")
    parser.add_argument("--no-splink", action="store_true", help="judge our matching only")
    parser.add_argument("--fit", action="store_true", help="count the weights on the seeds for training, and print them")
    parser.add_argument("--tune", action="store_true", help="tune the default model on the seeds for training, and print it")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
