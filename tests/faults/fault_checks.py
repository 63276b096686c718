"""Whether what is stored agrees with what clients were told: directly in MongoDB, and through the server."""

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import httpx
from fault_ledger import DELETED, KEY, MARKER, TRANSACTION, Ledger, identifiers_of, patient
from fault_workload import located
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.search.index import entries
from fhir_server.store.documents import CODEC_OPTIONS

TYPES = ("Patient", "Observation")
Document = dict[str, Any]


async def violations(uri: str, base: str, ledger: Ledger, *, sample: int, seed: int, database: str = "fhir") -> list[str]:
    """Return all that is wrong; `sample` resources are read, searched and their history looked at through the server."""
    found = list(ledger.failures)
    async with AsyncMongoClient[Document](uri, serverSelectionTimeoutMS=20_000) as client:
        stored = await Stored.read(client[database].with_options(codec_options=CODEC_OPTIONS))
    found += stored.numbering()
    found += stored.order()
    found += stored.index()
    found += stored.acknowledged(ledger)
    found += stored.contents(ledger)
    found += stored.transactions(ledger)
    found += stored.keys(ledger)
    async with httpx.AsyncClient(base_url=base + "/", timeout=30) as http:
        found += await served(http, stored, ledger, random.Random(seed), sample)
        found += await guarded(http, ledger)
    return found


class Stored:
    """All versions that MongoDB holds, by type, id and number."""

    def __init__(self, current: dict[str, list[Document]], history: dict[str, list[Document]]) -> None:
        self.current = current
        self.history = history
        self.versions: dict[tuple[str, str, int], Document] = {}
        for documents in (history, current):
            for type_, members in documents.items():
                for document in members:
                    self.versions[type_, document["i"], document["v"]] = document
        self.markers = Counter(identifiers_of(document["r"])[MARKER] for document in self.versions.values() if "r" in document)

    @classmethod
    async def read(cls, database: AsyncDatabase[Document]) -> "Stored":
        """Read it all."""
        current = {type_: await database[type_].find().to_list() for type_ in TYPES}
        history = {type_: await database[f"{type_}_history"].find().to_list() for type_ in TYPES}
        return cls(current, history)

    def numbering(self) -> Iterable[str]:
        """Every resource has the versions 1 to n, each once, the last of them as the current one."""
        for type_ in TYPES:
            current = {document["i"]: document for document in self.current[type_]}
            numbers: dict[str, list[int]] = {id_: [] for id_ in current}
            for document in self.history[type_]:
                id_, number = document["i"], document["v"]
                if document["_id"] != f"default/{id_}/{number:010d}":
                    yield f"{type_}_history: {document['_id']} is not its key"
                if id_ not in current:
                    yield f"{type_}/{id_} has history, but is not there"
                elif number != current[id_]["v"]:
                    numbers[id_].append(number)
                elif not _is_copy(document, current[id_]):
                    # An update that ended before it happened may leave a copy of what is still current, nothing else.
                    yield f"{type_}_history: {document['_id']} is not what is current"
            for id_, document in current.items():
                if sorted(numbers[id_]) != list(range(1, document["v"])):
                    yield f"{type_}/{id_} is at {document['v']}, its history is {sorted(numbers[id_])}"

    def order(self) -> Iterable[str]:
        """Versions follow each other in time, and know their number."""
        for (type_, id_, number), document in self.versions.items():
            before = self.versions.get((type_, id_, number - 1))
            if before and before["u"] >= document["u"]:
                yield f"{type_}/{id_}: version {number} is not later than the one before"
            if "r" in document and document["r"]["meta"]["versionId"] != str(number):
                yield f"{type_}/{id_}: version {number} calls itself {document['r']['meta']['versionId']}"

    def index(self) -> Iterable[str]:
        """What search looks at follows from the resource."""
        for type_ in TYPES:
            for document in self.current[type_]:
                if "r" in document and document["s"] != _as_stored(entries(document["r"])):
                    yield f"{type_}/{document['i']} has other search entries than its content"
                if "r" not in document and "s" in document:
                    yield f"{type_}/{document['i']} is deleted and has search entries"

    def acknowledged(self, ledger: Ledger) -> Iterable[str]:
        """Every version that a client was told of is there, and holds what the client sent."""
        for place, marker in ledger.acknowledged.items():
            document = self.versions.get(place)
            if document is None:
                yield f"{place} was acknowledged and is lost"
                continue
            holds = identifiers_of(document["r"])[MARKER] if "r" in document else DELETED
            if holds != marker:
                yield f"{place} was acknowledged as {marker} and holds {holds}"

    def contents(self, ledger: Ledger) -> Iterable[str]:
        """Every version equals what one request sent, no request made two, and none that was refused made one."""
        for place, document in self.versions.items():
            if "r" not in document:
                continue
            marker = identifiers_of(document["r"])[MARKER]
            expected = ledger.sent[marker] | {"id": place[1]}
            holds = {name: value for name, value in document["r"].items() if name != "meta"}
            if place[0] == "Observation":
                holds["subject"] = expected["subject"]
            if holds != expected:
                yield f"{place} is not what {marker} sent"
        yield from (f"{marker} was written {times} times" for marker, times in self.markers.items() if times > 1)
        yield from (f"{marker} was refused, yet written" for marker in ledger.refused if self.markers[marker])

    def transactions(self, ledger: Ledger) -> Iterable[str]:
        """Every transaction is there as a whole or not at all, and its references lead to what it created."""
        members: dict[str, list[tuple[str, str, int]]] = {}
        for place, document in self.versions.items():
            if "r" in document and (name := identifiers_of(document["r"]).get(TRANSACTION)):
                members.setdefault(name, []).append(place)
        for name, size in ledger.transactions.items():
            places = members.get(name, [])
            if len(places) not in (0, size):
                yield f"transaction {name} is half there: {len(places)} of {size}"
            if not places and name in ledger.committed:
                yield f"transaction {name} was acknowledged and is lost"
            ids = {f"{type_}/{id_}" for type_, id_, _ in places}
            for place in places:
                if place[0] == "Observation" and self.versions[place]["r"]["subject"]["reference"] not in ids:
                    yield f"{place} refers out of its transaction"

    def keys(self, ledger: Ledger) -> Iterable[str]:
        """For each condition of conditional creates there is one resource, the one that clients were told of."""
        holders: dict[str, list[str]] = {}
        for document in self.current["Patient"]:
            if "r" in document and (key := identifiers_of(document["r"]).get(KEY)):
                holders.setdefault(key, []).append(document["i"])
        yield from (f"{key} is held by {len(ids)} resources" for key, ids in holders.items() if len(ids) > 1)
        for key, id_ in ledger.keys.items():
            if holders.get(key) != [id_]:
                yield f"{key} was acknowledged as {id_}, and is held by {holders.get(key)}"


