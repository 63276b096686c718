"""New keys for a tenant's protected identifiers, while the server runs.

docs/decisions/0032-protected-identifiers.md

A generation of keys is `new` until all processes know it, then `active`; the one before is `old` until nothing is encrypted
or indexed by it any more, then `retired`, and kept for backups. Each step is written down before the next one, so that
whoever is interrupted goes on there.
"""

from asyncio import sleep
from collections.abc import Callable, Mapping
from typing import Any, Final

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne

from fhir_server.exchange import Resource
from fhir_server.fhir.protected import find
from fhir_server.search.index import entries
from fhir_server.search.registries import custom_parameters, region_of
from fhir_server.search.registry import Registry
from fhir_server.search.reindex import Step
from fhir_server.store.cipher import sealed
from fhir_server.store.database import HISTORY, Database, Document
from fhir_server.store.documents import CODEC_OPTIONS
from fhir_server.store.keys import KEYS, REFRESH_SECONDS, State, locked

BATCH: Final = 200
PATIENCE: Final = 2 * REFRESH_SECONDS
Progress = Callable[[Step], None]


def _silent(_: Step) -> None:
    """Show nothing."""


async def rotate(
    database: Database, tenant: str, base_url: str, *, patience: float = PATIENCE, progress: Progress = _silent
) -> int:
    """Give a tenant new keys and encrypt and index by them all that it has; return how many versions were rewritten.

    Where an earlier run was interrupted, that one is ended. It waits for `patience` seconds twice, so that all processes
    know what is written with.

    Raises:
        FhirError: 503, there is no master key, or not the right one.
    """
    keyring = database.keyring
    ring = await keyring.ready(tenant)
    states: dict[int, State] = {one["n"]: one["a"] for one in await keyring.generations(tenant)}
    if len(ring.generations) < len(states):
        raise locked()
    newest = max(states, default=0)
    if "new" not in states.values() and "old" not in states.values():
        newest += 1
        await keyring.add(tenant, newest, "new")
        states[newest] = "new"
    if states[newest] == "new":
        await sleep(patience)
        await _set(database, tenant, newest, "active")
    before = [number for number, state in states.items() if number < newest and state != "retired"]
    for number in before:
        await _set(database, tenant, number, "old")
    keyring.forget(tenant)
    await sleep(patience)
    total = 0
    while changed := await apply(database, tenant, base_url, progress=progress, below=newest):
        total += changed
    for number in before:
        await _set(database, tenant, number, "retired")
    keyring.forget(tenant)
    return total


async def _set(database: Database, tenant: str, number: int, state: State) -> None:
    await database.collection(KEYS).update_one({"_id": f"{tenant}/{number:06}"}, {"$set": {"a": state}})


async def apply(database: Database, tenant: str, base_url: str, *, progress: Progress = _silent, below: int | None = None) -> int:
    """Encrypt what a tenant has in clear although it is protected by now; return how many versions were rewritten.

    With `below`, only what is encrypted with the keys of an earlier generation than this.
    """
    await database.keyring.ready(tenant)
    custom = await custom_parameters(database, tenant)
    registry = region_of(database, tenant).with_custom(one for parameters in custom.values() for one in parameters)
    work = _Rewriting(database, tenant, registry, base_url, below)
    changed = 0
    for type_ in sorted(await database.existing_types()):
        for name in (type_, type_ + HISTORY):
            changed += await work.rewrite(name, progress)
    return changed


class _Rewriting:
    """Rewrites the documents of a tenant."""

    def __init__(self, database: Database, tenant: str, registry: Registry, base_url: str, below: int | None) -> None:
        self._database = database
        self._tenant = tenant
        self._registry = registry
        self._base_url = base_url
        self._below = below

    async def rewrite(self, name: str, progress: Progress) -> int:
        """Rewrite what is to be rewritten of a collection, in the order of its keys."""
        options = self._database.codec_options.with_options(document_class=RawBSONDocument)
        raw = self._database.collection(name).with_options(codec_options=options)
        earlier: Document = {} if self._below is None else {"k": {"$lt": self._below}}
        after, seen, changed = f"{self._tenant}/", 0, 0
        while True:
            span = {"_id": {"$gt": after, "$lt": f"{self._tenant}0"}}
            documents: list[Any] = await raw.find({**span, "t": self._tenant, **earlier}).sort("_id", 1).limit(BATCH).to_list()
            if not documents:
                return changed
            await self._database.keyring.ready(self._tenant)
            updates = [update for document in documents if (update := self._update(bytes(document.raw)))]
            if updates:
                result = await self._database.collection(name).bulk_write(updates, ordered=False)
                changed += result.modified_count
            after, seen = documents[-1]["_id"], seen + len(documents)
            progress(Step(name, seen, changed, seen))

    def _update(self, data: bytes) -> UpdateOne | None:
        keyring = self._database.keyring
        stored = bson.decode(data, CODEC_OPTIONS)
        number = stored.get("k")
        if not keyring.systems.mentioned(data) and number is None:
            return None
        if self._below is None and not find(stored.get("r", {}), keyring.systems):
            return None  # Nothing of it is in clear.
        document = bson.decode(data, self._database.codec_options)
        document.pop("k", None)
        found = sealed(keyring, self._tenant, document, self._index)
        same = {"_id": document["_id"], "v": document["v"], "w": document.get("w"), "k": number}
        if "k" in found:
            return UpdateOne(same, {"$set": {name: found[name] for name in ("r", "s", "k") if name in found}})
        resource = document["r"]
        clear = {"r": resource} | ({"s": self._index(resource)} if "s" in document else {})
        return UpdateOne(same, {"$set": clear, "$unset": {"k": ""}})

    def _index(self, resource: Resource) -> Mapping[str, Any]:
        return entries(resource, self._registry, self._base_url)
