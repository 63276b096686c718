"""Flat fields and FHIR elements, there and back, without a database."""

import copy
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.demo.population import resources_of
from fhir_server.fhir.validate import check_invariants, validate
from prm_ext.patients import coverage, mapping
from prm_ext.patients.fields.names import parsed, shown
from prm_ext.patients.schemas import PatientCreate, PatientOut

SYSTEM = "urn:prm:mrn:default"
texts = st.text(string.ascii_letters + "éüñ'-. ,", min_size=1, max_size=30).map(lambda text: " ".join(text.split())).filter(bool)
codes = st.text(string.ascii_letters + string.digits + "-.", min_size=1, max_size=20)
dates = st.dates().map(lambda day: f"{day.year:04}-{day.month:02}-{day.day:02}")
FLAT = {
    "mrn": texts,
    "legal_name": texts,
    "preferred_name": texts,
    "aliases": st.lists(texts, min_size=1, max_size=3, unique=True),
    "date_of_birth": dates,
    "gender": st.sampled_from(["male", "female", "other", "unknown"]),
    "birth_sex": st.sampled_from(["F", "M", "OTH", "UNK"]),
    "primary_phone": texts,
    "secondary_phone": texts,
    "email": texts,
    "address_line1": texts,
    "city": texts,
    "state": texts,
    "zip_code": texts,
    "preferred_contact_method": st.sampled_from(["phone", "email", "whatsapp", "sms"]),
    "race": st.one_of(texts, st.sampled_from(["White", "asian", "Asian, White"])),
    "ethnicity": st.one_of(texts, st.just("Hispanic or Latino")),
    "preferred_language": st.sampled_from(["es", "en-US", "zh-Hant-TW"]),
    "marital_status": st.one_of(texts, st.sampled_from(["single", "married", "widowed"])),
    "primary_care_provider_id": codes,
    "photo_url": codes.map(lambda code: f"https://example.org/{code}"),
    "emergency_contact_name": texts,
    "emergency_contact_phone": texts,
    "status": st.sampled_from(["active", "inactive", "deceased"]),
}
ALWAYS = ("legal_name", "status")
flat_patients = st.fixed_dictionaries(
    {name: FLAT[name] for name in ALWAYS}, optional={name: FLAT[name] for name in FLAT if name not in ALWAYS}
)
DEMO = [resource for resource in resources_of(patients=12, seed=3) if resource["resourceType"] == "Patient"]


def values_of(resource):
    """Return the flat values but those that follow from others."""
    derived = ("id", "version", "updated_at", "ssn_last4", "deceased_at")
    return {name: value for name, value in mapping.to_flat(resource, SYSTEM).items() if name not in derived}


def given_of(resource):
    return {name: value for name, value in values_of(resource).items() if value is not None}


@settings(max_examples=60)
@given(flat_patients)
def test_every_flat_patient_comes_back_as_it_was_and_is_a_valid_fhir_patient(flat):
    resource = mapping.new(flat, SYSTEM)
    assert validate(resource) == []
    assert [issue for issue in check_invariants(resource) if issue.severity == "error"] == []
    assert given_of(resource) == flat


@settings(max_examples=60)
@given(flat_patients, flat_patients)
def test_a_change_of_all_fields_gives_what_was_asked_for_and_the_same_again_changes_nothing(before, after):
    resource = mapping.new(before, SYSTEM)
    wanted = {name: after.get(name) for name in FLAT if name != "mrn"}
    changed = mapping.changed(resource, wanted, SYSTEM)
    found = given_of(changed)
    expected = {name: value for name, value in wanted.items() if value is not None}
    assert {name: value for name, value in found.items() if name != "mrn"} == expected
    assert found.get("mrn") == before.get("mrn")
    assert mapping.changed(changed, wanted, SYSTEM) == changed
    assert validate(changed) == []


