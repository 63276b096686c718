"""What a merge would do, and which field wins."""

from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from tests.conftest import client_of
from tests.operations.merge.merge_samples import PREVIEW, found_ids, get, merge, observation, parameters, part, patient, put, ref

PHONE, EMAIL = {"system": "phone", "value": "+14155550100"}, {"system": "email", "value": "a@example.org"}
OLD = patient(
    "s",
    identifier=[{"value": "1"}],
    name=[{"family": "Old"}],
    telecom=[PHONE, EMAIL],
    gender="male",
    birthDate="1980-01-01",
    multipleBirthInteger=2,
    contact=[{"name": {"family": "Mother"}}],
)
NEW = patient("t", name=[{"family": "New"}], telecom=[EMAIL], birthDate="1981-01-01", multipleBirthBoolean=False)


def client(settings: Settings, database: AsyncDatabase[dict[str, Any]], **rules: str) -> httpx.AsyncClient:
    changed = Settings.model_validate({**settings.model_dump(), "merge_rules": rules})
    return client_of(changed, database)


async def test_a_preview_changes_nothing_and_says_what_would(http: httpx.AsyncClient) -> None:
    await put(http, OLD, NEW, observation("o"), observation("p"), observation("q", "t"))
    answer = await merge(http, parameters("s", "t", PREVIEW))
    assert answer.status_code == 200
    assert part(answer, "outcome")["issue"][0]["diagnostics"].startswith("2 resources that refer to Patient/s would be changed")
    result = part(answer, "result")
    assert result == NEW | {
        "identifier": [{"value": "1", "use": "old"}],
        "link": [{"other": ref("Patient/s"), "type": "replaces"}],
    }
    for path in ("Patient/s", "Patient/t", "Observation/o"):
        assert (await get(http, path))["meta"]["versionId"] == "1"
    assert await found_ids(http, "Provenance") == []
    assert await found_ids(http, "AuditEvent") == []


async def test_the_merge_gives_what_the_preview_showed(http: httpx.AsyncClient) -> None:
    await put(http, OLD | {"meta": {"tag": [{"code": "a"}]}}, NEW | {"meta": {"tag": [{"code": "b"}]}})
    shown = part(await merge(http, parameters("s", "t", PREVIEW)), "result")
    assert shown["meta"] == {"tag": [{"code": "b"}]}
    made = part(await merge(http), "result")
    assert {name: value for name, value in made.items() if name != "meta"} == {
        name: value for name, value in shown.items() if name != "meta"
    }
    assert made["meta"]["tag"] == [{"code": "b"}]


async def test_a_preview_shows_the_result_field_by_field(http: httpx.AsyncClient) -> None:
    await put(http, OLD, NEW)
    answer = await merge(http, parameters("s", "t", PREVIEW))
    fields = {one["part"][0]["valueCode"]: one["part"][1:] for one in answer.json()["parameter"] if one["name"] == "field"}
    assert fields["birthDate"] == [
        {"name": "rule", "valueCode": "target"},
        {"name": "source", "valueDate": "1980-01-01"},
        {"name": "target", "valueDate": "1981-01-01"},
        {"name": "result", "valueDate": "1981-01-01"},
    ]
    assert fields["identifier"] == [
        {"name": "rule", "valueCode": "union"},
        {"name": "source", "valueIdentifier": {"value": "1"}},
        {"name": "result", "valueIdentifier": {"value": "1", "use": "old"}},
    ]
    assert fields["telecom"][1:3] == [{"name": "source", "valueContactPoint": one} for one in (PHONE, EMAIL)]
    assert fields["contact"] == [
        {"name": "rule", "valueCode": "target"},
        {"name": "source", "valueString": 'contact: [{"name":{"family":"Mother"}}]'},
    ]
    assert fields["multipleBirth"][1:] == [
        {"name": "source", "valueInteger": 2},
        {"name": "target", "valueBoolean": False},
        {"name": "result", "valueBoolean": False},
    ]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, {"telecom": [EMAIL], "birthDate": "1981-01-01", "name": [{"family": "New"}]}),
        ({"telecom": "union"}, {"telecom": [EMAIL, PHONE]}),
        ({"telecom": "source"}, {"telecom": [PHONE, EMAIL]}),
        ({"*": "fill"}, {"telecom": [EMAIL], "gender": "male", "contact": [{"name": {"family": "Mother"}}]}),
        ({"*": "source"}, {"birthDate": "1980-01-01", "multipleBirthInteger": 2, "name": [{"family": "Old"}]}),
        ({"*": "source", "name": "target"}, {"birthDate": "1980-01-01", "name": [{"family": "New"}]}),
        ({"*": "union"}, {"name": [{"family": "New"}, {"family": "Old"}], "birthDate": "1981-01-01", "gender": "male"}),
        ({"birthDate": "newest"}, {"birthDate": "1981-01-01"}),
        ({"identifier": "target"}, {}),
    ],
)
async def test_rules_say_whose_value_wins(
    settings: Settings, database: AsyncDatabase[dict[str, Any]], rules: dict[str, str], expected: dict[str, Any]
) -> None:
    async with client(settings, database, **rules) as http:
        await put(http, OLD)
        await put(http, NEW)
        result = part(await merge(http), "result")
        assert {name: result.get(name) for name in expected} == expected
        assert ("identifier" in result) == (rules.get("identifier") != "target")
        assert ("multipleBirthBoolean" in result) != ("multipleBirthInteger" in result)


async def test_the_newest_may_win(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> None:
    async with client(settings, database, **{"*": "newest"}) as http:
        await put(http, NEW)
        await put(http, OLD)
        result = part(await merge(http), "result")
        assert (result["birthDate"], result["name"], result["id"]) == ("1980-01-01", [{"family": "Old"}], "t")


async def test_what_leads_to_contained_resources_of_the_source_stays_there(
    settings: Settings, database: AsyncDatabase[dict[str, Any]]
) -> None:
    contained = {"resourceType": "Practitioner", "id": "gp"}
    async with client(settings, database, **{"*": "union"}) as http:
        await put(
            http, patient("s", contained=[contained], generalPractitioner=[ref("#gp"), ref("Practitioner/1")]), patient("t")
        )
        result = part(await merge(http), "result")
        assert (result["generalPractitioner"], "contained" in result) == ([ref("Practitioner/1")], False)


@pytest.mark.parametrize("rules", ['{"shoeSize": "union"}', '{"name": "best"}', '{"identifier": "source"}'])
def test_rules_that_make_no_sense_are_refused_at_the_start(rules: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FHIR_MERGE_RULES", rules)
    with pytest.raises(ValidationError):
        Settings(_env_file=None)
