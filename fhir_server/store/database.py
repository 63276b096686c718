"""The database that all repositories share: connection, collections and their indexes, secrets."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from pymongo import ASCENDING, AsyncMongoClient, IndexModel, ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import AutoReconnect, ServerSelectionTimeoutError
from pymongo.monitoring import ConnectionPoolListener
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from fhir_server.config import Settings
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.protected import systems
from fhir_server.store.batcher import Batcher
from fhir_server.store.cipher import Ciphers, codec_options
from fhir_server.store.client import Client
from fhir_server.store.companions import Accompanist, Accompany, Companions, alone
from fhir_server.store.counts import Count, Counts
from fhir_server.store.documents import CODEC_OPTIONS
from fhir_server.store.keys import KEYS, Keyring
from fhir_server.store.master import key_service
from fhir_server.store.search import Search
from fhir_server.store.searches import Searches
from fhir_server.store.stored import EncodedCache
from fhir_server.store.together import Inserts, Together

Document = dict[str, Any]
IndexModels = Callable[[str], Sequence[IndexModel]]

HISTORY = "_history"
GUARDS = "_guards"
CLAIMS = "_claims"
SECRETS = "_secrets"
GUARD_SECONDS = 3600
HEARTBEAT_MS = 2000
OLD_INDEX_SECONDS = 30.0

CHANGED = IndexModel([("t", ASCENDING), ("u", ASCENDING), ("i", ASCENDING)], name="changed")
DELETED = IndexModel([("t", ASCENDING)], name="deleted", partialFilterExpression={"d": True})
HISTORY_CHANGED = IndexModel([("t", ASCENDING), ("u", ASCENDING), ("i", ASCENDING), ("v", ASCENDING)], name="changed")


def connect(uri: str, settings: Settings, *, event_listeners: Sequence[ConnectionPoolListener] = ()) -> Client:
    """Return a client that gives up on an absent MongoDB after `mongodb_timeout_ms`."""
    wait = settings.mongodb_timeout_ms
    return Client(
        uri,
        appname="fhir-server",
        event_listeners=event_listeners,
        maxPoolSize=settings.mongodb_pool_size,
        serverSelectionTimeoutMS=wait,
        connectTimeoutMS=wait,
        waitQueueTimeoutMS=wait,
        # What hangs is noticed after this and the time to connect.
        heartbeatFrequencyMS=max(500, min(HEARTBEAT_MS, wait)),
        socketTimeoutMS=settings.search_timeout_ms + wait,
        retryWrites=True,
        retryReads=True,
        lane_seconds=(settings.search_timeout_ms + wait) / 1000,
    )


class Database:
    """Collections by resource type, made with their indexes when a type is first written.

    Writes are acknowledged by a majority and its journal, reads see what a majority has.
    """

    def __init__(
        self,
        database: AsyncDatabase[Document],
        settings: Settings,
        index_models: IndexModels,
        companions: Companions | None = None,
    ) -> None:
        self.settings = settings
        ciphers: Ciphers = {}
        self.codec_options = codec_options(ciphers)
        self.mongodb = database.with_options(
            codec_options=self.codec_options,
            read_concern=ReadConcern("majority"),
            write_concern=WriteConcern(w="majority", j=True, wtimeout=settings.mongodb_timeout_ms),
        )
        self._index_models = index_models
        self._collections: dict[str, AsyncCollection[Document]] = {}
        self._prepared: set[str] = set()
        self._preparers: dict[str, Batcher[str, None]] = {}
        self._readers: dict[str, Batcher[str, Document | None]] = {}
        self._secrets: dict[str, bytes] = {}
        client = database.client
        self._searches = Searches(client.lanes, database.name, self.codec_options) if isinstance(client, Client) else None
        self._counts = Counts(client.lanes, database.name) if isinstance(client, Client) else None
        concern = self.mongodb.write_concern.document
        self._together = Together(client.lanes, database.name, concern) if isinstance(client, Client) else None
        self._gone: set[tuple[str, str]] = set()
        self._present: dict[tuple[str, str], float] = {}
        self.encoded = EncodedCache(settings.json_cache_mb * 2**20)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.keyring = Keyring(self.collection(KEYS), systems(settings.protected_identifiers), ciphers, key_service(settings))
        """The keys of protected identifiers; `ready` before documents of a tenant are decoded."""
        self.accompany: Accompany = alone
        """Makes what has to be there before resources of a tenant are written, given with their index entries."""
        if companions is not None:
            self.accompany_by(companions)

    def accompany_by(self, companions: Companions) -> None:
        """From now on make these, unless others are made already."""
        if self.accompany is alone:
            collection, lists = self.collection(companions.collection), self.collection(companions.lists)
            self.accompany = Accompanist(companions, collection, lists, self.patience)

    @property
    def patience(self) -> float:
        """How many seconds a request waits for a round trip that it shares with others."""
        return 2 * self.settings.mongodb_timeout_ms / 1000

    @property
    def client(self) -> AsyncMongoClient[Document]:
        """The connection that sessions are started on."""
        return self.mongodb.client

    def collection(self, name: str) -> AsyncCollection[Document]:
        """Return a collection; a resource type's is named by it."""
        found = self._collections.get(name)
        if found is None:
            found = self._collections[name] = self.mongodb[name]
        return found

    async def prepare(self, type_: str) -> None:
        """Make the collections of a resource type and their indexes, unless this process has done so.

        Whoever needs them at the same time waits for one attempt: MongoDB would let all of them build everything, and
        throw away all but one.
        """
        if type_ in self._prepared:
            return
        preparer = self._preparers.get(type_)
        if preparer is None:
            patience = self.patience + self.settings.search_timeout_ms / 1000
            preparer = self._preparers[type_] = Batcher(self._prepare, parallel=1, limit=1000, patience=patience)
        await preparer(type_)

    async def _prepare(self, types: list[str]) -> list[None]:
        type_ = types[0]
        if type_ not in self._prepared:
            try:
                await self._make_indexes(type_)
            except ServerSelectionTimeoutError:
                raise
            except AutoReconnect:
                # The connection was given up while MongoDB was busy; what it has made by then does not hurt.
                await self._make_indexes(type_)
            self._prepared.add(type_)
        return [None] * len(types)

    async def _make_indexes(self, type_: str) -> None:
        await self.collection(type_).create_indexes([CHANGED, DELETED, *self._index_models(type_)])
        await self.collection(type_ + HISTORY).create_indexes([HISTORY_CHANGED])

    async def lacks(self, type_: str, index: str) -> bool:
        """Tell whether a collection does not have an index that earlier versions made; it is asked for again until it is gone."""
        if (type_, index) in self._gone:
            return True
        if time.monotonic() < self._present.get((type_, index), 0.0):
            return False
        if index in await self.collection(type_).index_information():
            self._present[type_, index] = time.monotonic() + OLD_INDEX_SECONDS
            return False
        self._gone.add((type_, index))
        return True

    async def prepare_guards(self) -> None:
        """Make the collection of guards, whose documents MongoDB removes after an hour."""
        if GUARDS not in self._prepared:
            await self.collection(GUARDS).create_index("u", expireAfterSeconds=GUARD_SECONDS)
            self._prepared.add(GUARDS)

    async def prepare_claims(self) -> None:
        """Make the collection of claims."""
        if CLAIMS not in self._prepared:
            await self.collection(CLAIMS).create_index([("t", ASCENDING)])
            self._prepared.add(CLAIMS)

    async def existing_types(self) -> frozenset[str]:
        """Return the resource types that have ever been written."""
        return RESOURCE_TYPES.intersection(await self.mongodb.list_collection_names())

    async def find(self, search: Search, session: AsyncClientSession | None = None) -> list[Document]:
        """Return what a search finds, by the shortest way.

        Raises:
            ExecutionTimeout: MongoDB ended it after its `max_time_ms`.
        """
        if session is None and self._searches is not None:
            found = await self._searches.find(search)
            if found is not None:
                return found
        cursor = self.collection(search.collection).find(
            search.filter, search.projection, limit=search.limit, session=session, max_time_ms=search.max_time_ms
        )
        if search.limit:
            cursor = cursor.batch_size(search.limit)
        if search.index:
            cursor = cursor.hint(list(search.index.items()))
        return await (cursor.sort(list(search.sort)) if search.sort else cursor).to_list()

    async def count(self, name: str, query: Document, *, limit: int, max_time_ms: int) -> int:
        """Return how many documents match, at most `limit` (0: all), by the shortest way; outside of transactions only.

        Raises:
            ExecutionTimeout: MongoDB ended it after `max_time_ms`.
        """
        wanted = Count(name, query, limit, max_time_ms)
        found = await self._counts.count(wanted) if self._counts is not None else None
        return int((await self.mongodb.command(wanted.command()))["n"]) if found is None else found

    async def find_current(self, type_: str, key: str) -> Document | None:
        """Return a current version's document; concurrent callers share a round trip."""
        reader = self._readers.get(type_)
        if reader is None:
            reader = self._readers[type_] = Batcher(self._finder(type_), patience=self.patience)
        return await reader(key)

    async def insert(self, name: str, documents: Sequence[Mapping[str, Any]]) -> bool:
        """Insert documents by the shortest way; False: it is not known whether all are there, so insert them as usual."""
        client = self.mongodb.client
        if not isinstance(client, Client):
            return False
        concern = self.mongodb.write_concern.document
        return await client.lanes.insert(self.mongodb.name, name, documents, concern, CODEC_OPTIONS)

    async def insert_together(self, inserts: Inserts) -> bool:
        """Insert documents into several collections, all or none, by the shortest way; False: none, so insert them as usual.

        Raises:
            PyMongoError: MongoDB is away, and whether they are there is not known.
        """
        if self._together is None:
            return False
        return await self._together.insert(inserts, time.monotonic() + self.settings.mongodb_timeout_ms / 1000)

    async def update(self, name: str, updates: list[Document], write_concern: Document | None = None) -> bool:
        """Update documents (`q` and `u` of each) by the shortest way; False: it is not known whether all are updated."""
        client = self.mongodb.client
        if not isinstance(client, Client):
            return False
        concern = write_concern or self.mongodb.write_concern.document
        return await client.lanes.update(self.mongodb.name, name, updates, concern, CODEC_OPTIONS)

    def _finder(self, type_: str) -> Callable[[list[str]], Awaitable[list[Document | None]]]:
        async def find(keys: list[str]) -> list[Document | None]:
            condition = {"_id": keys[0] if len(keys) == 1 else {"$in": list(set(keys))}}
            documents = await self.find(Search(type_, condition, {"s": 0}, (), len(keys), self.settings.search_timeout_ms))
            found = {document["_id"]: document for document in documents}
            return [found.get(key) for key in keys]

        return find

    def lock(self, key: str) -> asyncio.Lock:
        """Return the lock of this process for a key, so that those who compete for one resource take turns."""
        found = self._locks.get(key)
        if found is None:
            found = self._locks[key] = asyncio.Lock()
        return found

    async def secret(self, name: str) -> bytes:
        """Return 32 random bytes that all processes share and that are made at the first call."""
        if name not in self._secrets:
            made: Document | None = await self.collection(SECRETS).find_one_and_update(
                {"_id": name},
                {"$setOnInsert": {"key": secrets.token_bytes(32)}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
            if made is None:
                raise AssertionError
            self._secrets[name] = bytes(made["key"])
        return self._secrets[name]
