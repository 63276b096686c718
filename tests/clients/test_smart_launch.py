"""SMART launches against a running server: npm fhirclient in a real Chromium, PyPI fhirclient over HTTP.

The tests of the JavaScript client themselves are in smart/launch.test.js.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import httpx
import pytest
from fhirclient.client import FHIRClient
from fhirclient.models.patient import Patient

from fhir_server.store.master import new_master_key

SMART = Path(__file__).parent / "smart"
PASSWORD = "correct horse battery staple"
CLIENT = "growth-chart"
SCOPES = "openid fhirUser launch launch/patient offline_access patient/*.rs"
COMMAND = str(Path(sys.executable).with_name("fhir-server"))


@dataclass(frozen=True, slots=True)
class Place:
    """A running server that asks for tokens, who can log in, and the app's port."""

    base: str
    environment: dict[str, str]
    app_port: int
    patient: str
    clinician: str
    patient_user: str

    def auth(self, *arguments: str, given: str = "") -> str:
        """Run `fhir-server auth` beside the server and return what it prints."""
        done = subprocess.run(
            [COMMAND, "auth", *arguments], env=self.environment, input=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def place(mongodb_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Start a server with its own authorization server."""
    tag, port = uuid.uuid4().hex[:12], free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FHIR_")} | {
        "FHIR_WORKER": "false",
        "FHIR_EVENTS": "false",
        "FHIR_AUTH": "builtin",
        "FHIR_MASTER_KEY": new_master_key(),
        "FHIR_MONGODB_URI": mongodb_uri,
        "FHIR_MONGODB_DATABASE": f"fhir_smart_{tag}",
        "FHIR_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "FHIR_PORT": str(port),
        "FHIR_LOG_LEVEL": "error",
    }
    file = tmp_path_factory.mktemp("patients") / "patients.ndjson"
    names = {"amy": "Amy", "bert": "Bert"}
    file.write_text(
        "".join(
            json.dumps({"resourceType": "Patient", "id": id_, "name": [{"family": "Shaw", "given": [given]}]}) + "\n"
            for id_, given in names.items()
        )
    )
    subprocess.run([COMMAND, "load", str(file)], env=environment, check=True, capture_output=True)
    with subprocess.Popen([COMMAND, "serve"], env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            assert line == f"Ready: http://127.0.0.1:{port}/fhir"
            found = Place(line.removeprefix("Ready: "), environment, free_port(), "amy", f"ada-{tag}", f"amy-{tag}")
            populate(found)
            yield found
        finally:
            process.terminate()
        assert process.wait(30) == 0


def populate(place: Place) -> None:
    """Add a clinician, a patient and an app by the command line, while the server runs."""
    ada = ("--role", "clinician", "--fhir-user", "Practitioner/ada")
    place.auth("users", "add", place.clinician, *ada, given=PASSWORD + "\n")
    place.auth("users", "add", place.patient_user, "--role", "patient", "--fhir-user", "Patient/amy", given=PASSWORD + "\n")
    app = f"http://127.0.0.1:{place.app_port}"
    uris = ("--redirect-uri", f"{app}/index.html", "--launch-url", f"{app}/launch.html")
    place.auth("clients", "add", CLIENT, "--name", "Growth chart", "--scope", SCOPES, *uris)


@pytest.fixture(scope="module")
def chromium() -> str:
    """Install what package-lock.json names, and find Chromium; without them the test is skipped, except in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found or not shutil.which("node") or not shutil.which("npm"):
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have node, npm and chromium, to launch an app in a browser")
        pytest.skip("node, npm and chromium are needed to launch an app in a browser")
    wanted = (SMART / "package-lock.json").read_bytes()
    mark = SMART / "node_modules" / ".installed-lock.json"
    if not mark.exists() or mark.read_bytes() != wanted:
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=SMART, check=True, capture_output=True)
        mark.write_bytes(wanted)
    return found


def test_smart_js_launches_in_chromium(place: Place, chromium: str) -> None:
    environment = os.environ | {
        "CHROMIUM": chromium,
        "FHIR_BASE_URL": place.base,
        "APP_PORT": str(place.app_port),
        "CLIENT": CLIENT,
        "PATIENT": place.patient,
        "CLINICIAN": place.clinician,
        "PATIENT_USER": place.patient_user,
        "PASSWORD": PASSWORD,
        "EHR_LAUNCH_URL": place.auth("launch", CLIENT, "--patient", place.patient, "--user", place.clinician),
    }
    done = subprocess.run(
        ["node", "--test", "--test-reporter=spec", "launch.test.js"],
        cwd=SMART,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_python_client_launches_standalone(place: Place) -> None:
    redirect = f"http://127.0.0.1:{place.app_port}/index.html"
    settings = {"app_id": CLIENT, "api_base": place.base, "redirect_uri": redirect, "scope": SCOPES}
    app = FHIRClient(settings={**settings, "launch_token": None})
    app.prepare()
    callback = log_in_and_allow(app.authorize_url, place.patient_user)
    assert callback.startswith(redirect + "?")
    app.handle_callback(callback)
    assert app.ready
    assert app.patient.id == place.patient
    assert [found.id for found in Patient.where({}).perform_resources_iter(app.server)] == [place.patient]
    assert app.reauthorize()
    assert Patient.read(place.patient, app.server).name[0].family == "Shaw"


def log_in_and_allow(url: str, name: str) -> str:
    """Do what a person does in a browser; return where the browser is sent in the end."""
    with httpx.Client(follow_redirects=True) as browser:
        page = browser.get(url)
        page = browser.post(target(page, "login"), data={**hidden(page), "name": name, "password": PASSWORD})
        scopes = re.findall(r'name="scope" value="([^"]+)"', page.text)
        assert scopes, page.text
        form = {**hidden(page), "scope": scopes, "part": re.findall(r'name="part" value="([^"]+)"', page.text)}
        answer = browser.post(target(page, "consent"), data=form, follow_redirects=False)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]


def target(page: httpx.Response, action: str) -> str:
    return next(unescape(found) for found in re.findall(r'action="([^"]+)"', page.text) if found.endswith("/" + action))


def hidden(page: httpx.Response) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)">', page.text))
