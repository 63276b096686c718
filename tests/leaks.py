"""Nothing of people in logs, measurements and errors, over all that the tests do: a plugin that fails who leaves something there.

All that tests write or send of people (names, addresses, numbers, identifiers, what messages and narratives say) counts as
marked from then on. After each test the lines that were logged meanwhile are looked through for it, and for whatever looks
like a phone number, an SSN, an email address or a token: those of this process, as production would write them, and those
of servers and workers that tests have started. So are labels of metrics, and errors that were answered to a request which
did not hold the value itself. docs/security.md
"""

import html
import logging
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import httpx
import msgspec
import prometheus_client.metrics
import pytest
import structlog

from fhir_server.store.repository import Repository
from fhir_server.web import logs
from tests.marking import Marks, vocabulary

_ENCODER = msgspec.json.Encoder(enc_hook=repr)
_LARGEST = 100_000
_ERROR = 400
_OURS = ("fhir_server", "fhir-server")
_METRICS = "/metrics"
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


class Watch:
    """What was written and logged since the last look."""

    def __init__(self, marks: Marks) -> None:
        self.marks = marks
        self.lines: list[tuple[str, str]] = []
        self.errors: list[tuple[str, str, str]] = []
        self.labels: set[tuple[str, ...]] = set()
        self.files: dict[str, tuple[int, Any]] = {}
        """How far files are looked through, and the process that writes them."""

    def found(self, captured: str) -> list[str]:
        """Return what should not be there, and forget the lines."""
        lines, self.lines = self.lines, []
        lines += [("log of a process", line) for line in self._written()]
        lines += [("log of a process", line) for line in captured.splitlines() if line.startswith("{") and '"event"' in line]
        errors, self.errors = self.errors, []
        leaks = [f"{where}: {line}\n    holds {value}" for where, line in lines for value in self.marks.within(line)]
        for what, answer, sent in errors:
            for value in self.marks.within(answer, sent):
                leaks.append(f"{what}: {answer[:2000]}\n    holds {value}, which the request did not")  # noqa: PERF401
        return leaks

    def _written(self) -> Iterator[str]:
        for name, (offset, process) in list(self.files.items()):
            ended = getattr(process, "returncode", 0) is not None
            try:
                with Path(name).open("rb") as file:
                    file.seek(offset)
                    data = file.read()
            except OSError:
                del self.files[name]
                continue
            whole = data if ended else data.rpartition(b"\n")[0]
            self.files[name] = (offset + len(whole) + (1 if whole else 0), process)
            if ended:
                del self.files[name]
            yield from whole.decode(errors="replace").splitlines()


def pytest_configure(config: pytest.Config) -> None:
    """Begin to watch, in processes that run tests."""
    distributes = getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput")
    if not config.option.collectonly and not distributes:
        watch = Watch(Marks(vocabulary()))
        patch = pytest.MonkeyPatch()
        config.stash[_WATCH], config.stash[_PATCH] = watch, patch
        for each in (_structlog, _logging, _requests_logged, _writes, _answers, _labels, _processes):
            each(watch, patch)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End it."""
    if patch := config.stash.get(_PATCH, None):
        patch.undo()


_WATCH = pytest.StashKey[Watch]()
_PATCH = pytest.StashKey[pytest.MonkeyPatch]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Fail a test that leaves something, when it is over."""
    report: Any = yield
    watch = item.config.stash.get(_WATCH, None)
    if call.when == "teardown" and watch is not None and (leaks := watch.found(report.capstderr)):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} leaves what it should not (tests/leaks.py):\n" + "\n".join(leaks[:20])
    return report


def _structlog(watch: Watch, patch: pytest.MonkeyPatch) -> None:
    """Take what this process logs as it would be written, however a test has configured it."""
    base = structlog.BoundLoggerBase
    original = base._proxy_to_logger

    def proxy(self: Any, method: str, event: str | None = None, /, *args: Any, **values: Any) -> Any:
        line = {"event": event, **structlog.contextvars.get_contextvars(), **self._context, **values}
        line = dict(logs.describe_exception(None, method, line))
        # Places in the code are no data.
        line.pop("at", None)
        watch.lines.append(("log", _ENCODER.encode(line).decode()))
        return original(self, method, event, *args, **values)

    patch.setattr(base, "_proxy_to_logger", proxy)


