"""PyPI fhirclient (the SMART on FHIR Python client) against a running server.

It knows no patch, no transaction and no history; what it offers is shown.
"""

import pytest
from client_samples import MRN, patient, unique_name, visit
from fhirclient.client import FHIRClient
from fhirclient.models.encounter import Encounter
from fhirclient.models.humanname import HumanName
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRServer
from requests.exceptions import HTTPError


@pytest.fixture
def server(base_url: str) -> FHIRServer:
    """A client that is ready without authorisation."""
    client = FHIRClient(settings={"app_id": "tests", "api_base": base_url})
    client.prepare()
    return client.server


def test_it_reads_the_capability_statement(server: FHIRServer) -> None:
    assert server.capabilityStatement.fhirVersion == "4.0.1"


def test_create_and_read_give_the_same_resource(server: FHIRServer) -> None:
    answer = Patient(patient()).create(server)
    read = Patient.read(answer["id"], server)
    assert read.as_json() == answer
    assert read.birthDate.as_json() == "1974-12-25"


def test_update_makes_a_new_version(server: FHIRServer) -> None:
    made = Patient.read(Patient(patient()).create(server)["id"], server)
    made.name = [HumanName({"family": "Weiß"})]
    assert made.update(server)["meta"]["versionId"] == "2"
    assert Patient.read(made.id, server).name[0].family == "Weiß"


def test_search_finds_by_identifier(server: FHIRServer) -> None:
    made = Patient(patient()).create(server)
    found = Patient.where({"identifier": f"{MRN}|{made['identifier'][0]['value']}"}).perform_resources_iter(server)
    assert [p.id for p in found] == [made["id"]]


def test_search_follows_the_pages(server: FHIRServer) -> None:
    family = unique_name()
    made = {Patient(patient(family)).create(server)["id"] for _ in range(5)}
    pages = list(Patient.where({"family": family, "_count": "2"}).perform_iter(server))
    assert [len(page.entry) for page in pages] == [2, 2, 1]
    assert {entry.resource.id for page in pages for entry in page.entry} == made


def test_an_include_brings_the_patient_of_an_encounter(server: FHIRServer) -> None:
    made = Patient(patient()).create(server)
    Encounter(visit(f"Patient/{made['id']}")).create(server)
    found = Encounter.where({"patient": made["id"]}).include("subject").perform_resources_iter(server)
    assert sorted(resource.resource_type for resource in found) == ["Encounter", "Patient"]


def test_a_deleted_resource_can_not_be_read(server: FHIRServer) -> None:
    made = Patient.read(Patient(patient()).create(server)["id"], server)
    made.delete(server)
    with pytest.raises(HTTPError, match="410"):
        Patient.read(made.id, server)
