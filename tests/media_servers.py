"""A real S3 server (SeaweedFS) and a real ClamAV daemon for tests: started when the first test needs them, once for a run.

The process that controls the run names a directory in the environment; whichever xdist worker comes first starts a server and
leaves its address there. A supervisor ends it with the controlling process, however that ends.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_server.store.children import free_port

DIRECTORY = "FHIR_TEST_MEDIA_DIRECTORY"
OWNER = "FHIR_TEST_MEDIA_OWNER"
ACCESS_KEY, SECRET_KEY = "test-access", "test-secret"
BUCKET = "media"
EICAR = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
STREAM_MAX = 40 * 2**20


def needs(program: str, why: str) -> str:
    """Return the path of a program; without it the test is skipped, or fails where CI runs."""
    found = shutil.which(program, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{program} is not installed: {why}")
    return found


def shared(name: str, start: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Return the address of a server, started by whoever comes first."""
    directory = Path(os.environ[DIRECTORY])
    with _locked(directory / f"{name}.lock"):
        record = directory / f"{name}.json"
        if not record.exists():
            home = directory / name
            home.mkdir()
            record.write_text(json.dumps(start(home)))
        return json.loads(record.read_text())


def start_s3(home: Path) -> dict[str, Any]:
    """Start SeaweedFS with a private bucket; again with other ports where another server has taken one of them."""
    weed = needs("weed", "install the dev dependencies")
    identity = {
        "name": "test",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    for attempt in range(3):
        place = home / str(attempt)
        place.mkdir()
        (place / "s3.json").write_text(json.dumps({"identities": [identity]}))
        ports: set[int] = set()
        while len(ports) < 8:
            ports.add(free_port())
        names = [f"{name}.port{kind}" for name in ("s3", "master", "volume", "filer") for kind in ("", ".grpc")]
        numbers = dict(zip(names, sorted(ports), strict=True))
        command = [
            weed,
            "server",
            f"-dir={place}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-s3",
            f"-s3.config={place / 's3.json'}",
        ]
        # Other services of it have ports that are fixed, unless they are turned off.
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        command += ["-volume.max=60", "-master.volumeSizeLimitMB=256", *(f"-{name}={port}" for name, port in numbers.items())]
        pid = supervise(command, place, {"WEED_S3_SSE_KEY": "00" * 32, "GOMAXPROCS": "2"})
        endpoint = f"http://127.0.0.1:{numbers['s3.port']}"
        if _takes_objects(endpoint, pid):
            return {"endpoint": endpoint}
    raise RuntimeError(f"SeaweedFS does not start: {(place / 'log').read_text()[-2000:]}")


def _takes_objects(endpoint: str, pid: int) -> bool:
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    config = Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=5, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config, **keys)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and _state(str(pid)) != "Z":
        try:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
        except (BotoCoreError, ClientError):
            time.sleep(0.2)
        else:
            client.close()
            return True
    client.close()
    return False


def start_clamd(home: Path) -> dict[str, Any]:
    """Start a ClamAV daemon that knows one virus: the EICAR test file."""
    clamd = needs("clamd", "apt-get install clamav-daemon")
    return {"socket": run_clamd(clamd, home)}


def run_clamd(clamd: str, home: Path) -> str:
    """Start it with its database in a directory, and return its socket."""
    database = home / "database"
    database.mkdir(exist_ok=True)
    # The signature is made here, so that no file of ours holds the test file.
    (database / "test.ndb").write_text(f"Eicar-Test-Signature:0:0:{EICAR.encode().hex()}\n")
    path = home / "clamd.socket"
    settings = {
        "DatabaseDirectory": database,
        "LocalSocket": path,
        "Foreground": "yes",
        "StreamMaxLength": STREAM_MAX,
        "MaxFileSize": STREAM_MAX // 2,
        "MaxScanSize": STREAM_MAX // 2,
        "AlertExceedsMax": "yes",
        "TemporaryDirectory": home,
        "User": "root" if os.getuid() == 0 else "",
    }
    config = home / "clamd.conf"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items() if value))
    supervise([clamd, "--config-file", str(config)], home, {})
    deadline = time.monotonic() + 30
    while not _listens(path):
        if time.monotonic() > deadline:
            raise RuntimeError((home / "log").read_text())
        time.sleep(0.05)
    return str(path)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return path.exists() and probe.connect_ex(str(path)) == 0


def supervise(command: list[str], home: Path, environment: dict[str, str]) -> int:
    """Run a server until the controlling process ends, and return the id of its supervisor."""
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, os.environ[OWNER], *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | environment,
        )
    process.returncode = 0  # It outlives this process, and nobody waits for it.
    with (Path(os.environ[DIRECTORY]) / "pids").open("a") as pids:
        pids.write(f"{process.pid}\n")
    return process.pid


def stop_all(directory: Path) -> None:
    """End what was started, and remove the directory."""
    pids = directory / "pids"
    for pid in pids.read_text().split() if pids.exists() else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGTERM)
    deadline = time.monotonic() + 15
    for pid in pids.read_text().split() if pids.exists() else ():
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline and _state(pid) != "Z":
            time.sleep(0.05)
    shutil.rmtree(directory, ignore_errors=True)


def _state(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _supervise(owner: int, command: list[str]) -> None:
    """Be the supervisor: run the command, and end it when asked or when the owner has ended."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGTERM, ask)
    with subprocess.Popen(command) as server:
        while server.poll() is None and not asked and Path(f"/proc/{owner}").exists():
            time.sleep(0.1)
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


if __name__ == "__main__":
    _supervise(int(sys.argv[1]), sys.argv[2:])