def _logging(watch: Watch, patch: pytest.MonkeyPatch) -> None:
    """Take what libraries log, from the level on which production has."""
    original = logging.Logger.callHandlers

    def handle(self: logging.Logger, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            watch.lines.append((f"log of {record.name}", record.getMessage()))
        original(self, record)

    patch.setattr(logging.Logger, "callHandlers", handle)


def _requests_logged(watch: Watch, patch: pytest.MonkeyPatch) -> None:
    """Take the lines about requests, which are written past structlog."""
    original = logs.request_logger

    def logger() -> Any:
        write = original()

        def both(fields: dict[str, Any]) -> None:
            watch.lines.append(("log", _ENCODER.encode(fields).decode()))
            write(fields)

        return both

    patch.setattr(logs, "request_logger", logger)


def _writes(watch: Watch, patch: pytest.MonkeyPatch) -> None:
    """Mark what is stored."""
    original = Repository.commit

    async def commit(self: Repository, unit: Any) -> Any:
        for write in unit.writes:
            watch.marks.add(write.version.resource)
        return await original(self, unit)

    patch.setattr(Repository, "commit", commit)


def _answers(watch: Watch, patch: pytest.MonkeyPatch) -> None:
    """Mark what is sent, and look at errors and measurements that are answered."""
    whole, halves = httpx.AsyncClient.send, httpx.Client.send

    async def send(self: httpx.AsyncClient, request: httpx.Request, **how: Any) -> httpx.Response:
        _sent(watch, request)
        answer = await whole(self, request, **how)
        _answered(watch, request, answer)
        return answer

    def send_now(self: httpx.Client, request: httpx.Request, **how: Any) -> httpx.Response:
        _sent(watch, request)
        answer = halves(self, request, **how)
        _answered(watch, request, answer)
        return answer

    patch.setattr(httpx.AsyncClient, "send", send)
    patch.setattr(httpx.Client, "send", send_now)


def _sent(watch: Watch, request: httpx.Request) -> None:
    body = _content(request)
    if "json" in request.headers.get("content-type", ""):
        try:
            watch.marks.add(msgspec.json.decode(body))
        except (msgspec.DecodeError, RecursionError):
            return


def _content(request: httpx.Request) -> bytes:
    return request._content[:_LARGEST] if hasattr(request, "_content") else b""


def _answered(watch: Watch, request: httpx.Request, answer: httpx.Response) -> None:
    if not hasattr(answer, "_content"):
        return
    if request.url.path == _METRICS:
        watch.lines += [("measurements", line) for line in answer.text.splitlines() if not line.startswith("#")]
    elif answer.status_code >= _ERROR:
        sent = _plain(f"{request.method} {request.url} {request.headers} {_content(request).decode(errors='replace')}")
        watch.errors.append((f"{answer.status_code} to {request.method} {request.url.path}", answer.text[:_LARGEST], sent))


def _plain(text: str) -> str:
    """Return a text with what it is when forms, XML and JSON are undone."""
    unescaped = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    return "\n".join((text, unquote_plus(text), html.unescape(text), unescaped))


def _labels(watch: Watch, patch: pytest.MonkeyPatch) -> None:
    """Take the labels of all measurements of this process, once each."""
    base = prometheus_client.metrics.MetricWrapperBase
    original = base.labels

    def labels(self: Any, *values: Any, **named: Any) -> Any:
        key = (*map(str, values), *map(str, named.values()))
        if key not in watch.labels:
            watch.labels.add(key)
            watch.lines.append((f"labels of {self._name}", " ".join(key)))
        return original(self, *values, **named)

    patch.setattr(base, "labels", labels)


def _processes(watch: Watch, patch: pytest.MonkeyPatch) -> None:
    """Take what servers and workers write to files and pipes; what they write to our own standard error is captured."""
    original, communicate = subprocess.Popen.__init__, subprocess.Popen.communicate

    def init(self: Any, command: Any, *args: Any, **how: Any) -> None:
        text = command if isinstance(command, str) else " ".join(map(os.fsdecode, command))
        if any(one in text for one in _OURS):
            stream = how.get("stdout") if how.get("stderr") == subprocess.STDOUT else how.get("stderr")
            name = getattr(stream, "name", None)
            if isinstance(name, str) and name not in watch.files:
                watch.files[name] = (Path(name).stat().st_size, self)
            self._watched = True
        original(self, command, *args, **how)

    def done(self: Any, *args: Any, **how: Any) -> Any:
        both = communicate(self, *args, **how)
        if getattr(self, "_watched", False) and both[1]:
            text = both[1] if isinstance(both[1], str) else both[1].decode(errors="replace")
            watch.lines += [("log of a process", line) for line in text.splitlines()]
        return both

    patch.setattr(subprocess.Popen, "__init__", init)
    patch.setattr(subprocess.Popen, "communicate", done)
