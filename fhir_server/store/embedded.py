"""The embedded MongoDB: a real `mongod`, child of this process, a replica set of one node on loopback.

docs/decisions/0001-embedded-mongodb.md says why. What holds:

* One owner a data directory: a lock that dies with its owner; a second owner is refused.
* `mongod` ends when its owner ends, however that happens; what may have survived is found and ended at the next start.
* The data of an unclean end is recovered by MongoDB's journal.
"""

import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import psutil
import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from fhir_server.store.children import (
    DataDirectoryInUseError,
    EmbeddedError,
    end_child,
    end_process,
    end_with_parent,
    recorded_port,
)

__all__ = ["DataDirectoryInUseError", "EmbeddedError", "EmbeddedMongod", "check_binary", "find_mongod", "running_uri"]

REPLICA_SET: Final = "fhir"
START_SECONDS: Final = 60.0
LOG_BYTES: Final = 16_000_000
LOGS_KEPT: Final = 3
_NOT_YET_INITIALIZED: Final = 94
_INVALID_REPLICA_SET_CONFIG: Final = 93


def find_mongod() -> Path:
    """Return the path of the `mongod` binary: that of the installed wheel, or one on the PATH.

    Raises:
        EmbeddedError: there is none for this platform.
    """
    spec = importlib.util.find_spec("fiftyone")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(location) / "db" / "bin" / "mongod"
        if binary.is_file():
            return binary
    if found := shutil.which("mongod"):
        return Path(found)
    raise EmbeddedError(
        f"No embedded MongoDB is installed for this platform ({sys.platform}). "
        "Set FHIR_MONGODB_URI to a MongoDB replica set (6.0 or newer), or put a mongod on the PATH."
    )


def check_binary(binary: Path) -> str:
    """Return the version of the binary, such as `6.0.5`.

    Raises:
        EmbeddedError: it does not run here, with the libraries that it misses.
    """
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 -- our own binary
    except OSError as error:
        raise EmbeddedError(
            f"The embedded MongoDB at {binary} does not run on this machine ({error.strerror}). "
            "Set FHIR_MONGODB_URI to a MongoDB replica set instead."
        ) from error
    if done.returncode == 0 and "db version v" in done.stdout:
        return done.stdout.split("db version v", 1)[1].split()[0]
    reason = done.stderr.strip().splitlines()
    raise EmbeddedError(
        f"The embedded MongoDB does not start: {reason[-1] if reason else 'no reason given'}. "
        "It needs the libraries libcurl4 and OpenSSL 3: on Debian or Ubuntu run `apt-get install libcurl4 libssl3`, "
        "or set FHIR_MONGODB_URI to a MongoDB replica set."
    )