@given(st.sampled_from(DEMO), st.sampled_from(sorted(FLAT)), st.data())
def test_one_field_of_a_patient_of_an_ehr_changes_and_no_other(patient, name, data):
    value = data.draw(FLAT[name])
    before = copy.deepcopy(patient)
    changed = mapping.changed(patient, {name: value}, SYSTEM)
    assert patient == before
    flat = values_of(changed)
    assert flat.pop(name) == value
    same = values_of(patient)
    del same[name]
    if name == "secondary_phone" and values_of(patient)["primary_phone"] is None:
        same.pop("primary_phone")
        flat.pop("primary_phone")
    assert flat == same
    assert validate(changed) == []


@pytest.mark.parametrize("patient", DEMO, ids=lambda patient: patient["id"])
def test_what_is_read_of_a_patient_of_an_ehr_can_be_written_back_without_a_change(patient):
    flat = given_of(patient)
    assert mapping.changed(patient, flat, SYSTEM) == patient
    assert mapping.to_flat(mapping.new(flat, SYSTEM), SYSTEM).items() >= flat.items()


@pytest.mark.parametrize(
    ("text", "given_names", "family", "more"),
    [
        ("Ada Lovelace", ["Ada"], "Lovelace", {}),
        ("Ludwig van Beethoven", ["Ludwig"], "van Beethoven", {}),
        ("Maria de la Cruz", ["Maria"], "de la Cruz", {}),
        ("García Márquez, Gabriel José", ["Gabriel", "José"], "García Márquez", {}),
        ("Dr. Martin Luther King, Jr.", ["Martin", "Luther"], "King", {"prefix": ["Dr."], "suffix": ["Jr."]}),
        ("Smith, John III", ["John"], "Smith", {"suffix": ["III"]}),
        ("Madonna", ["Madonna"], None, {}),
    ],
)
def test_names_are_taken_apart(text, given_names, family, more):
    name = parsed(text)
    assert (name.get("given"), name.get("family")) == (given_names, family)
    assert {member: value for member, value in name.items() if member in ("prefix", "suffix")} == more
    assert shown(name) == text


def test_a_name_without_a_text_is_put_together():
    assert (
        shown({"prefix": ["Dr."], "given": ["Ada", "K."], "family": "Lovelace", "suffix": ["PhD"]}) == "Dr. Ada K. Lovelace PhD"
    )


@pytest.mark.parametrize(
    ("telecom", "primary", "secondary"),
    [
        ([("phone", "1", None), ("phone", "2", None)], "1", "2"),
        ([("phone", "1", 2), ("phone", "2", 1)], "2", "1"),
        ([("email", "e", 1), ("sms", "1", None)], "1", None),
        ([("phone", "1", 2)], None, "1"),
        ([], None, None),
    ],
)
def test_phones_are_ordered_by_their_rank(telecom, primary, secondary):
    points = [{"system": system, "value": value, **({"rank": rank} if rank else {})} for system, value, rank in telecom]
    flat = mapping.to_flat({"telecom": points}, SYSTEM)
    assert (flat["primary_phone"], flat["secondary_phone"]) == (primary, secondary)


def test_former_phones_and_addresses_are_not_shown():
    patient = {
        "telecom": [{"system": "phone", "value": "1", "use": "old"}],
        "address": [{"use": "old", "city": "Bath"}, {"use": "home", "city": "London"}],
    }
    flat = mapping.to_flat(patient, SYSTEM)
    assert (flat["primary_phone"], flat["city"]) == (None, "London")


def test_a_line_that_goes_takes_its_extensions_along_and_no_others():
    patient = {"address": [{"line": ["1", "2", "3"], "_line": [None, {"id": "second"}, {"id": "third"}], "text": "1, 2, 3"}]}
    changed = mapping.changed(patient, {"address_line2": None}, SYSTEM)
    assert changed["address"] == [{"line": ["1", "3"], "_line": [None, {"id": "third"}]}]


def test_the_preferred_language_is_marked_and_the_others_stay():
    patient = {"communication": [{"language": {"coding": [{"code": "en"}]}, "preferred": True}, {"language": {"text": "fr"}}]}
    changed = mapping.changed(patient, {"preferred_language": "fr"}, SYSTEM)
    assert [one["preferred"] for one in changed["communication"]] == [False, True]
    assert mapping.changed(changed, {"preferred_language": None}, SYSTEM)["communication"][1]["preferred"] is False


