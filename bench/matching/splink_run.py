"""Splink on the same records: its library comparisons, trained by its own means, at the best threshold.

https://moj-analytical-services.github.io/splink/
"""

from typing import Any

import pandas as pd
import splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

from bench.matching.evaluate import Data, Pair
from fhir_server.matching import Record, match_keys

LEAST_PROBABILITY = 0.001
KINDS = [f"key_{kind}" for kind in "abcdefgh"]
"""A column for each kind of blocking key, so that Splink compares the pairs that we compare."""


def scores(data: Data, records: list[Record]) -> dict[Pair, float]:
    """Return the match weight of the pairs that Splink compares and does not dismiss."""
    frame = pd.DataFrame([_row(index, record, data) for index, record in enumerate(records)])
    linked = data.sources is not None
    settings = SettingsCreator(
        link_type="link_only" if linked else "dedupe_only",
        comparisons=_comparisons(frame),
        blocking_rules_to_generate_predictions=[block_on(kind) for kind in KINDS if frame[kind].notna().any()],
        unique_id_column_name="unique_id",
    )
    frames = [part for _, part in frame.groupby("source_dataset")] if linked else frame
    api = DuckDBAPI()
    tables = [api.register(part) for part in frames] if linked else api.register(frames)
    linker = Linker(tables, settings)
    linker.training.estimate_probability_two_random_records_match([block_on("given", "family", "birth")], recall=0.7)
    linker.training.estimate_u_using_random_sampling(max_pairs=2e6)
    for rule in (("birth",), ("given", "family")):
        linker.training.estimate_parameters_using_expectation_maximisation(block_on(*rule))
    found = linker.inference.predict(threshold_match_probability=LEAST_PROBABILITY).as_pandas_dataframe()
    return {
        (min(one, other), max(one, other)): float(weight)
        for one, other, weight in zip(found["unique_id_l"], found["unique_id_r"], found["match_weight"], strict=True)
    }


def _row(index: int, record: Record, data: Data) -> dict[str, Any]:
    name = record.names[0] if record.names else None
    address = record.addresses[0] if record.addresses else None
    birth = record.birth
    return {
        "unique_id": index,
        "source_dataset": f"s{data.sources[index] if data.sources else 0}",
        "given": name.given[0] if name and name.given else None,
        "family": (name.family or None) if name else None,
        "birth": f"{birth[:4]}-{birth[4:6]}-{birth[6:]}" if birth else None,
        "gender": record.gender or None,
        "phone": record.phones[0][-10:] if record.phones else None,
        "email": record.emails[0] if record.emails else None,
        "number": (address.number or None) if address else None,
        "street": (address.street or None) if address else None,
        "postcode": (address.postcode or None) if address else None,
        "city": (address.city or None) if address else None,
        **dict.fromkeys(KINDS),
        **{f"key_{key[0]}": key for key in reversed(match_keys(record))},
    }


def _comparisons(frame: pd.DataFrame) -> list[Any]:
    every = {
        "given": cl.JaroWinklerAtThresholds("given", [0.92, 0.8]).configure(term_frequency_adjustments=True),
        "family": cl.JaroWinklerAtThresholds("family", [0.92, 0.8]).configure(term_frequency_adjustments=True),
        "birth": cl.DateOfBirthComparison("birth", input_is_string=True),
        "gender": cl.ExactMatch("gender"),
        "phone": cl.LevenshteinAtThresholds("phone", 1),
        "email": cl.EmailComparison("email"),
        "number": cl.ExactMatch("number"),
        "street": cl.JaroWinklerAtThresholds("street", [0.9]),
        "postcode": cl.LevenshteinAtThresholds("postcode", [1, 2]),
        "city": cl.JaroWinklerAtThresholds("city", [0.9]),
    }
    return [comparison for name, comparison in every.items() if frame[name].notna().any()]
