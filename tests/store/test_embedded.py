import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pymongo
import pytest

from fhir_server.store import embedded
from fhir_server.store.embedded import (
    DataDirectoryInUseError,
    EmbeddedError,
    EmbeddedMongod,
    check_binary,
    find_mongod,
    running_uri,
)

OWNER = """
import sys, time
from pathlib import Path
from fhir_server.store.embedded import EmbeddedMongod

found = EmbeddedMongod(Path(sys.argv[1]), cache_mb=256, oplog_mb=64).start()
print(found.pid, found.uri, flush=True)
time.sleep(60)
"""


@pytest.fixture
def mongod(tmp_path: Path):
    """An embedded MongoDB on a directory of its own, not started yet."""
    made = EmbeddedMongod(tmp_path / "data", cache_mb=256, oplog_mb=64)
    yield made
    made.stop()


def insert(uri: str, number: int) -> list[int]:
    """Insert in a transaction, and return all that is there."""
    with pymongo.MongoClient(uri, serverSelectionTimeoutMS=10_000) as client:
        with client.start_session() as session, session.start_transaction():
            client.test.things.insert_one({"_id": number}, session=session)
        return sorted(found["_id"] for found in client.test.things.find())


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 15
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_transactions_work_and_data_and_port_survive_a_restart(mongod):
    mongod.start()
    first = mongod.port
    assert insert(mongod.uri, 1) == [1]
    mongod.stop()
    assert mongod.pid == 0

    mongod.start()

    assert mongod.port == first
    assert insert(mongod.uri, 2) == [1, 2]
    assert running_uri(mongod.data_dir) == mongod.uri


def test_another_port_is_taken_when_the_recorded_one_is_in_use(mongod):
    mongod.start()
    insert(mongod.uri, 1)
    mongod.stop()
    taken = mongod.port
    with socketserver.ThreadingTCPServer(("127.0.0.1", taken), socketserver.BaseRequestHandler) as other:
        threading.Thread(target=other.serve_forever, args=(0.05,)).start()

        mongod.start()

        other.shutdown()
    assert mongod.port != taken
    assert insert(mongod.uri, 2) == [1, 2]


def test_a_second_owner_is_refused_by_name_of_the_first(mongod):
    mongod.start()
    with pytest.raises(DataDirectoryInUseError, match=rf"in use by another server \(process {os.getpid()}\)"):
        EmbeddedMongod(mongod.data_dir, cache_mb=256).start()
    assert insert(mongod.uri, 1) == [1]


def test_a_killed_mongod_is_started_again_on_the_same_port_with_its_data(mongod):
    mongod.start()
    insert(mongod.uri, 1)
    port = mongod.port
    assert not mongod.restart_if_dead()
    os.kill(mongod.pid, signal.SIGKILL)
    while mongod.pid:
        time.sleep(0.01)

    assert mongod.restart_if_dead()

    assert mongod.port == port
    assert insert(mongod.uri, 2) == [1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_mongod_ends_when_its_owner_is_killed(mongod):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(mongod.data_dir)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        pid, uri = owner.stdout.readline().split()
        insert(uri, 1)
        owner.kill()

    wait_until_gone(int(pid))
    mongod.start()
    assert insert(mongod.uri, 2) == [1, 2]


def test_an_orphan_is_ended_at_the_next_start(mongod):
    mongod.start()
    insert(mongod.uri, 1)
    port = mongod.port
    mongod.stop()
    db = mongod.data_dir / "db"
    command = [find_mongod(), f"--dbpath={db}", f"--port={port}", "--bind_ip=127.0.0.1", "--replSet=fhir", "--nounixsocket"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as orphan:
        lock = db / "mongod.lock"
        while lock.read_text().strip() != str(orphan.pid):
            time.sleep(0.01)

        mongod.start()

        assert orphan.wait(15) is not None
    assert insert(mongod.uri, 2) == [1, 2]


def test_the_process_id_of_a_stranger_in_the_lock_file_is_left_alone(mongod):
    mongod.start()
    mongod.stop()
    (mongod.data_dir / "db" / "mongod.lock").write_text(f"{os.getpid()}\n")
    mongod.start()
    assert insert(mongod.uri, 1) == [1]


def test_a_directory_that_can_not_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match=r"file/data can not be used: Not a directory"):
        EmbeddedMongod(tmp_path / "file" / "data").start()


def test_missing_libraries_are_explained(tmp_path, monkeypatch):
    binary = tmp_path / "mongod"
    binary.write_text(
        "#!/bin/sh\necho 'mongod: error while loading shared libraries: libcurl.so.4: no such file' >&2\nexit 127\n"
    )
    binary.chmod(0o755)
    monkeypatch.setattr(embedded, "find_mongod", lambda: binary)
    with pytest.raises(EmbeddedError, match=r"libcurl\.so\.4.*apt-get install libcurl4 libssl3"):
        EmbeddedMongod(tmp_path / "data").start()
    with pytest.raises(EmbeddedError, match=r"libcurl\.so\.4.*apt-get install libcurl4 libssl3"):
        check_binary(binary)


def test_a_binary_for_another_machine_is_explained(tmp_path):
    binary = tmp_path / "mongod"
    binary.write_bytes(b"\x7fELF, but not of this machine")
    binary.chmod(0o755)
    with pytest.raises(EmbeddedError, match=r"Exec format error.*FHIR_MONGODB_URI"):
        check_binary(binary)


def test_a_platform_without_mongod_is_told_what_to_set(monkeypatch):
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(embedded.shutil, "which", lambda _: None)
    with pytest.raises(EmbeddedError, match="Set FHIR_MONGODB_URI to a MongoDB replica set"):
        find_mongod()


def test_the_installed_binary_tells_its_version():
    assert check_binary(find_mongod()) == "6.0.5"


def test_a_running_mongod_begins_a_new_log_when_the_present_one_is_large(mongod, monkeypatch):
    mongod.start()
    size = mongod.log_path.stat().st_size
    mongod.rotate_log()
    assert mongod.log_path.stat().st_size >= size
    monkeypatch.setattr(embedded, "LOG_BYTES", 1)

    mongod.rotate_log()

    deadline = time.monotonic() + 10
    while not (mongod.log_path.exists() and mongod.log_path.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert mongod.log_path.with_suffix(".log.1").stat().st_size >= size


def test_only_the_newest_logs_are_kept(mongod, monkeypatch):
    monkeypatch.setattr(embedded, "LOG_BYTES", 1)
    mongod.data_dir.mkdir()
    for number in range(1, 6):
        mongod.log_path.write_text(f"log {number}")
        mongod.rotate_log()
    kept = {file.name: file.read_text() for file in mongod.data_dir.iterdir()}
    assert kept == {"mongod.log.1": "log 5", "mongod.log.2": "log 4", "mongod.log.3": "log 3"}
