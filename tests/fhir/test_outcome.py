"""Errors and their OperationOutcome."""

from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.codec import decode, encode
from fhir_server.fhir.outcome import Issue, bad_request, operation_outcome
from fhir_server.fhir.xml import from_xml, to_xml


@given(st.text(st.characters(codec=None), min_size=1), st.text(min_size=1))
def test_an_error_can_be_sent_whatever_it_quotes(diagnostics: str, expression: str) -> None:
    outcome = bad_request(diagnostics, expression).to_fhir()
    assert decode(encode(outcome)) == outcome
    assert from_xml(to_xml(outcome)) == outcome


def test_what_can_not_be_sent_is_replaced() -> None:
    assert Issue("value", "a\x00b\ud800c\n", ("x\x01",)).to_fhir() == {
        "severity": "error",
        "code": "value",
        "diagnostics": "a\ufffdb\ufffdc\n",
        "expression": ["x\ufffd"],
    }


def test_an_outcome_without_issues_says_that_all_is_well() -> None:
    assert operation_outcome([]) == {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "information", "code": "informational", "diagnostics": "All OK"}],
    }
