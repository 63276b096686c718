"""Documentation that can not rot: what the code has stands in the documents, and what the documents name exists."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from fhir_server.cli import app
from fhir_server.config import Settings
from fhir_server.engine import OPERATIONS, operation_entries
from fhir_server.fhir.codec import encode
from fhir_server.interactions.capabilities import statement
from fhir_server.search.registry import BUILTIN
from fhir_server.web import metrics

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
OPERATIONS_PAGE = (ROOT / "docs" / "operations.md").read_text()
ALL_TEXT = "\n".join(document.read_text() for document in DOCUMENTS)
GROUP = get_command(app)
COMMANDS = {name: GROUP.get_command(None, name) for name in GROUP.list_commands(None)}


def settings_page() -> str:
    """Return what the tool would write."""
    spec = importlib.util.spec_from_file_location("write_settings", ROOT / "tools" / "write_settings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.page()


def test_the_page_of_settings_is_what_the_settings_are():
    written = (ROOT / "docs" / "settings.md").read_text()
    assert written == settings_page(), "run: python tools/write_settings.py"
    assert set(re.findall(r"^\| `FHIR_(\w+)`", written, re.MULTILINE)) == {name.upper() for name in Settings.model_fields}


def test_the_example_of_settings_names_only_settings():
    names = re.findall(r"^#?FHIR_(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert set(names) <= {name.upper() for name in Settings.model_fields}
    assert len(names) > 3


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_variable_that_a_document_names_is_a_setting(document):
    known = {f"FHIR_{name.upper()}" for name in Settings.model_fields} | {"FHIR_TOKEN"}
    assert set(re.findall(r"\bFHIR_[A-Z_]+[A-Z]\b", document.read_text())) <= known


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_and_has_help_for_all_it_takes(name):
    assert f"fhir-server {name}" in OPERATIONS_PAGE
    assert COMMANDS[name].help
    assert [parameter.name for parameter in COMMANDS[name].params if not parameter.help] == []


def test_every_command_that_a_document_names_exists():
    assert set(re.findall(r"fhir-server ([a-z]+(?:-[a-z]+)*)\b", "\n".join(re.findall(r"`[^`]+`", ALL_TEXT)))) <= set(COMMANDS)


def test_every_metric_is_documented_and_the_documented_exist():
    collectors = [value for name, value in vars(metrics).items() if hasattr(value, "describe") and name.startswith("_")]
    described = {
        family.name + ("_total" if family.type == "counter" else "") for item in collectors for family in item.describe()
    }
    assert set(re.findall(r"^\| `(fhir_\w+)`", OPERATIONS_PAGE, re.MULTILINE)) == described


def test_every_operation_is_documented():
    assert [name for name, _ in OPERATIONS if f"${name}" not in ALL_TEXT] == []


def test_the_capability_statement_is_what_the_server_serves():
    settings = Settings.model_construct()
    expected = json.loads(encode(statement(settings, operation_entries(), BUILTIN, "")))
    assert json.loads((ROOT / "capability-statement.json").read_text()) == expected, "run: fhir-server capabilities"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_every_page_is_listed_in_the_table_of_contents():
    contents = ROOT / "docs" / "README.md"
    linked = {(contents.parent / link).resolve() for link in re.findall(r"\]\(([^)#]+)", contents.read_text())}
    pages = {page.resolve() for page in ROOT.glob("docs/**/*.md")} - {contents.resolve()}
    assert [str(page) for page in sorted(pages - linked)] == []


def test_the_scripts_that_documents_name_exist_and_can_be_run():
    named = set(re.findall(r"\bscript/[a-z]+", ALL_TEXT))
    assert {"script/server", "script/test"} <= named
    for name in [*named, ".ci/run"]:
        assert (ROOT / name).stat().st_mode & 0o111, name


def test_ci_runs_what_the_readme_says():
    assert "script/test" in (ROOT / "README.md").read_text()
    assert "exec script/test" in (ROOT / ".ci" / "run").read_text()


def test_decisions_are_numbered_once_and_have_their_parts():
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [decision.name[:4] for decision in decisions]
    assert len(set(numbers)) == len(numbers)
    for decision in decisions:
        text = decision.read_text()
        assert text.startswith(f"# {int(decision.name[:4])}. "), decision.name
        assert "**Context.**" in text or "## Context" in text, decision.name


def test_the_composition_waits_for_a_primary_keeps_data_and_opens_no_port_to_the_network():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    api, mongodb = compose["services"]["api"], compose["services"]["mongodb"]
    assert api["depends_on"]["mongodb"] == {"condition": "service_healthy"}
    assert "rs.initiate" in mongodb["healthcheck"]["test"][-1]
    assert "--replSet" in mongodb["command"]
    assert "mongodb-data:/data/db" in mongodb["volumes"]
    mounted = [volume for service in compose["services"].values() for volume in service.get("volumes", ())]
    assert set(compose["volumes"]) == {volume.partition(":")[0] for volume in mounted}
    assert all(port.startswith("127.0.0.1:") for service in compose["services"].values() for port in service.get("ports", ()))
    assert {f"FHIR_{name.upper()}" for name in Settings.model_fields} >= set(api["environment"])


def test_the_composition_has_a_store_of_media_and_a_scanner_and_waits_for_both():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = compose["services"]
    api = services["api"]
    assert api["depends_on"]["clamav"] == {"condition": "service_healthy"}
    assert api["depends_on"]["minio-bucket"] == {"condition": "service_completed_successfully"}
    assert services["minio-bucket"]["depends_on"] == {"minio": {"condition": "service_healthy"}}
    environment = api["environment"]
    assert (environment["FHIR_BLOB_STORE"], environment["FHIR_S3_ENDPOINT"]) == ("s3", "http://minio:9000")
    assert f"local/{environment['FHIR_S3_BUCKET']}" in services["minio-bucket"]["entrypoint"][-1]
    assert environment["FHIR_S3_ACCESS_KEY"] == services["minio"]["environment"]["MINIO_ROOT_USER"]
    assert environment["FHIR_S3_SECRET_KEY"] == services["minio"]["environment"]["MINIO_ROOT_PASSWORD"]
    assert environment["FHIR_CLAMD"] == "clamav:3310"
    assert "minio-data:/data" in services["minio"]["volumes"]


def test_the_composition_has_a_worker_and_a_dispatcher_on_the_same_data_as_the_server():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    api = services["api"]["environment"]
    assert (api["FHIR_EVENTS"], api["FHIR_WORKER"]) == ("false", "false")
    for name in ("worker", "dispatcher"):
        service = services[name]
        assert service["command"] == [name]
        shared = set(api) - {"FHIR_EVENTS", "FHIR_WORKER", "FHIR_ALLOW_UNAUTHENTICATED"}
        assert {key: service["environment"][key] for key in shared} == {key: api[key] for key in shared}
        assert service["environment"]["FHIR_HEARTBEAT_FILE"] in service["healthcheck"]["test"][-1]
        assert service["depends_on"]["valkey"] == {"condition": "service_healthy"}
        assert "ports" not in service


def test_the_image_runs_without_root_and_has_a_health_check():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    user = next(line for line in reversed(lines) if line.startswith("USER "))
    assert int(user.split()[1]) > 0
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    copied = {part for line in lines if line.startswith("COPY ") and "--from" not in line for part in line.split()[1:-1]}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert [name for name in copied if not (ROOT / name).exists()] == []
