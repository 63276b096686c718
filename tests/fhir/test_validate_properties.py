"""Whatever it is given, the validator answers with issues that can be sent."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_server.fhir import codec
from fhir_server.fhir.outcome import Issue
from fhir_server.fhir.validate import validate

_NAMES = st.sampled_from(
    "resourceType id contained extension url valueString _valueString name given _given family gender _gender birthDate"  # noqa: SIM905 - names read better in a row
    " generalPractitioner reference type text div status meta profile coding system code value entry resource".split()
)
_SCALARS = st.none() | st.booleans() | st.integers() | st.decimals() | st.floats() | st.text(max_size=8)
_TEXTS = st.sampled_from(["Patient", "Bundle", "Condition", "Parameters", "#", "#a", "Patient/1", "2024-02-30"])
_JSON = st.recursive(
    _SCALARS | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=25,
)
_slow = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


def _sent(issues: list[Issue]) -> Any:
    return json.loads(codec.encode([issue.to_fhir() for issue in issues]))


@_slow
@given(_JSON)
def test_any_json_is_judged_without_failing(value: Any):
    issues = validate(value)
    assert len(_sent(issues)) == len(issues)
    assert issues or isinstance(value, dict)


@_slow
@given(st.sampled_from(["Patient", "Bundle", "Condition", "Parameters"]), st.dictionaries(_NAMES, _JSON, max_size=8))
def test_a_resource_of_any_members_is_judged_without_failing(type_: str, members: dict[str, Any]):
    issues = validate(members | {"resourceType": type_})
    assert all(issue["expression"][0].startswith(type_) for issue in _sent(issues) if "expression" in issue)


@_slow
@given(st.text(max_size=40))
def test_any_text_is_judged_without_failing_as_each_primitive(text: str):
    for name in ("Base64Binary", "Code", "Date", "DateTime", "Id", "Instant", "Oid", "String", "Time", "Uri", "Url", "Uuid"):
        extension = {"url": "http://example.org/x", f"value{name}": text}
        issues = validate({"resourceType": "Basic", "code": {"text": "x"}, "extension": [extension]})
        assert len(_sent(issues)) <= 1
