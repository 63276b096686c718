import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import redis

from fhir_server.store import valkey as module
from fhir_server.store.children import DataDirectoryInUseError, EmbeddedError
from fhir_server.store.valkey import EmbeddedValkey, find_valkey, running_url

OWNER = """
import sys, time
from pathlib import Path
from fhir_server.store.valkey import EmbeddedValkey

found = EmbeddedValkey(Path(sys.argv[1])).start()
print(found.pid, found.url, flush=True)
time.sleep(60)
"""


@pytest.fixture
def embedded(tmp_path: Path):
    """An embedded Valkey on a directory of its own, not started yet."""
    made = EmbeddedValkey(tmp_path / "data")
    yield made
    made.stop()


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 15
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_it_holds_and_its_port_survive_a_restart(embedded):
    embedded.start()
    first = embedded.port
    with redis.Redis.from_url(embedded.url) as client:
        client.set("a", "1")
    embedded.stop()
    assert embedded.pid == 0

    embedded.start()

    assert embedded.port == first
    with redis.Redis.from_url(embedded.url) as client:
        assert client.get("a") == b"1"


def test_nobody_gets_in_without_the_password_which_only_the_owner_reads(embedded):
    embedded.start()
    with redis.Redis(port=embedded.port) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    assert running_url(embedded.directory.parent) == embedded.url
    assert (embedded.directory / "url").stat().st_mode & 0o777 == 0o600
    password = embedded.url.split(":")[2].split("@")[0]
    assert password not in " ".join(psutil.Process(embedded.pid).cmdline())


def test_a_second_owner_is_refused(embedded):
    embedded.start()
    with pytest.raises(DataDirectoryInUseError, match="in use by another server"):
        EmbeddedValkey(embedded.directory.parent).start()
    assert embedded.pid


def test_it_ends_when_its_owner_is_killed_and_the_next_start_is_free(tmp_path):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    pid, _ = owner.stdout.readline().split()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    wait_until_gone(int(pid))
    with EmbeddedValkey(tmp_path) as embedded:
        embedded.wait()
        assert embedded.pid not in (0, int(pid))


def test_one_that_outlived_its_owner_is_ended_at_the_next_start(embedded):
    embedded.start()
    orphan, process = embedded.pid, embedded._process
    embedded._lock.close()
    with EmbeddedValkey(embedded.directory.parent) as other:
        other.wait()
        process.wait()
        assert not psutil.pid_exists(orphan)
        with redis.Redis.from_url(other.url) as client:
            assert client.ping()


def test_a_recorded_process_id_that_is_now_another_process_is_left_alone(embedded):
    embedded.directory.mkdir(parents=True)
    (embedded.directory / "valkey.pid").write_text(str(os.getpid()))
    embedded.start()
    assert embedded.pid


def test_one_that_was_killed_is_started_again_on_the_same_port(embedded):
    embedded.start()
    assert not embedded.restart_if_dead()
    port, url = embedded.port, embedded.url
    os.kill(embedded.pid, signal.SIGKILL)
    embedded._process.wait()
    assert embedded.restart_if_dead()
    embedded.wait()
    assert (embedded.port, embedded.url) == (port, url)


def test_a_log_that_can_not_be_read_is_put_aside(embedded):
    embedded.start()
    with redis.Redis.from_url(embedded.url) as client:
        client.set("a", "1")
    embedded.stop()
    for file in (embedded.directory / "appendonlydir").iterdir():
        file.write_bytes(b"no such command\r\n" * 20)
    embedded.start()
    with redis.Redis.from_url(embedded.url) as client:
        assert client.get("a") is None
    assert (embedded.directory / "appendonlydir.unreadable").is_dir()


def test_one_that_does_not_start_says_where_its_log_is(embedded, monkeypatch):
    monkeypatch.setattr(module, "find_valkey", lambda: Path("/bin/false"))
    with pytest.raises(EmbeddedError, match=r"ended at its start; its log is .*valkey\.log"):
        embedded.start()


def test_without_a_binary_it_says_what_to_do(monkeypatch):
    assert find_valkey().name == "valkey-server"
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    with pytest.raises(EmbeddedError, match="Set FHIR_REDIS_URL"):
        find_valkey()


def test_where_none_runs_that_is_said(tmp_path):
    with pytest.raises(EmbeddedError, match="No embedded Valkey runs"):
        running_url(tmp_path)
