"""Pairs of the words of names."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.search.fuzzy.keys import entries, pair, pairs, words_of


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([{"family": "Smith", "given": ["John"]}], ["~john smith"]),
        ([{"family": "Ek", "given": ["Åsa", "Maria"]}], ["~asa ek", "~ek maria"]),
        ([{"family": "von Ek", "given": ["Bo"]}], ["~bo ek", "~bo vonek"]),
        ([{"family": "Ek", "given": ["Anne-Marie"]}], ["~anne ek", "~annemarie ek", "~ek marie"]),
        ([{"family": "Ek", "given": ["Bo"]}, {"use": "maiden", "family": "Alm"}], ["~alm bo", "~bo ek"]),
        ([{"family": "Ek", "given": ["Bo"]}, {"use": "nickname", "given": ["Bobo"]}], ["~bo ek", "~bobo ek"]),
        ([{"text": "Bo van Ek"}], ["~bo ek"]),
        ([{"family": "Ek", "given": ["Bo"], "text": "Bo Ek Alm"}], ["~bo ek"]),
        ([{"family": "García Lopez"}], ["~garcia garcialopez", "~garcia lopez", "~garcialopez lopez"]),
        ([{"family": "Ek"}], []),
        ([{"given": [None, "Bo"], "_given": [{"extension": []}, None], "family": "Ek"}], ["~bo ek"]),
        ([{"use": "old"}], []),
    ],
)
def test_each_given_name_goes_with_each_family_name(names: list[dict[str, Any]], found: list[str]) -> None:
    """In alphabetical order, without particles, and without gaps as well."""
    assert pairs(names) == found


def test_a_pair_has_one_order() -> None:
    """So it does not matter which word was typed first."""
    assert pair("smith", "john") == pair("john", "smith") == "~john smith"
    assert list(words_of(["~john smith", "a20200101"])) == ["john", "smith"]


@given(st.lists(st.lists(st.text(min_size=1), min_size=1, max_size=9), min_size=1, max_size=12))
def test_there_are_never_many(names: list[list[str]]) -> None:
    """However many names a patient has."""
    patient = {"resourceType": "Patient", "name": [{"family": name[0], "given": name[1:]} for name in names]}
    assert all(len(keys) <= 16 for keys in entries(patient).values())
