"""$match: https://hl7.org/fhir/R4/patient-operation-match.html."""

from typing import Any

import httpx
import pytest

from tests.conftest import client_of
from tests.interactions.test_search import put

GRADE = "http://hl7.org/fhir/StructureDefinition/match-grade"
EVIDENCE = "urn:prm:match-evidence"


def patient(id_: str = "", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "resourceType": "Patient",
        "name": [{"family": "Okonkwo", "given": ["Adaeze", "Ruth"]}],
        "gender": "female",
        "birthDate": "1984-03-07",
        "telecom": [{"system": "phone", "value": "+1 415 555 0134"}, {"system": "email", "value": "adaeze@example.org"}],
        "address": [{"line": ["12 Harbour Street"], "city": "Oakland", "postalCode": "94607"}],
    }
    found |= {name: value for name, value in more.items() if value is not None}
    for name in [name for name, value in more.items() if value is None]:
        del found[name]
    return found | ({"id": id_} if id_ else {})


def parameters(resource: Any, **simple: Any) -> dict[str, Any]:
    kinds = {bool: "valueBoolean", int: "valueInteger", str: "valueString"}
    listed = [{"name": name, kinds[type(value)]: value} for name, value in simple.items()]
    return {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": resource}, *listed]}


async def match(http: httpx.AsyncClient, resource: Any, **simple: Any) -> dict[str, Any]:
    reply = await http.post("Patient/$match", json=parameters(resource, **simple))
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    assert (found["resourceType"], found["type"]) == ("Bundle", "searchset")
    assert found["total"] == len([one for one in found.get("entry", []) if one["search"]["mode"] == "match"])
    return found


def graded(bundle: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (one["resource"]["id"], next(part["valueCode"] for part in one["search"]["extension"] if part["url"] == GRADE))
        for one in bundle.get("entry", [])
        if one["search"]["mode"] == "match"
    ]


async def test_the_same_patient_is_certain_and_scores_nearly_one(http):
    await put(http, patient("p1"))
    found = await match(http, patient())
    assert graded(found) == [("p1", "certain")]
    entry = found["entry"][0]
    assert entry["search"]["score"] > 0.999
    assert entry["fullUrl"] == "http://test/fhir/Patient/p1"
    assert entry["search"]["mode"] == "match"


async def test_a_partial_patient_is_enough(http):
    await put(http, patient("p1"))
    found = await match(
        http, {"resourceType": "Patient", "name": [{"family": "Okonkwo", "given": ["Ada"]}], "birthDate": "1984-03-07"}
    )
    assert [id_ for id_, _ in graded(found)] == ["p1"]


async def test_better_matches_come_first_and_count_bounds_them(http):
    await put(http, patient("exact"))
    await put(http, patient("similar", name=[{"family": "Okonkow", "given": ["Adaeze"]}], telecom=None))
    await put(
        http, patient("alien", name=[{"family": "Smith", "given": ["John"]}], birthDate="1950-01-02", telecom=None, address=None)
    )
    found = await match(http, patient())
    assert [id_ for id_, _ in graded(found)] == ["exact", "similar"]
    scores = [one["search"]["score"] for one in found["entry"]]
    assert scores == sorted(scores, reverse=True)
    assert [id_ for id_, _ in graded(await match(http, patient(), count=1))] == ["exact"]


async def test_none_gives_an_empty_bundle(http):
    found = await match(http, patient())
    assert "entry" not in found
    assert found["total"] == 0


async def test_only_certain_matches_are_answered_where_exactly_one_is_certain(http):
    await put(http, patient("p1"))
    await put(http, patient("p2", name=[{"family": "Okonkwo", "given": ["Adaora"]}], birthDate="1985-03-07", gender="female"))
    assert graded(await match(http, patient(), onlyCertainMatches=True)) == [("p1", "certain")]


async def test_several_certain_matches_are_none(http):
    await put(http, patient("p1"))
    await put(http, patient("p2"))
    assert graded(await match(http, patient(), onlyCertainMatches=True)) == []
    assert sorted(graded(await match(http, patient()))) == [("p1", "probable"), ("p2", "probable")]


async def test_another_generation_is_never_certain(http):
    senior = [{"family": "Okonkwo", "given": ["Adaeze"], "suffix": ["Sr"]}]
    junior = [{"family": "Okonkwo", "given": ["Adaeze"], "suffix": ["Jr."]}]
    await put(http, patient("senior", name=senior))
    found = graded(await match(http, patient(name=junior)))
    assert [grade for _, grade in found] != ["certain"]
    assert graded(await match(http, patient(name=junior), onlyCertainMatches=True)) == []
    assert graded(await match(http, patient(name=senior), onlyCertainMatches=True)) == [("senior", "certain")]


async def test_a_twin_is_never_certain(http):
    await put(http, patient("twin", name=[{"family": "Okonkwo", "given": ["Chidi"]}], gender="male"))
    assert [grade for _, grade in graded(await match(http, patient())) if grade == "certain"] == []
    assert graded(await match(http, patient(), onlyCertainMatches=True)) == []


async def test_an_identifier_alone_is_enough_to_find_and_to_be_certain(http):
    identifier = [{"system": "http://example.org/members", "value": "A|7"}]
    await put(http, patient("p1", identifier=identifier))
    found = await match(http, {"resourceType": "Patient", "identifier": identifier})
    assert graded(found) == [("p1", "certain")]


async def test_an_identifier_of_another_person_is_not_certain(http):
    identifier = [{"system": "http://example.org/members", "value": "7"}]
    await put(http, patient("p1", identifier=identifier))
    other = {
        "resourceType": "Patient",
        "identifier": identifier,
        "name": [{"family": "Lee", "given": ["Bo"]}],
        "birthDate": "1950-01-01",
    }
    assert [grade for _, grade in graded(await match(http, other)) if grade == "certain"] == []


async def test_another_social_security_number_bars_certainty(http):
    system = "http://hl7.org/fhir/sid/us-ssn"
    await put(http, patient("p1", identifier=[{"system": system, "value": "536-22-1234"}]))
    same, other = ([{"system": system, "value": value}] for value in ("536-22-1234", "536-22-9876"))
    assert graded(await match(http, patient(identifier=same))) == [("p1", "certain")]
    assert graded(await match(http, patient(identifier=other))) == [("p1", "probable")]


async def test_protected_identifiers_of_matches_are_shown_as_by_a_read(settings, database, tmp_path):
    models = tmp_path / "models.json"
    models.write_text('{"default": {"candidates": 1}}')
    ssn = [{"system": "http://hl7.org/fhir/sid/us-ssn", "value": "536-22-1234"}]
    for changed in ({}, {"match_models": models}):
        async with client_of(settings.model_copy(update=changed), database) as http:
            await put(http, patient("p1", identifier=ssn))
            await put(http, patient("p2", name=[{"family": "Li", "given": ["Bo"]}]))
            stored = (await http.get("Patient/p1")).json()
            (found,) = [one["resource"] for one in (await match(http, patient()))["entry"] if one["search"]["mode"] == "match"]
            assert found["identifier"] == stored["identifier"]


async def test_reasons_are_given_where_they_are_asked_for(http):
    await put(http, patient("p1"))
    found = await match(http, patient(birthDate="1984-07-03"), explain=True)
    reasons = [
        {part["url"]: part.get("valueCode", part.get("valueString", part.get("valueDecimal"))) for part in one["extension"]}
        for one in found["entry"][0]["search"]["extension"]
        if one["url"] == EVIDENCE
    ]
    by_field = {one["field"]: one["level"] for one in reasons}
    assert by_field["birth"] == "swapped"
    assert by_field["given"] == "exact"
    assert by_field["phone"] == "exact"
    assert by_field["household"] == "capped"
    assert all(isinstance(one["bits"], int | float) for one in reasons)
    plain = await match(http, patient(birthDate="1984-07-03"))
    assert [one["url"] for one in plain["entry"][0]["search"]["extension"]] == [GRADE]


async def test_who_has_been_merged_is_found_as_the_survivor(http):
    await put(http, {"resourceType": "Patient", "id": "survivor", "name": [{"family": "Eze"}]})
    link = [{"other": {"reference": "Patient/survivor"}, "type": "replaced-by"}]
    await put(http, patient("source", active=False, link=link))
    assert [id_ for id_, _ in graded(await match(http, patient()))] == ["survivor"]


async def test_deleted_patients_are_not_found(http):
    await put(http, patient("p1"))
    await http.delete("Patient/p1")
    assert graded(await match(http, patient())) == []


async def test_another_tenant_is_not_found(http, settings, database):
    await put(http, patient("p1"))
    other = settings.model_copy(update={"default_tenant": settings.default_tenant + "x"})
    async with client_of(other, database) as elsewhere:
        assert graded(await match(elsewhere, patient())) == []


async def test_a_patient_may_be_the_body_itself(http):
    await put(http, patient("p1"))
    reply = await http.post("Patient/$match?onlyCertainMatches=true&count=3", json=patient())
    assert graded(reply.json()) == [("p1", "certain")]


async def test_more_candidates_than_are_compared_are_never_certain(settings, database, tmp_path):
    models = tmp_path / "models.json"
    models.write_text('{"default": {"candidates": 2}}')
    small = settings.model_copy(update={"match_models": models})
    async with client_of(small, database) as bounded:
        for number in range(5):
            await put(bounded, patient(f"p{number}", name=[{"family": "Okonkwo", "given": ["Adaeze"]}]))
        found = await match(bounded, patient())
        assert len(graded(found)) == 2
        assert found["entry"][-1]["resource"]["issue"][0]["code"] == "too-costly"
        assert graded(await match(bounded, patient(), onlyCertainMatches=True)) == []


async def test_one_among_many_that_share_a_key_is_still_certain(settings, database, tmp_path):
    models = tmp_path / "models.json"
    models.write_text('{"default": {"candidates": 3}}')
    small = settings.model_copy(update={"match_models": models})
    async with client_of(small, database) as bounded:
        for number in range(6):
            name = [{"family": f"Family{number}", "given": [f"Given{number}"]}]
            await put(
                bounded,
                patient(f"n{number}", name=name, birthDate=f"19{50 + number}-01-01", telecom=None, address=None)
                | {"telecom": [{"system": "phone", "value": "+1 415 555 0134"}]},
            )
        await put(bounded, patient("p1"))
        assert graded(await match(bounded, patient(), onlyCertainMatches=True)) == [("p1", "certain")]


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        ({"resourceType": "Patient"}, "required"),
        ({"resourceType": "Patient", "name": [{"given": ["Ada"]}]}, "required"),
        ({"resourceType": "Patient", "gender": "female", "birthDate": "1984"}, "required"),
        ({"resourceType": "Patient", "identifier": [{"value": "7"}]}, "required"),
        ({"resourceType": "Patient", "birthDate": "1984-03-07"}, "required"),
        ({"resourceType": "Patient", "name": [{"family": "Okonkwo", "given": ["Ada"]}], "gender": "female"}, "required"),
        ({"resourceType": "Person", "name": [{"given": ["Ada"]}]}, "required"),
        ({"resourceType": "Patient", "birthDate": "07.03.1984"}, "value"),
        ("Patient", "required"),
        (None, "required"),
    ],
)
async def test_too_little_or_no_patient_is_refused(http, resource, code):
    reply = await http.post("Patient/$match", json=parameters(resource))
    assert reply.status_code == 400
    assert reply.json()["issue"][0]["code"] == code


