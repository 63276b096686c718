"""What is known of each merge, and of each undoing of one, so that it ends whatever happens to the process.

`_merges` holds one document for each, `_merge_items` what it changed, in parts:

    {_id: "{tenant}/{id}", t, i, kind: "merge"|"undo", state, source, target, due, done, total, …}
    {_id: "{tenant}/{id}/{part}", t, merge: id, items: [[type, id, version that it made], …]}

A merge is `running` while it moves references batch by batch, `settling` while it looks again for what was written in the
moment of the merge, then `done`, or `undone` by another document. Whoever works on it moves `due` into the future first:
another process goes on when that time has come without an end.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from weakref import WeakSet

from pymongo import IndexModel
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError

from fhir_server.exchange import Resource
from fhir_server.store.cipher import sealed
from fhir_server.store.database import Database, Document
from fhir_server.store.failures import DUPLICATE_KEY

MERGES: Final = "_merges"
ITEMS: Final = "_merge_items"
LEASE: Final = timedelta(seconds=15)
"""So long nobody else takes up what a process works on, after each batch anew."""
PART: Final = 500
"""Items of one document."""
State = Literal["running", "settling", "done", "undone"]
Item = tuple[str, str, int]
"""Type and id of a resource, and the number of the version that was made."""
_UNFINISHED: Final = ["running", "settling"]
_INDEXES: Final = (
    IndexModel([("due", 1)], name="due", partialFilterExpression={"due": {"$exists": True}}),
    IndexModel([("t", 1), ("source", 1)], name="source"),
    IndexModel([("t", 1), ("target", 1)], name="target"),
)
_PLAIN: Final = {"r": 0, "k": 0}
"""All but what may be encrypted."""
_prepared: "WeakSet[Database]" = WeakSet()


class OvertakenError(Exception):
    """Somebody else has got on with the merge, or has taken it back; whoever works on it stops."""


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge of `source` into `target`, ids of patients, or its undoing."""

    tenant: str
    id: str
    kind: Literal["merge", "undo"]
    source: str
    target: str
    base_url: str
    """What absolute references to this server begin with."""
    input: Resource
    """The Parameters that were sent, until they stand in a Provenance; then empty."""
    who: Mapping[str, Any]
    """The Reference to whoever asked for it."""
    began: datetime
    state: State = "running"
    delete_source: bool = False
    source_version: int = 0
    """The version of the source that this made."""
    target_version: int = 0
    task: str = ""
    """The id of the Task that shows how far it is."""
    total: int = 0
    """About how many resources are to be changed."""
    done: int = 0
    parts: int = 0
    """How many parts of the journal there are; of an undoing, how many are still to be undone."""
    sweeps: int = 0
    """How often it has been looked for late references."""
    step: int = 0
    """How often it has been saved, so that of two that work on it only one gets on."""
    of: str = ""
    """The id of the merge that is undone."""
    left: Sequence[Mapping[str, str]] = field(default=())
    """What could not be done, as `reference`, `path` and `text`, for a person."""

    @property
    def key(self) -> str:
        """The `_id` of its document."""
        return f"{self.tenant}/{self.id}"

    def document(self, due: datetime | None) -> Document:
        """Return its document; `due` is when somebody has to work on it, None: never."""
        found = asdict(self)
        found = {"_id": self.key, "t": found.pop("tenant"), "i": found.pop("id"), "r": found.pop("input"), **found}
        found["left"] = list(self.left)
        return found | {"due": due} if due else found

    @staticmethod
    def from_document(document: Document) -> "Merge":
        """Read its document."""
        values = {name: value for name, value in document.items() if name not in ("_id", "t", "i", "r", "k", "due")}
        return Merge(tenant=document["t"], id=document["i"], input=document.get("r", {}), **values)


