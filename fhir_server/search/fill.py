"""Gives resources the entries of custom search parameters that are new, by reindexing, and says that they are filled.

https://hl7.org/fhir/R4/searchparameter.html
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from fhir_server.exchange import Resource
from fhir_server.fhir.codec import encode
from fhir_server.search.index import entries
from fhir_server.search.indexes import MOST, custom_index_models
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.registries import FILLED, REFRESH_SECONDS, TYPE, custom_parameters, region_of
from fhir_server.search.reindex import PROGRESS, Step, reindex
from fhir_server.store.cipher import blind
from fhir_server.store.database import Database

_RUN: Final = "(run)"
"""In the collection of progress: which definitions an interrupted run was filling."""


async def fill(
    database: Database,
    base_url: str,
    *,
    types: Iterable[str] = (),
    restart: bool = False,
    progress: Callable[[Step], None] = lambda _: None,
    patience: float = 2 * REFRESH_SECONDS,
) -> int:
    """Reindex these types (none named: all) for all tenants, and mark the parameters that are filled thereby.

    Where there are new parameters it waits for `patience` seconds first, so that all processes know them: what they write
    meanwhile has the entries. An interrupted run goes on, unless definitions have changed since. Returns how many
    resources changed.
    """
    found = await _read(database)
    if _unfilled(found):
        await asyncio.sleep(patience)
        found = await _read(database)
    registries = {
        tenant: region_of(database, tenant).with_custom(one for parameters in read.values() for one in parameters)
        for tenant, read in found.items()
    }
    existing = await database.existing_types()
    reindexed = existing.intersection(types) if types else existing
    for registry in registries.values():
        await _make_indexes(database, (one for one in registry.custom() if one.resource_type in reindexed))
    new = _unfilled(found)
    restart = restart or await _has_changed(database, sorted(new))

    def computed(tenant: str, resource: Resource) -> Mapping[str, Any]:
        if database.keyring.systems.mentioned(encode(resource)):
            resource = blind(database.keyring, tenant, resource)
        return entries(resource, registries.get(tenant) or region_of(database, tenant), base_url)

    changed = await reindex(database, computed, types=types, restart=restart, progress=progress)
    for key, (tenant, bases) in new.items():
        if not bases & (existing - reindexed):
            await database.collection(FILLED).update_one({"_id": key}, {"$set": {"t": tenant}}, upsert=True)
    await database.collection(PROGRESS).delete_one({"_id": _RUN})
    return changed


async def _read(database: Database) -> dict[str, dict[str, tuple[SearchParameter, ...]]]:
    """Return the custom parameters of all tenants, by tenant and key."""
    tenants = await database.collection(TYPE).distinct("t", {"s.status": "active|"})
    return {tenant: await custom_parameters(database, tenant) for tenant in tenants}


def _unfilled(found: Mapping[str, Mapping[str, tuple[SearchParameter, ...]]]) -> dict[str, tuple[str, set[str]]]:
    """Return tenant and resource types of the definitions that are not filled, by key."""
    return {
        key: (tenant, {one.resource_type for one in parameters})
        for tenant, read in found.items()
        for key, parameters in read.items()
        if not parameters[0].filled
    }


async def _make_indexes(database: Database, parameters: Iterable[SearchParameter]) -> None:
    """Make the indexes of custom parameters, as long as MongoDB allows more; without one a parameter is slow, not wrong."""
    for parameter in parameters:
        await database.prepare(parameter.resource_type)
        collection = database.collection(parameter.resource_type)
        present = await collection.index_information()
        for model in custom_index_models(parameter):
            if model.document["name"] not in present and len(present) < MOST + 4:
                await collection.create_indexes([model])


async def _has_changed(database: Database, keys: list[str]) -> bool:
    """Tell whether an interrupted run was filling other definitions, and remember those of this one."""
    progress = database.collection(PROGRESS)
    before = await progress.find_one_and_update({"_id": _RUN}, {"$set": {"keys": keys}}, upsert=True)
    return before is not None and before.get("keys") != keys