async def served(http: httpx.AsyncClient, stored: Stored, ledger: Ledger, chance: random.Random, sample: int) -> list[str]:
    """Look through the server's eyes: reading, the history and a search by identifier agree with MongoDB."""
    found = []
    chosen = [(type_, document) for type_ in TYPES for document in stored.current[type_]]
    for type_, document in chance.sample(chosen, min(sample, len(chosen))):
        name = f"{type_}/{document['i']}"
        answer = await http.get(name)
        if answer.status_code != (200 if "r" in document else 410):
            found.append(f"{name}: {answer.status_code}")
        bundle = (await http.get(f"{name}/_history", params={"_count": 1000})).json()
        etags = [int(entry["response"]["etag"][3:-1]) for entry in bundle["entry"]]
        if etags != list(range(document["v"], 0, -1)):
            found.append(f"{name}/_history shows {etags}, where the newest version is {document['v']}")
        for number in etags:
            marker = ledger.acknowledged.get((type_, document["i"], number), DELETED)
            if marker != DELETED:
                newest = number == document["v"]
                searched = (await http.get(type_, params={"identifier": f"{MARKER}|{marker}"})).json()
                if [entry["resource"]["id"] for entry in searched.get("entry", [])] != [document["i"]] * newest:
                    found.append(f"a search for version {number} of {name} found {searched['total']}")
    return found


async def guarded(http: httpx.AsyncClient, ledger: Ledger) -> list[str]:
    """Nothing that a fault has left behind is in the way of a conditional create, and none creates twice."""
    found = []
    for key in list(ledger.tried)[-20:]:
        marker = f"check-{len(ledger.sent)}"
        ledger.sent[marker] = patient(marker, (KEY, key))
        headers = {"If-None-Exist": f"identifier={KEY}|{key}", "Content-Type": "application/fhir+json"}
        answer = await http.post("Patient", json=ledger.sent[marker], headers=headers)
        if answer.status_code not in (200, 201):
            found.append(f"a conditional create under {key} answers {answer.status_code} {answer.text[:200]}")
            continue
        (type_, id_), number = located(answer.headers["Location"])
        if answer.status_code == 201:
            ledger.acknowledged[type_, id_, number] = marker
        if ledger.keys.setdefault(key, id_) != id_:
            found.append(f"{key} was {ledger.keys[key]} and is {id_}")
    return found


def _is_copy(superseded: Document, current: Document) -> bool:
    return all(superseded.get(name) == current.get(name) for name in ("t", "i", "v", "u", "m", "r", "d"))


def _as_stored(value: Any) -> Any:
    """Return index entries as MongoDB gives them back."""
    if isinstance(value, dict):
        return {name: _as_stored(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_stored(item) for item in value]
    return value