class Merges:
    """The merges of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._all = database.collection(MERGES)
        self._items = database.collection(ITEMS)

    async def prepare(self) -> None:
        """Make the collections, before a transaction that writes them."""
        if self._database not in _prepared:
            await self._all.create_indexes(list(_INDEXES))
            await self._items.create_index([("t", 1), ("merge", 1)], name="merge")
            _prepared.add(self._database)

    async def begin(self, merge: Merge, due: datetime | None, session: AsyncClientSession) -> None:
        """Write a new merge, within a transaction."""
        await self._all.insert_one(self._sealed(merge, due), session=session)

    async def save(self, merge: Merge, due: datetime | None, session: AsyncClientSession | None = None) -> Merge:
        """Write how far a merge is, and return it as it is then.

        Raises:
            OvertakenError: somebody else has got on with it, or has taken it back.
        """
        saved = replace(merge, step=merge.step + 1)
        result = await self._all.replace_one({"_id": merge.key, "step": merge.step}, self._sealed(saved, due), session=session)
        if not result.matched_count:
            raise OvertakenError(merge.key)
        return saved

    def _sealed(self, merge: Merge, due: datetime | None) -> Document:
        return sealed(self._database.keyring, merge.tenant, merge.document(due), None)

    async def get(self, tenant: str, id_: str, session: AsyncClientSession | None = None) -> Merge | None:
        """Return a merge as it is now."""
        found = await self._all.find_one({"_id": f"{tenant}/{id_}"}, session=session)
        return Merge.from_document(found) if found else None

    async def running(self, tenant: str, patients: Iterable[str], session: AsyncClientSession | None = None) -> Merge | None:
        """Return a merge that still moves references of one of the patients, without its input."""
        names = sorted(patients)
        either = {"$or": [{"source": {"$in": names}}, {"target": {"$in": names}}]}
        found = await self._all.find_one({"t": tenant, "state": "running", **either}, _PLAIN, session=session)
        return Merge.from_document(found) if found else None

    async def claim(self, now: datetime, *, tenant: str = "") -> tuple[str, str] | None:
        """Return tenant and id of a merge that somebody has to work on now: whoever asked, alone, until the lease is over.

        It can be read where the keys of the tenant are known (`Keyring.ready`).
        """
        condition: Document = {"due": {"$lte": now}} | ({"t": tenant} if tenant else {})
        found: Document | None = await self._all.find_one_and_update(
            condition, {"$set": {"due": now + LEASE}}, {"t": 1, "i": 1}, sort=[("due", 1)]
        )
        return (found["t"], found["i"]) if found else None

    async def unfinished(self, tenant: str = "") -> list[Merge]:
        """Return the merges that are not at their end, without their input."""
        condition: Document = {"state": {"$in": _UNFINISHED}} | ({"t": tenant} if tenant else {})
        return [Merge.from_document(document) async for document in self._all.find(condition, _PLAIN)]

    async def note(self, merge: Merge, items: Sequence[Item], session: AsyncClientSession) -> Merge:
        """Add to the journal what was changed, within a transaction; return the merge with as many more parts.

        Raises:
            OvertakenError: somebody else has got on with it.
        """
        parts = [list(items[at : at + PART]) for at in range(0, len(items), PART)]
        documents = [
            {"_id": f"{merge.key}/{merge.parts + place:08d}", "t": merge.tenant, "merge": merge.id, "items": part}
            for place, part in enumerate(parts)
        ]
        try:
            if documents:
                await self._items.insert_many(documents, session=session)
        except BulkWriteError as error:
            if any(found["code"] == DUPLICATE_KEY for found in error.details["writeErrors"]):
                raise OvertakenError(merge.key) from error
            raise
        return replace(merge, parts=merge.parts + len(parts), done=merge.done + len(items))

    async def part(self, merge: Merge, number: int, session: AsyncClientSession | None = None) -> list[Item]:
        """Return one part of the journal of a merge."""
        found = await self._items.find_one({"_id": f"{merge.key}/{number:08d}"}, session=session)
        return [(item[0], item[1], item[2]) for item in found["items"]] if found else []

    async def items(self, merge: Merge) -> AsyncIterator[Item]:
        """Yield all that a merge changed."""
        for number in range(merge.parts):
            for item in await self.part(merge, number):
                yield item