class EmbeddedMongod:
    """A `mongod` on `data_dir`, from `start()` to `stop()`; as a context manager it launches, and stops in the end."""

    def __init__(self, data_dir: Path, *, cache_mb: int = 512, oplog_mb: int = 1024, journal_ms: int = 100) -> None:
        self.data_dir = data_dir.absolute()
        self.port = 0
        self._options = [
            f"--wiredTigerCacheSizeGB={cache_mb / 1024:.3f}",
            f"--oplogSize={oplog_mb}",
            f"--journalCommitInterval={journal_ms}",
        ]
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """The connection string; it holds for this process and every other on this machine."""
        return _uri(self.port)

    @property
    def pid(self) -> int:
        """The process id of the running `mongod`, 0 without one."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    @property
    def log_path(self) -> Path:
        """Where `mongod` logs to."""
        return self.data_dir / "mongod.log"

    def start(self) -> Self:
        """Own the directory, start `mongod` and wait until it takes writes.

        Raises:
            DataDirectoryInUseError: another process owns the directory.
            EmbeddedError: `mongod` does not start.
        """
        self.launch()
        return self.wait()

    def launch(self) -> None:
        """Do what `start()` does, but do not wait: other work can be done before `wait()`."""
        binary = find_mongod()
        self._own()
        try:
            _end_orphan(self._db_path)
            self.port = self._choose_port()
            self._launch(binary)
        except BaseException:
            self.stop()
            raise

    def wait(self) -> Self:
        """Wait until the launched `mongod` takes writes."""
        if self._process is None:
            raise EmbeddedError("The embedded MongoDB was not launched.")
        try:
            self._wait_until_primary(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def restart_if_dead(self) -> bool:
        """Start `mongod` again, on the same port, when it has ended by itself; True when that was so.

        It does not wait until that one is ready: clients do that anyway.
        """
        if self._lock is None or self.pid:
            return False
        self._launch(find_mongod())
        return True

    def rotate_log(self) -> None:
        """Begin a new log file where the present one has grown large; the newest few are kept."""
        if not self.log_path.exists() or self.log_path.stat().st_size < LOG_BYTES:
            return
        for number in range(LOGS_KEPT - 1, 0, -1):
            older = self.log_path.with_suffix(f".log.{number}")
            if older.exists():
                older.replace(self.log_path.with_suffix(f".log.{number + 1}"))
        self.log_path.replace(self.log_path.with_suffix(".log.1"))
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)

    def stop(self) -> None:
        """End `mongod` cleanly, killing it only when it does not end, and give the directory free."""
        process, self._process = self._process, None
        if process is not None:
            end_child(process)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        self.launch()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def _errors_path(self) -> Path:
        return self.data_dir / "mongod.err"

    @property
    def _db_path(self) -> Path:
        return self.data_dir / "db"

    def _own(self) -> None:
        try:
            self._db_path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self.data_dir / "owner.lock").open("a+", encoding="ascii")
        except OSError as error:
            raise EmbeddedError(f"The data directory {self.data_dir} can not be used: {error.strerror}.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read(20).strip() or "unknown"
            lock.close()
            raise DataDirectoryInUseError(
                f"The data directory {self.data_dir} is in use by another server (process {owner}). "
                "Stop that one first, or choose another directory with --data."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _choose_port(self) -> int:
        """Return the port of the last start while it is free: the replica set then needs no new configuration."""
        return recorded_port(self.data_dir / "port")

    def _launch(self, binary: Path) -> None:
        self.rotate_log()
        command = [
            str(binary),
            f"--dbpath={self._db_path}",
            f"--port={self.port}",
            "--bind_ip=127.0.0.1",
            f"--replSet={REPLICA_SET}",
            f"--logpath={self.log_path}",
            "--logappend",
            "--logRotate=reopen",
            "--quiet",
            # A slow operation would be logged with the values that it looked for.
            "--slowms=2000000000",
            "--nounixsocket",
            "--setParameter=diagnosticDataCollectionEnabled=false",
            "--setParameter=shutdownTimeoutMillisForSignaledShutdown=100",
            *self._options,
        ]
        with self._errors_path.open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603 -- our own binary
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                # A session of its own, so that Ctrl-C reaches the server only, which then ends mongod in order.
                start_new_session=True,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 -- no threads at this time
            )

    def _wait_until_primary(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_SECONDS
        with pymongo.MongoClient[dict[str, Any]](
            self.uri, serverSelectionTimeoutMS=50, connectTimeoutMS=1000, heartbeatFrequencyMS=500
        ) as client:
            while time.monotonic() < deadline:
                if process.poll() is not None:
                    raise EmbeddedError(f"The embedded MongoDB ended at its start. {self._reason(process)}")
                if self._is_primary(client):
                    return
                time.sleep(0.02)
        raise EmbeddedError(f"The embedded MongoDB was not ready within {START_SECONDS:.0f} s; its log is {self.log_path}.")

    def _is_primary(self, client: "pymongo.MongoClient[dict[str, Any]]") -> bool:
        try:
            hello = client.admin.command("hello")
            if hello.get("isWritablePrimary"):
                return True
            status = client.admin.command("replSetGetStatus")
        except OperationFailure as failure:
            self._configure(client, failure.code)
            return False
        except PyMongoError:
            return False
        if status["myState"] == 10:  # noqa: PLR2004 -- REMOVED: it was configured under another port
            self._configure(client, _INVALID_REPLICA_SET_CONFIG)
        return False

    def _configure(self, client: "pymongo.MongoClient[dict[str, Any]]", code: int | None) -> None:
        host = f"127.0.0.1:{self.port}"
        try:
            if code == _NOT_YET_INITIALIZED:
                client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [{"_id": 0, "host": host}]})
            elif code == _INVALID_REPLICA_SET_CONFIG:
                config = client.admin.command("replSetGetConfig")["config"]
                config["members"][0]["host"] = host
                config["version"] += 1
                client.admin.command("replSetReconfig", config, force=True)
        except PyMongoError:
            # Still starting: the caller asks again until its time is up.
            return

    def reason(self) -> str:
        """Return why the `mongod` that has ended by itself did so, as far as is known."""
        return self._reason(self._process) if self._process else ""

    def _reason(self, process: "subprocess.Popen[bytes]") -> str:
        said = self._errors_path.read_text(encoding="utf-8", errors="replace").strip()
        if said:
            return f"{said.splitlines()[-1]} (on Debian or Ubuntu: `apt-get install libcurl4 libssl3`)."
        return f"Exit code {process.returncode}; its log is {self.log_path}."


def running_uri(data_dir: Path) -> str:
    """Return the connection string of the `mongod` that another process runs on the directory."""
    return _uri(int((data_dir / "port").read_text(encoding="ascii")))


def _uri(port: int) -> str:
    return f"mongodb://127.0.0.1:{port}/?directConnection=true"


def _end_orphan(db_path: Path) -> None:
    """End a `mongod` on this directory whose owner is gone; its lock file holds its process id."""
    try:
        pid = int((db_path / "mongod.lock").read_text(encoding="ascii").strip() or 0)
        process = psutil.Process(pid) if pid > 0 else None
        if process is None or f"--dbpath={db_path}" not in process.cmdline():
            return
        end_process(process)
    except (OSError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return
