"""From items to the server: in chunks, several at a time, with a report of what was stored and what was not."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fhir_server.fhir.outcome import FhirError
from fhir_server.loading.journal import Journal, fingerprint
from fhir_server.loading.sources import Item, read_items

CHUNK_ENTRIES: Final = 100
BUSY: Final = frozenset({429, 503})
BUSY_ATTEMPTS: Final = 60
BUSY_SECONDS: Final = 1.0

Bundle = dict[str, Any]
Send = Callable[[Bundle], Awaitable[Bundle]]
"""Hands a transaction or batch to a server and returns its answer, or raises a FhirError."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that was not stored, and why."""

    place: str
    reason: str


@dataclass(slots=True)
class Report:
    """What came of it."""

    stored: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    skipped: int = 0
    """Items that the journal knew as stored."""


async def load(
    files: Iterable[Path],
    send: Send,
    journal: Journal,
    *,
    jobs: int = 4,
    progress: Callable[[Path, int, Report], None] = lambda _file, _read, _report: None,
) -> Report:
    """Store what the files hold, `jobs` chunks at a time; `progress` is told the file and how much of it is read.

    Raises:
        FhirError: 429 or 503, when the server stays busy or away for a minute; what was stored stands in the journal.
    """
    report = Report()
    loader = _Loader(send, journal, report)
    running: set[asyncio.Task[None]] = set()
    try:
        async for chunk in _chunks(files, journal, report):
            if len(running) >= jobs:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            running.add(asyncio.create_task(loader.store(chunk)))
            progress(chunk[-1].file, chunk[-1].read, report)
        for task in running:
            await task
    except BaseException:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise
    return report


async def _chunks(files: Iterable[Path], journal: Journal, report: Report) -> AsyncIterator[list[Item]]:
    items = _unstored(files, journal, report)
    chunk: list[Item] = []
    size = 0
    while (item := await asyncio.to_thread(next, items, None)) is not None:
        if item.bundle is not None or item.error:
            yield [item]
            continue
        chunk.append(item)
        size += len(item.entries)
        if size >= CHUNK_ENTRIES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _unstored(files: Iterable[Path], journal: Journal, report: Report) -> Iterator[Item]:
    for file in files:
        done = journal.done(fingerprint(file))
        for item in read_items(file):
            if item.position in done:
                report.skipped += 1
            else:
                yield item


class _Loader:
    def __init__(self, send: Send, journal: Journal, report: Report) -> None:
        self._send = send
        self._journal = journal
        self._report = report

    async def store(self, chunk: list[Item]) -> None:
        """Store a chunk at once; where that is refused each item by itself, so that one bad resource stops no other."""
        if chunk[0].error:
            self._report.failures.append(Failure(chunk[0].place, chunk[0].error))
            return
        try:
            answer = await self._sent(_bundle(chunk))
        except FhirError as error:
            if error.status in BUSY:
                raise
            if len(chunk) == 1:
                self._report.failures.append(Failure(chunk[0].place, str(error)))
                return
            for item in chunk:
                await self.store([item])
            return
        if self._accept(chunk, answer):
            self._journal.add((fingerprint(item.file), item.position) for item in chunk)

    async def _sent(self, bundle: Bundle) -> Bundle:
        """Send it, again and again while the server is busy or away."""
        for _ in range(BUSY_ATTEMPTS):
            try:
                return await self._send(bundle)
            except FhirError as error:
                if error.status not in BUSY:
                    raise
                last = error
            await asyncio.sleep(BUSY_SECONDS)
        raise last

    def _accept(self, chunk: list[Item], answer: Bundle) -> bool:
        """Count what was stored; False when an entry of a batch was refused."""
        sent = _bundle(chunk).get("entry", [])
        clean = True
        for number, (entry, reply) in enumerate(zip(sent, answer.get("entry", []), strict=False)):
            status = str(reply.get("response", {}).get("status", ""))
            if status.startswith("2"):
                self._report.stored[_type_of(entry)] += 1
            elif not status.startswith("304"):
                clean = False
                self._report.failures.append(Failure(f"{chunk[0].place} entry[{number}]", _reason(reply, status)))
        return clean


def _bundle(chunk: list[Item]) -> Bundle:
    if chunk[0].bundle is not None:
        return chunk[0].bundle
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry for item in chunk for entry in item.entries]}


def _type_of(entry: Bundle) -> str:
    resource = entry.get("resource")
    if isinstance(resource, dict):
        return str(resource.get("resourceType"))
    return str(entry.get("request", {}).get("url", "")).partition("/")[0].partition("?")[0]


def _reason(reply: Bundle, status: str) -> str:
    outcome = reply.get("response", {}).get("outcome") or reply.get("resource") or {}
    issues = outcome.get("issue", []) if outcome.get("resourceType") == "OperationOutcome" else []
    return "; ".join(f"{issue.get('code')}: {issue.get('diagnostics', '')}" for issue in issues) or f"status {status}"
