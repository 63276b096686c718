from typing import Any

import pytest

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import entries
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter


def find(type_: str, code: str, value: str, modifier: str = "") -> dict[str, Any]:
    parameter = BUILTIN.get(type_, code)
    assert parameter is not None
    return parameter_filter(parameter, modifier, [value])


def test_a_position_is_a_point() -> None:
    """Longitude first, as GeoJSON wants; one that is nowhere has no entry."""
    location = {"resourceType": "Location", "position": {"longitude": -83.69, "latitude": 42.25}}
    assert entries(location)["near"] == {"type": "Point", "coordinates": [-83.69, 42.25]}
    assert "near" not in entries({"resourceType": "Location", "position": {"longitude": 400, "latitude": 0}})


def test_near_is_a_circle() -> None:
    """In kilometres, 50 of them where none are said."""
    circle = {"$centerSphere": [[-83.69, 42.25], pytest.approx(11 / 6378.1)]}
    assert find("Location", "near", "42.25|-83.69|11|km") == {"s.near": {"$geoWithin": circle}}
    assert find("Location", "near", "42.25|-83.69")["s.near"]["$geoWithin"]["$centerSphere"][1] == pytest.approx(50 / 6378.1)
    assert find("Location", "near", "42.25|-83.69|1000|m")["s.near"]["$geoWithin"]["$centerSphere"][1] == pytest.approx(
        1 / 6378.1
    )


@pytest.mark.parametrize("value", ["", "42", "a|b", "91|0", "0|181", "0|0|-1", "0|0|1|lightyears", "0|0|1|km|x", "|", "0|"])
def test_refuses_what_is_no_place(value: str) -> None:
    """A 400 says what is expected."""
    with pytest.raises(FhirError, match="is no valid value of the search parameter 'near'"):
        find("Location", "near", value)


def test_the_words_of_narrative_and_content_are_one_entry() -> None:
    """Without markup, urls and references."""
    patient = {
        "resourceType": "Patient",
        "text": {"status": "generated", "div": "<div><b>Ada&nbsp;Holm</b> ada</div>"},
        "identifier": [{"system": "http://hidden", "value": "A-1"}],
        "managingOrganization": {"reference": "Organization/hidden", "display": "Clinic"},
    }
    found = entries(patient)
    assert found["_text"] == " ada holm"
    assert sorted(found["_content"].split()) == ["1", "a", "ada", "clinic", "generated", "holm"]


def test_a_huge_text_has_its_first_words() -> None:
    """A resource has to stay below the 16 MB of MongoDB together with its entries."""
    patient = {"resourceType": "Patient", "name": [{"text": " ".join(f"w{number}" for number in range(6000))}]}
    assert len(entries(patient)["_content"].split()) == 5000


def test_all_words_have_to_be_there() -> None:
    """Each by its start, and none as a pattern."""
    assert find("Patient", "_text", "Ada") == {"s._text": {"$regex": " ada"}}
    assert find("Patient", "_content", "Åda .*") == {"s._content": {"$regex": " ada"}}
    assert find("Patient", "_content", "a b") == {"$and": [{"s._content": {"$regex": " a"}}, {"s._content": {"$regex": " b"}}]}
    with pytest.raises(FhirError, match="a word to look for is needed"):
        find("Patient", "_content", "...")
    with pytest.raises(FhirError, match="The modifier :exact is not supported"):
        find("Patient", "_text", "x", "exact")
