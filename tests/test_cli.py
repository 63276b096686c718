import gzip
import json

import pymongo
import pytest
from typer.testing import CliRunner

from fhir_server.cli import app
from tests.conftest import MASTER_KEY

PATIENT = {"resourceType": "Patient", "id": "one", "active": True}


@pytest.fixture
def cli(settings, tmp_path, monkeypatch):
    """A function that runs a command on this test's tenant and returns exit code and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FHIR_MONGODB_URI", settings.mongodb_uri)
    monkeypatch.setenv("FHIR_MONGODB_DATABASE", settings.mongodb_database)
    monkeypatch.setenv("FHIR_DEFAULT_TENANT", settings.default_tenant)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return run


@pytest.fixture
def alone(cli, tenant, mongodb_uri, monkeypatch):
    """The same as `cli`, on a database of this test's own: for commands that look at all tenants."""
    name = f"fhir_test_{tenant}"
    monkeypatch.setenv("FHIR_MONGODB_DATABASE", name)
    monkeypatch.setenv("FHIR_MASTER_KEY", MASTER_KEY)
    yield cli
    with pymongo.MongoClient(mongodb_uri) as client:
        client.drop_database(name)


def test_help_lists_the_commands_and_each_has_help(cli):
    code, overview = cli("--help")
    assert code == 0
    for command in ("serve", "load", "demo", "reindex", "doctor", "capabilities"):
        assert command in overview
        assert cli(command, "--help")[0] == 0


def test_the_version_is_shown(cli):
    assert cli("--version") == (0, "fhir-server 0.1.0\n")


def test_load_stores_reports_and_goes_on(cli, tmp_path):
    file = tmp_path / "patients.ndjson.gz"
    lines = [json.dumps(PATIENT), json.dumps({"resourceType": "Patient", "id": "two", "gender": "alien"})]
    file.write_bytes(gzip.compress("\n".join(lines).encode()))

    code, output = cli("load", file, "--report", tmp_path / "failures")

    assert code == 1
    assert "Stored 1, loaded before 0, failed 1." in output
    [failure] = [json.loads(line) for line in (tmp_path / "failures").read_text().splitlines()]
    assert failure["place"] == f"{file}:2"
    assert "alien" in failure["reason"]
    assert "Stored 0, loaded before 1, failed 1." in cli("load", file)[1]
    assert (tmp_path / "data" / "load.journal").exists()


def test_load_of_nothing_is_refused(cli):
    assert cli("load", "none.json") == (2, "fhir-server: There is no file or directory 'none.json'.\n")


def test_load_to_no_server_is_refused(cli, tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(PATIENT))
    code, output = cli("load", "one.json", "--base", "localhost:8080")
    assert code == 2
    assert "'localhost:8080' is no base URL of a FHIR server" in output


def test_demo_loads_once(cli):
    code, output = cli("demo", "--patients", 2, "--seed", 3)
    assert code == 0
    assert output.startswith("Loaded ")
    assert cli("demo", "--patients", 2, "--seed", 3) == (0, "The population is there already.\n")


def test_reindex_refuses_what_is_no_type(cli):
    code, output = cli("reindex", "--type", "patient")
    assert code == 2
    assert "patient: not a resource type of FHIR R4" in output


def test_reindex_of_one_type_says_what_changed(alone, tmp_path):
    (tmp_path / "one.json").write_text(json.dumps({"resourceType": "Basic", "id": "one", "code": {"text": "x"}}))
    assert alone("load", "one.json")[0] == 0
    assert alone("reindex", "--type", "Basic") == (0, "Reindexed; 0 resources had other entries before.\n")


def test_doctor_finds_all_in_order(alone, tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(PATIENT))
    assert alone("load", "one.json")[0] == 0
    code, output = alone("doctor")
    assert "✓ MongoDB version: 6.0.5" in output
    assert "✓ Topology: replica set fhir" in output
    assert "✓ Transactions: work" in output
    assert "✓ Indexes of Patient: all" in output
    assert code == 0, output


def test_doctor_says_that_mongodb_is_away(cli, monkeypatch):
    monkeypatch.setenv("FHIR_MONGODB_URI", "mongodb://127.0.0.1:9/")
    monkeypatch.setenv("FHIR_MONGODB_TIMEOUT_MS", "200")
    code, output = cli("doctor")
    assert code == 1
    assert "✗ MongoDB: does not answer (ServerSelectionTimeoutError)" in output
    assert "correct FHIR_MONGODB_URI" in output


def test_a_wrong_setting_is_named(cli, monkeypatch):
    monkeypatch.setenv("FHIR_MAX_COUNT", "many")
    code, output = cli("doctor")
    assert code == 2
    assert "FHIR_MAX_COUNT: Input should be a valid integer" in output


def test_capabilities_writes_the_statement(cli, tmp_path):
    assert cli("capabilities", "made.json")[0] == 0
    assert json.loads((tmp_path / "made.json").read_text())["resourceType"] == "CapabilityStatement"


def test_duplicates_are_found_once_and_the_rate_is_said(cli, tmp_path):
    name = [{"family": "Okonkwo", "given": ["Adaeze"]}]
    telecom = [{"system": "phone", "value": "+1 415 555 0134"}]
    lines = [
        {"resourceType": "Patient", "id": id_, "name": name, "birthDate": "1984-03-07", "telecom": telecom} for id_ in ("a", "b")
    ]
    file = tmp_path / "patients.ndjson"
    file.write_text("\n".join(map(json.dumps, lines)))
    assert cli("load", file)[0] == 0

    code, output = cli("find-duplicates")

    assert code == 0
    assert "Looked at 2 patients (" in output
    assert "/s) and compared 1 pairs: 1 are probably one person, 1 of which are new" in output
    assert "0 of which are new" in cli("find-duplicates")[1]


def test_duplicates_are_not_looked_for_with_a_wrong_model(cli, tmp_path, monkeypatch):
    models = tmp_path / "models.json"
    models.write_text('{"default": {"candidates": 0}}')
    monkeypatch.setenv("FHIR_MATCH_MODELS", str(models))
    code, output = cli("find-duplicates")
    assert code == 2
    assert "default.candidates" in output
    code, output = cli("serve", "--port", "0")
    assert code == 2
    assert "default.candidates" in output
