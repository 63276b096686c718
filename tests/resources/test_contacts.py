"""Phone numbers and email addresses of patients: kept, judged, and found in every way they are written."""

from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from tests.conftest import client_of

Mongo = AsyncDatabase[dict[str, Any]]


def patient(*telecom: tuple[str, str], **members: Any) -> dict[str, Any]:
    points = [{"system": system, "value": value} if system else {"value": value} for system, value in telecom]
    return {"resourceType": "Patient", "id": "p", "telecom": points} | members


async def found(http: httpx.AsyncClient, **params: str) -> int:
    total: int = (await http.get("Patient", params=params)).json()["total"]
    return total


@pytest.mark.parametrize("written", ["+14155550100", "(415) 555-0100", "1.415.555.0100", "tel:+1-415-555-0100"])
async def test_a_number_is_kept_as_written_and_found_however_it_is_written(http: httpx.AsyncClient, written: str) -> None:
    made = (await http.put("Patient/p", json=patient(("phone", written)))).json()
    assert made["telecom"] == [{"system": "phone", "value": written}]
    for asked in ("(415) 555-0100", "+14155550100", "4155550100", "whatsapp:+14155550100", "phone|415-555-0100", "|4155550100"):
        assert await found(http, phone=asked) == 1, asked
        assert await found(http, telecom=asked) == 1, asked
    assert (await http.get("Patient?phone=+14155550100")).json()["total"] == 1
    for other in ("+444155550100", "4155550101", "fax|4155550100", "email|4155550100"):
        assert await found(http, telecom=other) == 0, other


async def test_seven_digits_from_the_end_find_a_number_and_fewer_do_not(http: httpx.AsyncClient) -> None:
    await http.put("Patient/p", json=patient(("phone", "+14155550100")))
    assert [await found(http, phone=asked) for asked in ("555-0100", "55550100", "5 555 0100", "phone|5550100")] == [1] * 4
    assert [await found(http, phone=asked) for asked in ("50100", "550100", "555-0101", "4155550", "fax|5550100")] == [0] * 5
    assert await found(http, **{"phone:not": "555-0100"}) == 0
    assert await found(http, phone="555-0199,555-0100") == 1


async def test_numbers_of_mexico_and_brazil_are_found_in_their_old_and_new_forms(http: httpx.AsyncClient) -> None:
    await http.put("Patient/p", json=patient(("sms", "+5215512345678"), ("other", "whatsapp:+55 11 8765-4321")))
    for asked in ("+525512345678", "+52 1 55 1234 5678", "+5511987654321", "+55 11 8765 4321"):
        assert await found(http, telecom=asked) == 1, asked


async def test_the_region_of_a_tenant_completes_its_numbers(settings: Settings, database: Mongo) -> None:
    of_tenant = f'{{"{settings.default_tenant}": {{"phone_region": "GB"}}}}'
    async with client_of(settings.model_copy(update={"per_tenant": of_tenant}), database) as http:
        await http.put("Patient/p", json=patient(("phone", "020 7946 0958")))
        assert await found(http, phone="+442079460958") == 1
        assert await found(http, phone="(020) 7946-0958") == 1
        assert (await http.put("Patient/p", json=patient(("phone", "12345678901234")))).status_code == 422


async def test_a_number_with_a_note_is_kept_with_a_warning(http: httpx.AsyncClient) -> None:
    answer = await http.put(
        "Patient/p", json=patient(("phone", "415-555-0100 ask for Ann")), headers={"Prefer": "return=OperationOutcome"}
    )
    assert answer.status_code == 201
    (issue,) = answer.json()["issue"]
    assert (issue["severity"], issue["code"], issue["expression"]) == ("warning", "value", ["Patient.telecom[0].value"])


async def test_an_email_address_is_found_without_regard_to_case(http: httpx.AsyncClient) -> None:
    await http.put("Patient/p", json=patient(("email", "Ada.Lovelace@Example.org")))
    assert [await found(http, email=asked) for asked in ("ada.lovelace@example.org", "ADA.LOVELACE@EXAMPLE.ORG")] == [1, 1]
    assert await found(http, telecom="email|ada.lovelace@example.org") == 1
    assert await found(http, email="ada") == 0


async def test_other_types_with_contacts_are_found_likewise(http: httpx.AsyncClient) -> None:
    practitioner = {"resourceType": "Practitioner", "id": "d", "telecom": [{"system": "phone", "value": "(415) 555-0100"}]}
    await http.put("Practitioner/d", json=practitioner)
    assert (await http.get("Practitioner", params={"phone": "+14155550100"})).json()["total"] == 1


async def test_addresses_that_can_not_be_right_are_refused_with_their_places(http: httpx.AsyncClient) -> None:
    wrong = patient(("phone", "+14155550100"), ("phone", "call me"), ("email", "ada"), ("url", "ada"), ("", "ada"))
    wrong["contact"] = [{"telecom": [{"system": "sms", "value": "12"}]}]
    answer = await http.put("Patient/p", json=wrong)
    issues = answer.json()["issue"]
    assert answer.status_code == 422
    assert [(issue["severity"], issue["code"], issue["expression"]) for issue in issues] == [
        ("error", "value", ["Patient.telecom[1].value"]),
        ("error", "value", ["Patient.telecom[2].value"]),
        ("error", "value", ["Patient.contact[0].telecom[0].value"]),
    ]
    assert "'call me' is no phone number of US" in issues[0]["diagnostics"]


async def test_by_setting_they_are_kept_with_a_warning(settings: Settings, database: Mongo) -> None:
    async with client_of(settings.model_copy(update={"invalid_contacts": "warn"}), database) as http:
        answer = await http.put("Patient/p", json=patient(("phone", "Call Me")), headers={"Prefer": "return=OperationOutcome"})
        assert answer.status_code == 201
        assert [(issue["severity"], issue["expression"]) for issue in answer.json()["issue"]] == [
            ("warning", ["Patient.telecom[0].value"])
        ]
        assert (await http.get("Patient/p")).json()["telecom"][0]["value"] == "Call Me"
        assert await found(http, phone="call me") == 1


async def test_what_was_there_before_a_stricter_rule_may_stay(settings: Settings, database: Mongo) -> None:
    async with client_of(settings.model_copy(update={"invalid_contacts": "warn"}), database) as http:
        await http.put("Patient/p", json=patient(("phone", "call me")))
    async with client_of(settings, database) as http:
        kept = patient(("phone", "+14155550100"), ("phone", "call me"))
        assert (await http.put("Patient/p", json=kept)).status_code == 200
        assert (await http.put("Patient/p", json=patient(("phone", "call you")))).status_code == 422


async def test_a_contact_without_a_value_is_left_alone(http: httpx.AsyncClient) -> None:
    absent = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]}
    body = {"resourceType": "Patient", "id": "p", "telecom": [{"system": "phone", "_value": absent}, {"system": "email"}]}
    assert (await http.put("Patient/p", json=body)).status_code == 201