@pytest.mark.parametrize(
    "simple", [{"count": 0}, {"count": -1}, {"count": "many"}, {"onlyCertainMatches": "perhaps"}, {"onlyCertainMatches": 1}]
)
async def test_malformed_parameters_are_refused(http, simple):
    reply = await http.post("Patient/$match", json=parameters(patient(), **simple))
    assert reply.status_code == 400
    assert str(next(iter(simple.values()))) in reply.text


async def test_no_body_an_alien_body_and_a_get_are_refused(http):
    assert (await http.post("Patient/$match")).status_code == 400
    assert (await http.post("Patient/$match", json={"resourceType": "Parameters", "parameter": {}})).status_code == 400
    assert (await http.post("Patient/$match", json={"resourceType": "Parameters", "parameter": [7]})).status_code == 400
    assert (await http.get("Patient/$match?count=1")).status_code == 405


async def test_unknown_parameters_are_ignored_with_a_warning_and_refused_under_strict_handling(http):
    body = parameters(patient(), maybe=True)
    found = (await http.post("Patient/$match", json=body)).json()
    assert found["entry"][-1]["search"]["mode"] == "outcome"
    assert "maybe" in found["entry"][-1]["resource"]["issue"][0]["diagnostics"]
    strict = await http.post("Patient/$match", json=body, headers={"Prefer": "handling=strict"})
    assert strict.status_code == 400


async def test_a_parameter_that_is_given_twice_is_refused(http):
    body = parameters(patient())
    body["parameter"].append(body["parameter"][0])
    assert (await http.post("Patient/$match", json=body)).status_code == 400