def test_death_is_a_status_and_its_date_tells_it_too():
    dead = mapping.changed({"active": True}, {"deceased_at": "2026-01-01"}, SYSTEM)
    assert (mapping.to_flat(dead, SYSTEM)["status"], dead["active"]) == ("deceased", True)
    assert mapping.changed(dead, {"status": "deceased"}, SYSTEM) == dead
    assert mapping.changed(dead, {"status": "active"}, SYSTEM) == {"active": True}
    assert mapping.changed(dead, {"deceased_at": None}, SYSTEM) == {"active": True, "deceasedBoolean": True}


def test_the_social_security_number_is_written_and_only_its_end_is_read():
    patient = mapping.new({"legal_name": "Ada", "ssn": "219-09-9999"}, SYSTEM)
    assert patient["identifier"][0]["value"] == "219-09-9999"
    flat = mapping.to_flat(patient, SYSTEM)
    assert flat["ssn_last4"] == "9999"
    assert "ssn" not in flat
    patient["identifier"][0]["value"] = "***-**-9999"
    assert mapping.to_flat(patient, SYSTEM)["ssn_last4"] == "9999"
    patient["identifier"][0]["value"] = "***"
    assert mapping.to_flat(patient, SYSTEM)["ssn_last4"] is None
    assert "identifier" not in mapping.changed(patient, {"ssn": None}, SYSTEM)


@pytest.mark.parametrize(
    ("expression", "field"),
    [
        ("Patient.telecom[0].value", "primary_phone"),
        ("Patient.telecom[1].value", "secondary_phone"),
        ("Patient.telecom[2].value", "email"),
        ("Patient.name[0].text", "legal_name"),
        ("Patient.birthDate", "date_of_birth"),
        ("Patient.address[0].line[1]", "address_line2"),
        ("Patient.address[0].city", "city"),
        ("Patient.contact[0].telecom[0].value", "emergency_contact_phone"),
        ("Patient.contact[0]", "emergency_contact_name"),
        ("Patient.identifier[0].value", "ssn"),
        ("Patient.link[0].other", ""),
    ],
)
def test_errors_of_elements_are_errors_of_fields(expression, field):
    flat = {
        "legal_name": "Ada",
        "ssn": "219-09-9999",
        "date_of_birth": "1815",
        "primary_phone": "1",
        "secondary_phone": "2",
        "email": "e",
        "address_line1": "a",
        "address_line2": "b",
        "city": "c",
        "emergency_contact_name": "x",
        "emergency_contact_phone": "y",
    }
    assert mapping.field_of(expression, mapping.new(flat, SYSTEM), SYSTEM) == field


def test_every_field_of_the_interface_is_mapped_and_every_mapped_one_is_in_the_interface():
    names = set(mapping.fields(SYSTEM))
    beside = {"org_id", "insurance"}
    assert set(PatientCreate.model_fields) == (names - {"ssn_last4"}) | beside
    derived = {"id", "version", "created_at", "updated_at", "deleted_at", "score", "warnings"}
    assert set(PatientOut.model_fields) == (names - {"ssn"}) | beside | derived


coverages = st.fixed_dictionaries(
    {"payer_name": texts},
    optional={
        "member_id": texts,
        "group_number": texts,
        "plan_name": texts,
        "relationship": st.sampled_from(["self", "spouse", "child"]),
        "effective_date": dates,
        "termination_date": dates,
    },
)


@given(coverages, coverages)
def test_insurance_maps_there_and_back_and_changes_as_asked(flat, other):
    resource = coverage.new("Patient/a", flat)
    assert validate(resource) == []
    found = coverage.to_flat(resource)
    assert {name: value for name, value in found.items() if value is not None} == flat | {"status": "active"}
    changed = coverage.changed(resource | {"order": 1, "network": "kept"}, other)
    assert coverage.to_flat(changed).items() >= other.items()
    assert (changed["order"], changed["network"]) == (1, "kept")
