import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from fhir_server.cli import app
from fhir_server.fhir.outcome import FhirError
from fhir_server.loading.http import HttpTarget

BUNDLE = {"resourceType": "Bundle", "type": "transaction", "entry": []}


class Remote(BaseHTTPRequestHandler):
    """A server that answers what the test has put into `answers`, and remembers what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        """Answer the next one."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers["Authorization"], json.loads(body)))
        status, answer = self.server.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def remote():
    """A FHIR server of sorts on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Remote) as server:
        server.daemon_threads = True
        server.asked, server.answers = [], []
        server.base = f"http://127.0.0.1:{server.server_port}/fhir"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_a_bundle_is_posted_to_the_base_with_the_token(remote):
    remote.answers = [(200, b'{"resourceType":"Bundle","type":"transaction-response"}')]
    target = HttpTarget(remote.base, "secret")
    assert await target.send(BUNDLE) == {"resourceType": "Bundle", "type": "transaction-response"}
    assert remote.asked == [("/fhir", "Bearer secret", BUNDLE)]
    target.close()


async def test_a_refusal_is_told_by_its_issues(remote):
    issue = {"severity": "error", "code": "invalid", "diagnostics": "no", "expression": ["Patient.gender"]}
    remote.answers = [(400, json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode())]
    target = HttpTarget(remote.base)
    with pytest.raises(FhirError) as caught:
        await target.send(BUNDLE)
    assert caught.value.status == 400
    assert caught.value.to_fhir()["issue"] == [issue]
    target.close()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"issue": [{}]}', b""])
async def test_a_refusal_without_an_outcome_is_told_by_its_status(remote, body):
    remote.answers = [(502, body)]
    target = HttpTarget(remote.base)
    with pytest.raises(FhirError, match="the server answered with status 502"):
        await target.send(BUNDLE)
    target.close()


async def test_an_absent_server_is_503():
    with pytest.raises(FhirError, match=r"http://127\.0\.0\.1:9/fhir can not be reached") as caught:
        await HttpTarget("http://127.0.0.1:9/fhir").send(BUNDLE)
    assert caught.value.status == 503


@pytest.mark.parametrize("base", ["", "localhost:8080", "ftp://localhost/fhir", "http:///fhir"])
def test_what_is_no_base_url_is_refused(base):
    with pytest.raises(ValueError, match="is no base URL of a FHIR server"):
        HttpTarget(base)


@pytest.mark.parametrize("way", ["file", "environment"])
def test_the_token_comes_from_a_file_or_the_environment(remote, tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FHIR_TOKEN", raising=False)
    (tmp_path / "one.ndjson").write_text('{"resourceType": "Patient", "id": "a"}\n')
    (tmp_path / "token").write_text("secret\n")
    entry = {"response": {"status": "201"}}
    remote.answers = [(200, json.dumps({**BUNDLE, "type": "transaction-response", "entry": [entry]}).encode())]
    given = ["--token-file", "token"] if way == "file" else []
    if way == "environment":
        monkeypatch.setenv("FHIR_TOKEN", "secret")
    answer = CliRunner().invoke(app, ["load", "one.ndjson", "--base", remote.base, *given])
    assert answer.exit_code == 0, answer.output
    assert [header for _, header, _ in remote.asked] == ["Bearer secret"]


def test_no_command_takes_a_token_as_an_argument():
    assert CliRunner().invoke(app, ["load", "one.ndjson", "--base", "http://x/fhir", "--token", "secret"]).exit_code == 2
