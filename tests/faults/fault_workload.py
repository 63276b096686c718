"""Clients that write all the time, and note what they were told."""

import asyncio
import itertools
import random
import re
from collections.abc import Callable
from typing import Any

import httpx
from fault_ledger import DELETED, KEY, TRANSACTION, Ledger, Reference, observation, patient

ENTRIES = 20
KEYS = 12
"""So many conditions are competed for at a time."""
BASE_HEADERS = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}


class Workload:
    """`clients` concurrent clients of the server that `base` names at the moment."""

    def __init__(self, ledger: Ledger, base: Callable[[], str], *, clients: int, seed: int, name: str = "w") -> None:
        self.ledger = ledger
        self.generation = 0
        self._base = base
        self._clients = clients
        self._random = random.Random(seed)
        self._name = name
        self._numbers = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._http = httpx.AsyncClient(timeout=40, headers=BASE_HEADERS, limits=httpx.Limits(max_connections=clients))

    def start(self) -> None:
        """Begin to write."""
        self._tasks = [asyncio.create_task(self._run()) for _ in range(self._clients)]

    async def stop(self) -> None:
        """Finish what is under way, then stop."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        self._stopping = False

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _run(self) -> None:
        actions = [self._create] * 3 + [self._update] * 4 + [self._update_if_match] * 2
        actions += [self._delete, self._create_conditionally, self._create_conditionally, self._transact]
        while not self._stopping:
            status = await self._random.choice(actions)()
            if status in (0, 503):
                # As a client would that was asked to retry later.
                await asyncio.sleep(0.05)

    async def _send(self, kind: str, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response | None:
        """Return the answer, None where none came."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            answer = await self._http.request(method, self._base() + path, json=body, headers=names)
        except httpx.TransportError:
            self.ledger.count(kind, 0)
            return None
        self.ledger.count(kind, answer.status_code)
        if answer.status_code >= 500 and answer.status_code != 503:
            self.ledger.failures.append(f"{kind}: {answer.status_code} {answer.text[:500]}")
        if answer.status_code == 503 and "Retry-After" not in answer.headers:
            self.ledger.failures.append(f"{kind}: 503 without Retry-After")
        return answer

    def _marker(self, content: Callable[[str], dict[str, Any]]) -> tuple[str, dict[str, Any]]:
        marker = f"{self._name}-{next(self._numbers)}"
        self.ledger.sent[marker] = content(marker)
        return marker, self.ledger.sent[marker]

    def _note(self, answer: httpx.Response | None, marker: str, done: tuple[int, ...]) -> int:
        """Note what became of the write of a marker, and return the status."""
        if answer is None or answer.status_code >= 500:
            self.ledger.unknown.add(marker)
            return answer.status_code if answer is not None else 0
        if answer.status_code in done:
            reference, number = located(answer.headers["Location"])
            self.ledger.acknowledge(reference, number, marker)
        elif answer.status_code in (409, 412, 410, 404):
            self.ledger.refused.add(marker)
        elif answer.status_code != 200:
            self.ledger.failures.append(f"{marker}: {answer.status_code} {answer.text[:500]}")
        return answer.status_code

    async def _create(self) -> int:
        marker, body = self._marker(patient)
        return self._note(await self._send("create", "POST", "/Patient", body), marker, (201,))

    def _some(self) -> Reference | None:
        """Return a resource that is probably there: mostly one of a few, so that clients meet."""
        living = list(itertools.islice(self.ledger.living, 300))
        if not living:
            return None
        return self._random.choice(living[:8] if self._random.random() < 0.3 else living)

    async def _update(self, **headers: str) -> int:
        reference = self._some()
        if reference is None:
            return await self._create()
        marker, body = self._marker(lambda marker: patient(marker) | {"id": reference[1]})
        answer = await self._send("update", "PUT", f"/Patient/{reference[1]}", body, **headers)
        return self._note(answer, marker, (200, 201))

    async def _update_if_match(self) -> int:
        reference = self._some()
        if reference is None or reference not in self.ledger.living:
            return await self._create()
        marker, body = self._marker(lambda marker: patient(marker) | {"id": reference[1]})
        headers = {"If_Match": f'W/"{self.ledger.living[reference]}"'}
        answer = await self._send("update If-Match", "PUT", f"/Patient/{reference[1]}", body, **headers)
        return self._note(answer, marker, (200, 201))

    async def _delete(self) -> int:
        reference = self._some()
        if reference is None:
            return await self._create()
        answer = await self._send("delete", "DELETE", f"/Patient/{reference[1]}")
        if answer is not None and answer.status_code == 204:
            number = int(answer.headers["ETag"].removeprefix('W/"').removesuffix('"'))
            self.ledger.acknowledge(reference, number, DELETED)
        return answer.status_code if answer is not None else 0

    async def _create_conditionally(self) -> int:
        key = f"{self._name}-{self.generation}-{self._random.randrange(KEYS)}"
        self.ledger.tried[key] = None
        marker, body = self._marker(lambda marker: patient(marker, (KEY, key)))
        answer = await self._send("conditional create", "POST", "/Patient", body, If_None_Exist=f"identifier={KEY}|{key}")
        status = self._note(answer, marker, (201,))
        if answer is not None and status in (200, 201):
            (_, id_), _ = located(answer.headers["Location"])
            if self.ledger.keys.setdefault(key, id_) != id_:
                self.ledger.failures.append(f"{key} is both {id_} and {self.ledger.keys[key]}")
            # Others may update or delete it, after which it has its key no more: it is left alone.
            self.ledger.living.pop(("Patient", id_), None)
        if status == 200:
            self.ledger.refused.add(marker)
        return status

    async def _transact(self) -> int:
        name = f"{self._name}-t{next(self._numbers)}"
        entries, markers = self._entries(name)
        self.ledger.transactions[name] = len(entries)
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        answer = await self._send("transaction", "POST", "", bundle)
        if answer is not None and answer.status_code == 200:
            self.ledger.committed.add(name)
            for marker, entry in zip(markers, answer.json()["entry"], strict=True):
                reference, number = located(entry["response"]["location"])
                self.ledger.acknowledge(reference, number, marker)
        for marker in markers:
            if answer is None or answer.status_code >= 500:
                self.ledger.unknown.add(marker)
            elif answer.status_code in (409, 412):
                self.ledger.refused.add(marker)
            elif answer.status_code != 200:
                self.ledger.failures.append(f"{marker}: {answer.status_code} {answer.text[:500]}")
        return answer.status_code if answer is not None else 0

    def _entries(self, name: str) -> tuple[list[dict[str, Any]], list[str]]:
        """Return entries that create a Patient, what is about it, and update others that clients compete for."""
        mark = (TRANSACTION, name)
        marker, body = self._marker(lambda marker: patient(marker, mark))
        entries = [{"fullUrl": "urn:uuid:0b9f0a63-2c1a-4a0f-8b3c-3f9c5b0f4d10", "resource": body, **request("POST", "Patient")}]
        markers = [marker]
        for _ in range(ENTRIES - 3):
            marker, body = self._marker(lambda marker: observation(marker, entries[0]["fullUrl"], mark))
            entries.append({"resource": body, **request("POST", "Observation")})
            markers.append(marker)
        shared = {f"{self._name}-shared-{self._random.randrange(20)}", f"{self._name}-shared-{self._random.randrange(20)}"}
        for id_ in sorted(shared):
            marker, body = self._marker(lambda marker, id_=id_: patient(marker, mark) | {"id": id_})
            entries.append({"resource": body, **request("PUT", f"Patient/{id_}")})
            markers.append(marker)
        return entries, markers


def request(method: str, url: str) -> dict[str, Any]:
    """Return the `request` of an entry."""
    return {"request": {"method": method, "url": url}}


def located(url: str) -> tuple[Reference, int]:
    """Return type, id and version number of a version-specific location."""
    type_, id_, number = re.search(r"([A-Za-z]+)/([^/]+)/_history/(\d+)$", url).groups()
    return (type_, id_), int(number)
