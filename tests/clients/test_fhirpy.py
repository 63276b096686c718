"""PyPI fhirpy against a running server, with its asynchronous and its synchronous client."""

import asyncio
from typing import Any

import pytest
from client_samples import MRN, patient, transaction, unique_name
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome, ResourceNotFound

RENAME = {
    "resourceType": "Parameters",
    "parameter": [
        {
            "name": "operation",
            "part": [
                {"name": "type", "valueCode": "replace"},
                {"name": "path", "valueString": "Patient.birthDate"},
                {"name": "value", "valueDate": "1980-01-02"},
            ],
        },
    ],
}


@pytest.fixture
def client(base_url: str) -> AsyncFHIRClient:
    """The asynchronous client."""
    return AsyncFHIRClient(base_url)


@pytest.fixture
def sync_client(base_url: str) -> SyncFHIRClient:
    """The synchronous client."""
    return SyncFHIRClient(base_url)


def new(client: Any, family: str = "") -> Any:
    """Return a Patient that the client has not saved yet."""
    body = patient(family)
    del body["resourceType"]
    return client.resource("Patient", **body)


async def test_create_gives_an_id_and_version_1(client: AsyncFHIRClient) -> None:
    made = await new(client).create()
    assert made.id
    assert made["meta"]["versionId"] == "1"


async def test_read_gives_what_was_created(client: AsyncFHIRClient) -> None:
    made = new(client)
    await made.save()
    found = await client.get("Patient", made.id)
    assert dict(found) == dict(made)


async def test_update_makes_version_2(client: AsyncFHIRClient) -> None:
    made = await new(client).create()
    made["active"] = True
    await made.update()
    found = await client.get("Patient", made.id)
    assert (found["active"], found["meta"]["versionId"]) == (True, "2")


async def test_a_fhirpath_patch_changes_one_element(client: AsyncFHIRClient) -> None:
    made = await new(client).create()
    patched = await client.execute(f"Patient/{made.id}", method="patch", data=RENAME)
    assert (patched["birthDate"], patched["name"]) == ("1980-01-02", made["name"])


async def test_refresh_brings_a_newer_version(client: AsyncFHIRClient) -> None:
    made = await new(client).create()
    other = await client.reference("Patient", made.id).to_resource()
    other["gender"] = "other"
    await other.save()
    await made.refresh()
    assert made["gender"] == "other"


async def test_search_finds_by_name_identifier_and_date(client: AsyncFHIRClient) -> None:
    family = unique_name()
    made = await new(client, family).create()
    patients = client.resources("Patient")
    by_name = await patients.search(family=family.upper().replace("Ú", "U")).fetch()
    by_identifier = await patients.search(identifier=f"{MRN}|{made['identifier'][0]['value']}").get()
    by_date = await patients.search(family=family, birthdate__ge="1974-12-01", birthdate__lt="1975").fetch()
    assert [p.id for p in by_name] == [by_identifier.id] == [p.id for p in by_date] == [made.id]


async def test_fetch_all_follows_the_pages(client: AsyncFHIRClient) -> None:
    family = unique_name()
    made = await asyncio.gather(*(new(client, family).create() for _ in range(7)))
    found = await client.resources("Patient").search(family=family).sort("birthdate").limit(3).fetch_all()
    assert sorted(p.id for p in found) == sorted(p.id for p in made)


async def test_count_is_exact(client: AsyncFHIRClient) -> None:
    family = unique_name()
    await asyncio.gather(*(new(client, family).create() for _ in range(3)))
    assert await client.resources("Patient").search(family=family).count() == 3


async def test_include_brings_the_subject(client: AsyncFHIRClient) -> None:
    family = unique_name()
    await client.execute("", data=transaction(family))
    found = (
        await client.resources("Encounter").search(patient__Patient__family=family).include("Encounter", "patient").fetch_raw()
    )
    assert sorted((e["resource"]["resourceType"], e["search"]["mode"]) for e in found["entry"]) == [
        ("Encounter", "match"),
        ("Patient", "include"),
    ]


async def test_of_two_conditional_creates_one_creates(base_url: str) -> None:
    family = unique_name()
    client = AsyncFHIRClient(base_url, extra_headers={"If-None-Exist": f"family={family}"})
    first, second = [await new(client, family).create() for _ in range(2)]
    assert dict(first) == dict(second)


async def test_conditional_update_creates_and_then_updates(client: AsyncFHIRClient) -> None:
    family = unique_name()
    condition = client.resources("Patient").search(family=family)
    first, made = await condition.update(new(client, family))
    second, again = await condition.update(client.resource("Patient", name=[{"family": family}], active=True))
    assert (made, again, second.id, second["active"]) == (True, False, first.id, True)


async def test_a_transaction_links_its_entries(client: AsyncFHIRClient) -> None:
    answer = await client.resource(
        "Bundle", **{k: v for k, v in transaction(unique_name()).items() if k != "resourceType"}
    ).save()
    patient_url, encounter_url = (e["response"]["location"].split("/_history")[0] for e in answer["entry"])
    encounter = await client.get(*encounter_url.split("/")[-2:])
    assert patient_url.endswith(encounter["subject"]["reference"])


async def test_history_shows_every_version(client: AsyncFHIRClient) -> None:
    made = await new(client).create()
    made["active"] = False
    await made.update()
    await made.delete()
    history = await client.execute(f"Patient/{made.id}/_history", method="get")
    assert [e["request"]["method"] for e in history["entry"]] == ["DELETE", "PUT", "POST"]


async def test_a_deleted_resource_is_not_found(client: AsyncFHIRClient) -> None:
    made = await new(client).create()
    await made.delete()
    with pytest.raises(ResourceNotFound):
        await client.get("Patient", made.id)


async def test_a_refusal_is_an_operation_outcome_that_names_the_place(client: AsyncFHIRClient) -> None:
    with pytest.raises(OperationOutcome) as caught:
        await client.resource("Patient", gender="fmale").create()
    assert caught.value.resource["issue"][0]["expression"] == ["Patient.gender"]


async def test_validate_tells_that_a_resource_is_valid(client: AsyncFHIRClient) -> None:
    assert await new(client).is_valid()


def test_the_synchronous_client_creates_reads_updates_searches_and_deletes(sync_client: SyncFHIRClient) -> None:
    family = unique_name()
    made = new(sync_client, family)
    made.save()
    made["active"] = True
    made.save()
    assert sync_client.get("Patient", made.id)["active"] is True
    assert [p.id for p in sync_client.resources("Patient").search(family=family).fetch_all()] == [made.id]
    assert sync_client.execute(f"Patient/{made.id}", method="patch", data=RENAME)["birthDate"] == "1980-01-02"
    made.delete()
    with pytest.raises(ResourceNotFound):
        sync_client.get("Patient", made.id)


def test_the_synchronous_client_follows_the_pages(sync_client: SyncFHIRClient) -> None:
    family = unique_name()
    made = {new(sync_client, family).create().id for _ in range(5)}
    found = [p.id for p in sync_client.resources("Patient").search(family=family).limit(2)]
    assert (len(found), set(found)) == (5, made)
