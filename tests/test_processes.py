"""The server as processes: started, stopped, killed, started again."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fhir_server.store.master import new_master_key

pytestmark = pytest.mark.slow

PATIENT = {"resourceType": "Patient", "id": "one", "active": True}
STOPPED_IN_SECONDS = 15


class Server:
    """`fhir-server serve` on a directory, on a port of its own."""

    def __init__(self, data: Path, *options: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FHIR_")}
        environment |= {"FHIR_MONGODB_CACHE_MB": "256", "FHIR_WORKER": "false"}
        command = [sys.executable, "-m", "fhir_server.cli", "serve", "--port=0", f"--data={data}", *options]
        self.errors = data.with_suffix(".err")
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=data.parent
            )
        self.ready = self.process.stdout.readline()
        self.base = self.ready.removeprefix("Ready: ").strip()

    @property
    def root(self) -> str:
        """The address without the path."""
        return self.base.removesuffix("/fhir")

    def children(self, name: str) -> list[psutil.Process]:
        """Return the processes of that name which the server has started."""
        return [child for child in psutil.Process(self.process.pid).children() if name in child.name()]

    def workers(self) -> list[psutil.Process]:
        """Return the processes that answer requests; what publishes is one of Python's too, and starts when it likes."""
        found = []
        for child in self.children("python"):
            # One that has ended is there until its parent has looked after it.
            with contextlib.suppress(psutil.NoSuchProcess):
                if "fhir_server.web.process" in child.cmdline():
                    found.append(child)
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and return the exit code; nothing that the server started may be left."""
        family = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.process.send_signal(number)
        code = self.process.wait(STOPPED_IN_SECONDS)
        rest = self.process.stdout.read()
        self.process.stdout.close()
        _, alive = psutil.wait_procs(family, STOPPED_IN_SECONDS)
        assert alive == []
        assert rest == ""
        return code

    def log(self) -> list[dict[str, object]]:
        """Return the lines of its log."""
        return [json.loads(line) for line in self.errors.read_text().splitlines()]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    """Start a server on this test's data directory, and kill it in the end."""
    started: list[Server] = []

    def make(*options: str) -> Server:
        started.append(Server(tmp_path / "data", *options))
        return started[-1]

    yield make
    for server in started:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)
        server.process.stdout.close()


