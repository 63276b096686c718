"""From a method and a path to a Call: https://hl7.org/fhir/R4/http.html#summary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.exchange import Call
from fhir_server.fhir.outcome import FhirError
from fhir_server.interactions.request import call_for

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("GET", "", Call("search-system", affects_state=False)),
        ("POST", "/", Call("transaction")),
        ("GET", "metadata", Call("capabilities", affects_state=False)),
        ("GET", "_history", Call("history-system", affects_state=False)),
        ("POST", "_search", Call("search-system")),
        ("GET", "Patient", Call("search-type", "Patient", affects_state=False)),
        ("POST", "Patient", Call("create", "Patient")),
        ("PUT", "Patient", Call("update", "Patient")),
        ("DELETE", "Patient", Call("delete", "Patient")),
        ("POST", "Patient/_search", Call("search-type", "Patient")),
        ("GET", "Patient/_history", Call("history-type", "Patient", affects_state=False)),
        ("GET", "Patient/1", Call("read", "Patient", "1", affects_state=False)),
        ("HEAD", "/Patient/1/", Call("read", "Patient", "1", affects_state=False)),
        ("PATCH", "Patient/1", Call("patch", "Patient", "1")),
        ("GET", "Patient/1/_history", Call("history-instance", "Patient", "1", affects_state=False)),
        ("GET", "Patient/1/_history/2", Call("vread", "Patient", "1", "2", affects_state=False)),
        ("POST", "Patient/$match", Call("operation", "Patient", operation="match")),
        ("GET", "Patient/1/$everything", Call("operation", "Patient", "1", operation="everything", affects_state=False)),
        ("POST", "$export", Call("operation", operation="export")),
        (
            "GET",
            "Patient/1/Observation",
            Call("search-compartment", "Observation", compartment=("Patient", "1"), affects_state=False),
        ),
        ("POST", "Patient/1/*/_search", Call("search-compartment", compartment=("Patient", "1"))),
    ],
)
def test_a_path_is_what_the_specification_says(method: str, path: str, call: Call) -> None:
    assert call_for(method, path) == call


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "Nobody", 404),
        ("GET", "patient/1", 404),
        ("GET", "Patient/1/2", 404),
        ("GET", "Patient/1/_history/2/3", 404),
        ("GET", "Patient/a_b", 400),
        ("GET", "Patient/" + "a" * 65, 400),
        ("GET", "Patient/1/$", 400),
        ("POST", "Patient/1", 405),
        ("DELETE", "metadata", 405),
        ("PUT", "Patient/1/_history/1", 405),
    ],
)
def test_other_paths_are_refused(method: str, path: str, status: int) -> None:
    with pytest.raises(FhirError) as caught:
        call_for(method, path)
    assert caught.value.status == status


@given(
    st.sampled_from(METHODS),
    st.text() | st.lists(st.sampled_from(["Patient", "1", "_history", "$x", "*", "_search", "%2F", ""])).map("/".join),
)
def test_no_path_does_anything_but_answer_or_be_refused(method: str, path: str) -> None:
    try:
        call = call_for(method, path)
    except FhirError as error:
        assert error.status in (400, 404, 405)
    else:
        assert call.interaction
