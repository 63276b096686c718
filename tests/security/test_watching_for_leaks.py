"""What watches over all tests (tests/leaks.py) notices what is left, and lets alone what is right."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.marking import Marks, vocabulary

ROOT = Path(__file__).parents[2]
PLANTED = '''
import logging
import subprocess
import sys

import httpx
import prometheus_client
import structlog

PATIENT = {"resourceType": "Patient", "name": [{"family": "Qwertysson", "given": ["Zebedeia"]}]}
SAID = {"payload": [{"contentString": "your biopsy was fine, dear"}]}


def ask(answer, status=409, sent=None):
    transport = httpx.MockTransport(lambda request: httpx.Response(status, text=answer))
    with httpx.Client(transport=transport, base_url="http://test") as client:
        client.post("/fhir/Patient", json=sent or {"resourceType": "Patient"})


def send(body):
    ask("", 201, body)


def test_leaves_a_name_in_the_log():
    send(PATIENT)
    structlog.get_logger().info("found", who="qwertysson")


def test_leaves_a_text_in_the_log():
    send(SAID)
    structlog.get_logger().info("found", text="Your biopsy was fine")


def test_leaves_a_number_in_the_log():
    structlog.get_logger().bind(to="+14155550199").warning("not sent")


def test_leaves_a_token_in_the_log_of_a_library():
    logging.getLogger("library").warning("refused: Bearer %s", "abcdefghijkl")


def test_leaves_a_name_in_a_label():
    send(PATIENT)
    prometheus_client.Counter("planted", "x", ["who"]).labels("Zebedeia").inc()


def test_leaves_a_name_in_an_error():
    send(PATIENT)
    ask("Qwertysson is there already.")


def test_leaves_an_address_in_measurements():
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text='fhir_x{who="zoe@example.net"} 1'))
    with httpx.Client(transport=transport, base_url="http://test") as client:
        client.get("/metrics")


def test_leaves_an_ssn_in_the_log_of_a_process(tmp_path):
    with (tmp_path / "log").open("wb") as log:
        program = "import sys; sys.stderr.write('fhir_server: 523-45-6789' + chr(10))"
        subprocess.run([sys.executable, "-c", program], stderr=log, check=True)


def test_leaves_an_ssn_in_a_pipe():
    program = "import sys; sys.stderr.write('fhir_server: 523-45-6789' + chr(10))"
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)


def test_leaves_a_line_of_a_process_on_standard_error():
    program = """import sys; sys.stderr.write('{"event": "fhir_server", "to": "+14155550188"}' + chr(10))"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_is_right_to_log_ids_and_what_happened():
    send(PATIENT)
    structlog.get_logger().info("a message was refused", delivery="t0123456789abcdef/01a20ed5-ea6f", tenant="north", code="21211")
    try:
        raise ValueError("Qwertysson +14155550199")
    except ValueError as error:
        structlog.get_logger().error("unforeseen", exc_info=error)


def test_is_right_to_answer_what_was_asked():
    send(PATIENT)
    ask("Qwertysson is no date.", 400, PATIENT)


def test_is_right_to_answer_what_was_in_a_form():
    transport = httpx.MockTransport(lambda request: httpx.Response(401, text="zoe@example.net is nobody."))
    with httpx.Client(transport=transport, base_url="http://test") as client:
        client.post("/auth/login", data={"name": "zoe@example.net"})


def test_is_right_to_answer_with_data():
    ask("Qwertysson", 200)
'''


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each planted test, run by a pytest of its own with the plugin."""
    directory = tmp_path_factory.mktemp("planted")
    (directory / "test_planted.py").write_text(PLANTED)
    command = [sys.executable, "-m", "pytest", "-p", "tests.leaks", "-p", "no:cacheprovider", "-q", "-rA", "--rootdir", directory]
    done = subprocess.run([*command, "-c", "/dev/null", directory], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1, done.stdout + done.stderr
    found = {}
    for line in done.stdout.splitlines():
        kind, _, name = line.partition(" ")
        if kind in ("PASSED", "ERROR", "FAILED") and "::" in name:
            found[name.partition("::")[2].partition(" ")[0]] = kind
    (directory / "said").write_text(done.stdout)
    return found | {"said": done.stdout}


LEAVING = [line[4:].partition("(")[0] for line in PLANTED.splitlines() if line.startswith("def test_leaves")]
RIGHT = [line[4:].partition("(")[0] for line in PLANTED.splitlines() if line.startswith("def test_is_right")]


@pytest.mark.parametrize("name", LEAVING)
def test_what_is_left_somewhere_fails_the_test_that_left_it(outcomes: dict[str, str], name: str) -> None:
    """The test is named with the line and with what it holds."""
    assert outcomes[name] == "ERROR"
    said = outcomes["said"].partition(f"::{name} leaves what it should not")[2]
    assert "holds" in said.partition("leaves what it should not")[0]


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_fails_nobody(outcomes: dict[str, str], name: str) -> None:
    """Ids, codes, places in the code, and what somebody sent themselves."""
    assert outcomes[name] == "PASSED"


def test_this_run_is_watched(pytestconfig: pytest.Config) -> None:
    """The plugin is part of all runs."""
    assert pytestconfig.pluginmanager.has_plugin("tests.leaks")


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("to +14155550199", True),
        ("at 2026-11-24T18:10:29.123456Z+00:00", False),
        ("(415) 555-0199 called", True),
        ("523-45-6789", True),
        ("01a20ed5-ea6f-7c51-a236-276b67275d64", False),
        ("jo@clinic.example", True),
        ("authorization: Bearer abcdefgh1234", True),
        ("Bearer", False),
        ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.sig", True),
        ("HTTP 404 after 1234567890 ms", False),
    ],
)
def test_numbers_addresses_and_tokens_are_known_by_their_form(text: str, held: bool) -> None:
    """Whoever wrote them."""
    assert bool(Marks().within(text)) is held


def test_what_the_server_says_itself_is_not_marked() -> None:
    """Else a patient with the name of a word of the server would fail tests."""
    marks = Marks(vocabulary())
    marks.add(
        {"name": [{"family": "Communication", "given": ["Observation"]}], "telecom": [{"system": "email", "value": "x@y.org"}]}
    )
    assert marks.within("Communication of an Observation") == []


def test_sentences_and_canonical_urls_of_the_server_are_not_marked() -> None:
    """Narratives quote them; what else they say is marked."""
    marks = Marks(vocabulary())
    url = "http://hl7.org/fhir/ValueSet/administrative-gender"
    marks.add({"div": f"<div>An extension has to have a value or extensions, see {url} for her knee hurts today</div>"})
    assert marks.within("ext-1: an extension has to have a value or extensions.") == []
    assert marks.within(f"'blue' is not one of female, male ({url}).") == []
    assert marks.within("as her knee hurts today") == ["what was written: her knee hurts today"]