def call(url: str, body: object = None, method: str = "GET", headers: dict[str, str] | None = None):
    """Return status, headers and body."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"Content-Type": "application/fhir+json"} | (headers or {}), method=method)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def put(server: Server, id_: str = "one") -> int:
    return call(f"{server.base}/Patient/{id_}", PATIENT | {"id": id_}, "PUT")[0]


def until(what, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def refused(tmp_path: Path, *options: str, **environment: str) -> tuple[int, str]:
    """Return exit code and message of a server that does not start."""
    command = [sys.executable, "-m", "fhir_server.cli", "serve", *options]
    around = {name: value for name, value in os.environ.items() if not name.startswith("FHIR_")} | environment
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=around)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_it_prints_one_line_serves_and_keeps_data_over_a_restart(start):
    server = start()
    assert server.ready == f"Ready: http://127.0.0.1:{server.root.rpartition(':')[2]}/fhir\n"
    assert call(f"{server.root}/health/live")[0] == 200
    assert call(f"{server.root}/health/ready")[::2] == (200, b'{"status":"ready"}')
    assert put(server) == 201
    assert server.stop(signal.SIGTERM) == 0

    again = start()
    status, _, body = call(f"{again.base}/Patient/one")
    assert status == 200
    assert json.loads(body)["meta"]["versionId"] == "1"
    assert again.stop(signal.SIGINT) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_kill_leaves_no_process_and_no_damage(start, workers):
    server = start(f"--workers={workers}")
    assert put(server) == 201
    server.stop(signal.SIGKILL)

    again = start()
    assert call(f"{again.base}/Patient/one")[0] == 200


def test_a_second_server_on_the_directory_is_refused(start, tmp_path):
    server = start()
    code, message = refused(tmp_path, "--port=0", f"--data={tmp_path / 'data'}")
    assert code == 3
    assert f"in use by another server (process {server.process.pid})" in message
    assert call(f"{server.root}/health/ready")[0] == 200


def test_a_port_in_use_is_refused(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, message = refused(tmp_path, f"--port={port}")
    assert code == 2
    assert f"Can not listen on 127.0.0.1, port {port}: Address already in use. Choose another port with --port" in message


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_unprotected_address_is_refused(tmp_path, host):
    code, message = refused(tmp_path, f"--host={host}")
    assert code == 2
    assert f"Refusing to listen on {host}" in message
    assert "FHIR_ALLOW_UNAUTHENTICATED=true" in message
    assert not (tmp_path / "data").exists()


def test_an_authorization_server_without_a_master_key_is_refused(tmp_path, mongodb_uri):
    code, message = refused(tmp_path, "--port=0", FHIR_AUTH="builtin", FHIR_MONGODB_URI=mongodb_uri, FHIR_MASTER_KEY="")
    assert code == 2
    assert "set FHIR_MASTER_KEY (`fhir-server keys new` makes one)" in message


@pytest.mark.parametrize("where", [{"FHIR_HOST": "0.0.0.0"}, {"FHIR_BASE_URL": "http://ehr.example.org/fhir"}])
def test_an_authorization_server_without_tls_is_refused(tmp_path, mongodb_uri, where):
    code, message = refused(
        tmp_path, "--port=0", FHIR_AUTH="builtin", FHIR_MONGODB_URI=mongodb_uri, FHIR_MASTER_KEY=new_master_key(), **where
    )
    assert code == 2
    assert "set FHIR_BASE_URL to the https URL" in message


def test_a_wrong_setting_is_named(tmp_path):
    code, message = refused(tmp_path, "--port=70000")
    assert code == 2
    assert "FHIR_PORT: Input should be less than or equal to 65535" in message


def test_a_killed_mongod_comes_back_without_a_restart_of_the_server(start):
    server = start()
    assert put(server) == 201
    [mongod] = server.children("mongod")
    mongod.kill()
    until(lambda: call(f"{server.root}/health/ready")[0] == 200)
    assert call(f"{server.base}/Patient/one")[0] == 200
    assert put(server, "two") == 201
    assert [line["event"] for line in server.log() if line["level"] == "error"] == [
        "the embedded MongoDB has ended and is started again"
    ]


def test_workers_share_connections_evenly_are_counted_together_and_replaced(start):
    server = start("--workers=2")
    workers = server.workers()
    host, port = server.root.removeprefix("http://").split(":")

    def both_serve() -> bool:
        # The server is ready when one worker is; until the other is as well, all goes to the first.
        with socket.create_connection((host, int(port))), socket.create_connection((host, int(port))):
            time.sleep(0.1)
            return all(served(worker, int(port)) for worker in workers)

    until(both_serve)
    held = [socket.create_connection((host, int(port))) for _ in range(8)]
    until(lambda: sorted(served(worker, int(port)) for worker in workers) == [4, 4])
    for connection in held:
        connection.sendall(b"GET /fhir/Patient/none HTTP/1.1\r\nHost: test\r\n\r\n")
        assert b"404" in connection.recv(4096)
        connection.close()
    counted = b'fhir_requests_total{interaction="read",status="404",type="Patient"} 8.0'
    until(lambda: counted in call(f"{server.root}/metrics")[2])

    workers[0].kill()
    until(lambda: len(server.workers()) == 2 and server.workers() != workers)
    assert put(server) == 201
    assert counted in call(f"{server.root}/metrics")[2]
    assert server.stop() == 0


def served(worker: psutil.Process, port: int) -> int:
    return sum(
        1 for found in worker.net_connections("tcp") if found.laddr.port == port and found.status == psutil.CONN_ESTABLISHED
    )


def test_workers_that_never_serve_end_the_server(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import os\nif 'FHIR_WORKER_CHANNEL' in os.environ:\n    os._exit(9)\n")
    code, message = refused(tmp_path, "--port=0", "--workers=2", PYTHONPATH=str(tmp_path))
    assert code == 1
    assert "The workers end at their start" in message
    assert message.count('"code":9') == 6
