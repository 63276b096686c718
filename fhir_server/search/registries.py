"""The search parameters of each tenant: those of the specification, and those of its SearchParameter resources.

https://hl7.org/fhir/R4/searchparameter.html

Every process looks for changes every two seconds. Resources that are written from then on have the entries of a new
parameter; `fill` gives them to the others, and only then can it be searched by.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymongo.errors import PyMongoError

from fhir_server.fhir.codec import encode
from fhir_server.fhir.outcome import FhirError
from fhir_server.search.custom import from_resource
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.registry import Registry, builtin
from fhir_server.store.database import Database, Document

REFRESH_SECONDS: Final = 2.0
FILLED: Final = "_search_parameters"
"""Collection of the parameters that are filled, by tenant, resource and definition."""
TYPE: Final = "SearchParameter"
_SETTLED = timedelta(seconds=10)
"""So long after a write another may become visible that is older."""
_MEANING = ("url", "code", "type", "base", "expression", "component", "target")


@dataclass(frozen=True, slots=True)
class _State:
    registry: Registry
    newest: tuple[Any, ...] = ()
    settled: bool = False
    checked: float = float("-inf")


@dataclass(slots=True)
class Registries:
    """The registries of the tenants of a database."""

    database: Database
    clock: Callable[[], float] = time.monotonic
    _states: dict[str, _State] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def of(self, tenant: str) -> Registry:
        """Return the registry of a tenant, at most two seconds old."""
        state = self._states.get(tenant)
        if state is not None and self.clock() - state.checked < REFRESH_SECONDS:
            return state.registry
        lock = self._locks.setdefault(tenant, asyncio.Lock())
        if state is not None and lock.locked():
            return state.registry
        async with lock:
            try:
                return (await self._refreshed(tenant)).registry
            except PyMongoError:
                if state is None:
                    raise
                self._states[tenant] = replace(state, checked=self.clock())
                return state.registry

    def at_hand(self, tenant: str) -> Registry | None:
        """Return the registry of a tenant where nothing has to be asked for it."""
        state = self._states.get(tenant)
        return state.registry if state is not None and self.clock() - state.checked < REFRESH_SECONDS else None

    def forget(self, tenant: str) -> None:
        """Look for changes at the next request."""
        state = self._states.get(tenant)
        if state is not None:
            self._states[tenant] = replace(state, checked=float("-inf"))

    async def _refreshed(self, tenant: str) -> _State:
        state, now = self._states.get(tenant) or _State(region_of(self.database, tenant)), self.clock()
        if now - state.checked >= REFRESH_SECONDS:
            newest = await self._newest(tenant)
            if not state.settled or newest != state.newest:
                state = await self._read(tenant, state, newest)
            state = self._states[tenant] = replace(state, checked=now)
        return state

    async def _newest(self, tenant: str) -> tuple[Any, ...]:
        """Return what changes when a SearchParameter is written, or one is filled."""
        last = await self.database.collection(TYPE).find_one({"t": tenant}, {"u": 1}, sort=[("u", -1)])
        filled = await self.database.collection(FILLED).count_documents({"t": tenant})
        return (last["u"] if last else None, filled)

    async def _read(self, tenant: str, state: _State, newest: tuple[Any, ...]) -> _State:
        read = await custom_parameters(self.database, tenant)
        parameters = [parameter for found in read.values() for parameter in found]
        settled = newest[0] is None or datetime.now(UTC) - newest[0] > _SETTLED
        same = {_identity(one) for one in parameters} == {_identity(one) for one in state.registry.custom()}
        registry = state.registry if same else region_of(self.database, tenant).with_custom(parameters)
        return replace(state, registry=registry, newest=newest, settled=settled)


def region_of(database: Database, tenant: str) -> Registry:
    """Return the search parameters of the specification for the region of a tenant's phone numbers."""
    return builtin(database.settings.of(tenant).phone_region)


async def custom_parameters(database: Database, tenant: str) -> dict[str, tuple[SearchParameter, ...]]:
    """Return the custom parameters of a tenant by the key of their definition; those that are not filled are marked."""
    found = database.collection(TYPE).find({"t": tenant, "d": None, "s.status": "active|"}, {"r": 1, "i": 1, "t": 1})
    documents = await found.to_list()
    filled = {document["_id"] async for document in database.collection(FILLED).find({"t": tenant}, {"_id": 1})}
    others = [document["r"] for document in documents]
    read = {key: _of(document, others, filled=key in filled) for document in documents if (key := key_of(document))}
    return {key: parameters for key, parameters in read.items() if parameters}


def _of(document: Document, others: Iterable[Mapping[str, Any]], *, filled: bool) -> tuple[SearchParameter, ...]:
    try:
        return from_resource(document["r"], filled=filled, others=others)
    except FhirError:
        return ()  # It was stored before a rule of today.


def key_of(document: Document) -> str:
    """Return the key of what a stored SearchParameter means now: another one after each change of its meaning."""
    meaning = {name: document["r"].get(name) for name in _MEANING}
    return f"{document['t']}/{document['i']}/{hashlib.sha256(encode(meaning)).hexdigest()[:16]}"


def _identity(parameter: SearchParameter) -> tuple[Any, ...]:
    parts = tuple((part.parameter.url, part.parameter.expression) for part in parameter.components)
    return (parameter.resource_type, parameter.code, parameter.type, parameter.url, parameter.expression, parameter.filled, parts)
