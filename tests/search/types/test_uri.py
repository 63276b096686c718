from typing import Any

import pytest

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import entries
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter

END = "\U0010ffff"


def find(value: str, modifier: str = "", code: str = "url") -> dict[str, Any]:
    parameter = BUILTIN.get("ValueSet", code)
    assert parameter is not None
    return parameter_filter(parameter, modifier, [value])


def test_an_entry_is_the_uri() -> None:
    """A profile is found with and without its version."""
    found = entries({"resourceType": "ValueSet", "url": "http://x/vs", "meta": {"profile": ["http://x/p|1"]}})
    assert found["url"] == "http://x/vs"
    assert found["_profile"] == ["http://x/p", "http://x/p|1"]


def test_equality_is_exact() -> None:
    """It is no start, and case counts."""
    assert find("http://x/VS") == {"s.url": "http://x/VS"}


def test_below_goes_by_segments() -> None:
    """What only begins alike is not below."""
    below = {"$or": [{"s.url": "http://x/vs"}, {"s.url": {"$gte": "http://x/vs/", "$lt": "http://x/vs/" + END}}]}
    assert find("http://x/vs", "below") == find("http://x/vs/", "below") == below


def test_above_are_all_parents() -> None:
    """With and without a slash at their end."""
    assert find("http://x/a/b", "above") == {
        "s.url": {"$in": ["http://x", "http://x/a", "http://x/a/b", "http://x/", "http://x/a/", "http://x/a/b/"]}
    }


def test_urns_have_no_segments() -> None:
    """There is nothing above or below them but themselves."""
    assert find("urn:oid:1.2", "below") == find("urn:oid:1.2") == {"s.url": "urn:oid:1.2"}
    assert find("urn:oid:1.2", "above") == {"s.url": {"$in": ["urn:oid:1.2"]}}


def test_refuses_other_modifiers_and_nothing() -> None:
    """A 400 says what there is."""
    with pytest.raises(FhirError, match="these are: :above, :below, :missing"):
        find("http://x", "exact")
    with pytest.raises(FhirError, match="a uri is needed"):
        find("")
