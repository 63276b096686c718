"""Where protected identifiers stand, and what is put in their place."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir import protected
from fhir_server.fhir.protected import SSN, Change, Repeated, changed, find, look, systems

SYSTEMS = systems(f"{SSN},urn:own")
VALUES = st.sampled_from(["123-45-6789", "123456789", "987-65-4321", "A-1", 'say "x" 12', "tab\t123456"])
TEXTS = st.sampled_from(["", "no. 123-45-6789.", "123 45 6789", "0123456789", "987-65-4321", "A-1", 'say "x" 12'])
IDENTIFIERS = st.fixed_dictionaries(
    {"value": VALUES},
    optional={"system": st.sampled_from([SSN, "urn:own", "urn:other"]), "type": st.fixed_dictionaries({"text": TEXTS})},
)
PATIENTS = st.fixed_dictionaries(
    {"resourceType": st.just("Patient"), "identifier": st.lists(IDENTIFIERS, max_size=3)},
    optional={
        "contained": st.lists(st.fixed_dictionaries({"identifier": st.lists(IDENTIFIERS, min_size=1, max_size=1)}), max_size=1),
        "name": st.lists(st.fixed_dictionaries({"text": TEXTS}), max_size=2),
    },
)


@given(PATIENTS)
def test_the_short_way_gives_what_the_long_way_gives(patient: dict[str, Any]) -> None:
    def identifier(node: dict[str, Any]) -> dict[str, Any]:
        return node | {"value": f"<{len(node['value'])}>"}

    def text(value: str, repeated: Repeated) -> str:
        return repeated.replaced(value, lambda one, _: f"<{one.system}>")

    looked = look(patient, SYSTEMS)
    change = Change(identifier, text)

    assert changed(patient, looked, SYSTEMS, change) == protected._Changing(SYSTEMS, Repeated(looked.found), change).copy(patient)


@given(PATIENTS)
def test_identifiers_are_found_as_by_a_walk_through_all_members(patient: dict[str, Any]) -> None:
    def walked(node: Any) -> list[tuple[str, str]]:
        if isinstance(node, list):
            return [one for item in node for one in walked(item)]
        if not isinstance(node, dict):
            return []
        own = [(node["system"], node["value"])] if node.get("system") in SYSTEMS.names else []
        return own + [one for value in node.values() for one in walked(value)]

    assert sorted((one.system, one.value) for one in find(patient, SYSTEMS)) == sorted(walked(patient))


def test_the_short_way_is_taken_where_nothing_repeats_the_value() -> None:
    patient = {"resourceType": "Patient", "identifier": [{"system": SSN, "value": "123-45-6789"}], "name": [{"text": "Ada"}]}
    change = Change(lambda node: node | {"value": "x"}, lambda value, _: value)

    found = changed(patient, look(patient, SYSTEMS), SYSTEMS, change)

    assert found["identifier"] == [{"system": SSN, "value": "x"}]
    assert found["name"] is patient["name"]
    assert patient["identifier"][0]["value"] == "123-45-6789"
