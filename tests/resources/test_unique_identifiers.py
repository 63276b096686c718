"""Identifiers that only one resource has: those of providers' messages, and keys of idempotency."""

import asyncio
from typing import Any

import httpx
import pytest

from fhir_server.fhir.codec import encode

PROVIDER = {"system": "urn:prm:provider:twilio", "value": "SM1"}
KEY = {"system": "urn:prm:idempotency-key", "value": "k1"}
OTHER = {"system": "urn:example", "value": "x"}


def communication(*identifiers: dict[str, str], **members: Any) -> dict[str, Any]:
    return {"resourceType": "Communication", "status": "completed", "identifier": list(identifiers), **members}


def request(*identifiers: dict[str, str]) -> dict[str, Any]:
    return {"resourceType": "CommunicationRequest", "status": "draft", "identifier": list(identifiers)}


async def post(http: httpx.AsyncClient, resource: dict[str, Any]) -> httpx.Response:
    return await http.post(resource["resourceType"], content=encode(resource))


@pytest.mark.parametrize("made", [communication(OTHER, PROVIDER), request(OTHER, KEY)], ids=lambda one: one["resourceType"])
async def test_a_second_resource_with_the_identifier_is_refused(http: httpx.AsyncClient, made: dict[str, Any]) -> None:
    first, second = await post(http, made), await post(http, made)
    assert (first.status_code, second.status_code) == (201, 409)
    issue = second.json()["issue"][0]
    type_ = made["resourceType"]
    assert (issue["code"], issue["expression"]) == ("duplicate", [f"{type_}.identifier[1]"])
    assert f"{type_}/{first.json()['id']}" in issue["diagnostics"]
    found = await http.get(type_, params={"identifier": f"{made['identifier'][1]['system']}|{made['identifier'][1]['value']}"})
    assert [entry["resource"]["id"] for entry in found.json()["entry"]] == [first.json()["id"]]


async def test_of_two_at_the_same_time_one_is_taken(http: httpx.AsyncClient) -> None:
    await post(http, communication())
    answers = await asyncio.gather(*(post(http, communication(PROVIDER)) for _ in range(6)))
    assert sorted(one.status_code for one in answers) == [201, *[409] * 5]


async def test_the_same_value_means_something_else_in_another_type_or_system(http: httpx.AsyncClient) -> None:
    elsewhere = {**PROVIDER, "system": "urn:prm:provider:sendgrid"}
    for resource in (communication(PROVIDER), communication(elsewhere), request(PROVIDER), request(PROVIDER), communication(KEY)):
        assert (await post(http, resource)).status_code == 201


async def test_a_resource_keeps_what_it_has_and_may_have_more(http: httpx.AsyncClient) -> None:
    first = (await post(http, communication(PROVIDER))).json()
    more = {**PROVIDER, "value": "SM2"}
    changes = ([PROVIDER], [PROVIDER, more], [more], [PROVIDER, more])
    for identifiers in changes:
        answer = await http.put(f"Communication/{first['id']}", content=encode({**first, "identifier": identifiers}))
        assert answer.status_code == 200, answer.text
    assert (await post(http, communication(more))).status_code == 409


async def test_an_identifier_stays_taken_when_its_resource_is_deleted(http: httpx.AsyncClient) -> None:
    first = (await post(http, communication(PROVIDER))).json()
    assert (await http.delete(f"Communication/{first['id']}")).status_code == 204
    refused = await post(http, communication(PROVIDER))
    assert refused.status_code == 409
    assert first["id"] not in refused.text
    again = await http.put(f"Communication/{first['id']}", content=encode({**first, "identifier": [PROVIDER]}))
    assert again.status_code in (200, 201)


async def test_a_transaction_takes_all_or_nothing(http: httpx.AsyncClient) -> None:
    await post(http, communication(PROVIDER))

    def bundle(*resources: dict[str, Any]) -> bytes:
        entries = [{"resource": one, "request": {"method": "POST", "url": one["resourceType"]}} for one in resources]
        return encode({"resourceType": "Bundle", "type": "transaction", "entry": entries})

    two = {**PROVIDER, "value": "SM9"}
    taken = await http.post("", content=bundle(communication(two), communication(PROVIDER)))
    twice = await http.post("", content=bundle(communication(two), communication(two)))
    assert (taken.status_code, twice.status_code) == (409, 409)
    assert (await http.post("", content=bundle(communication(two), request(KEY)))).status_code == 200
