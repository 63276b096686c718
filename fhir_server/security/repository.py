"""The resources of a tenant that a principal may see and change.

docs/decisions/0020-one-boundary.md

What may not be seen is as if it were not there. A resource is seen while its current version is (of a deleted one: the version
before); of a resource that is seen, each older version is judged by its own content.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from pymongo.asynchronous.client_session import AsyncClientSession

from fhir_server.fhir.outcome import FhirError, forbidden
from fhir_server.search.sort import Filter
from fhir_server.security.permissions import Permissions
from fhir_server.store.commit import Committer
from fhir_server.store.database import Database, Document
from fhir_server.store.repository import Repository
from fhir_server.store.search import Search
from fhir_server.store.versions import Version, current_key, history_key
from fhir_server.store.writes import Unit, Write

READING = "r"
CHANGING = "rud"
VERBS: Final = {"c": "create", "r": "read", "u": "change", "d": "delete", "s": "search"}
Reference = tuple[str, str]


class GuardedRepository(Repository):
    """Shows what one of the `letters` of `cruds` is allowed for."""

    def __init__(
        self,
        database: Database,
        committer: Committer,
        tenant: str,
        access: Permissions,
        *,
        letters: str = READING,
        session: AsyncClientSession | None = None,
    ) -> None:
        super().__init__(database, committer, tenant, session)
        self.access = access
        self.letters = letters

    @property
    def audience(self) -> str:
        """Whom page cursors are made for."""
        return self.access.key

    def within(self, session: AsyncClientSession) -> Repository:
        """Return the same view within a transaction."""
        return GuardedRepository(self.database, self._committer, self.tenant, self.access, letters=self.letters, session=session)

    def showing(self, letters: str) -> "GuardedRepository":
        """Return the view of what one of these letters is allowed for."""
        if letters == self.letters:
            return self
        found = GuardedRepository(self.database, self._committer, self.tenant, self.access, letters=letters, session=self.session)
        found.written = self.written
        return found

    async def existing_types(self) -> frozenset[str]:
        """Return those types of which something may be seen, as far as they have ever been written."""
        existing = await super().existing_types()
        return frozenset(type_ for type_ in existing if self.access.may(type_, "s") or self.access.may(type_, "r"))

    async def current(self, type_: str, id_: str) -> Version | None:
        """Return the current version; None also where it may not be seen."""
        if not self.access.is_confined(type_, self.letters):
            return await super().current(type_, id_)
        if type_ != "Binary":
            filter_ = {"_id": current_key(self.tenant, id_), "$or": self._ways(type_, self.letters)}
            search = Search(type_, filter_, {"s": 0}, (("_id", 1),), 1, self.database.settings.search_timeout_ms)
            documents = await self.database.find(search, self.session)
            if documents:
                return Version.from_document(type_, documents[0])
        version = await super().current(type_, id_)
        return version if version is not None and await self._shows(version, self.letters) else None

    async def currents(self, references: Iterable[Reference]) -> list[Version]:
        """Return the current versions that exist and may be seen."""
        return await self._shown(await super().currents(references), self.letters)

    async def version(self, type_: str, id_: str, number: int) -> Version | None:
        """Return one version; None also where it, or the current one, may not be seen."""
        version = await super().version(type_, id_, number)
        if version is None:
            return None
        shown = await self.visible([version], self.letters)
        return version if shown else None

    async def visible(self, versions: Sequence[Version], letters: str) -> list[Version]:
        """Return those versions, whose current versions may be seen, that may be seen themselves."""
        if not any(self.access.is_confined(version.type, letters) for version in versions):
            return list(versions)
        references = {(version.type, version.id) for version in versions}
        current = await self._shown(await super().currents(references), letters)
        numbers = {(version.type, version.id): version.number for version in current}
        found = []
        for version in versions:
            number = numbers.get((version.type, version.id))
            if number is not None and (number == version.number or await self._shows_content(version, letters)):
                found.append(version)
        return found

    async def commit(self, unit: Unit) -> None:
        """Make a unit of work durable, after judging each write: what it replaces and what it leaves.

        Raises:
            FhirError: 403, one of them is not allowed; nothing is written.
        """
        for write in unit.writes:
            await self._judge(write)
        await super().commit(unit)

    async def _judge(self, write: Write) -> None:
        version, previous = write.version, write.previous
        if version.resource is None:
            await self._demand("d", previous)
            return
        if previous is None or previous.deleted:
            if previous is None and version.method == "PUT" and self.access.is_confined(version.type, CHANGING):
                # Whether an id is taken by something that may not be seen must not show.
                raise forbidden(f"You may see only some {version.type} resources, so you can not choose ids; create by POST.")
            letter = "c"
        else:
            letter = "u"
            await self._demand(letter, previous)
            if version.method == "PATCH":
                await self._demand("r", previous)
        if not self.access.admits(version.type, letter, version.id, version.resource, write.index):
            raise refused(version.type, letter, "with this content")

    async def _demand(self, letter: str, version: Version | None) -> None:
        if version is not None and not await self._shows(version, letter):
            raise refused(version.type, letter, "as it is now")

    async def _shown(self, current: Sequence[Version], letters: str) -> list[Version]:
        """Return those current versions that may be seen."""
        asked = [
            one for one in current if self.access.is_confined(one.type, letters) and not one.deleted and one.type != "Binary"
        ]
        found = await self._found(asked, letters) if asked else set()
        answers = {one.reference: one.reference in found if one in asked else await self._shows(one, letters) for one in current}
        return [one for one in current if answers[one.reference]]

    async def _found(self, current: Sequence[Version], letters: str) -> set[str]:
        """Return the references of those that MongoDB finds to be allowed."""
        found = set()
        for type_ in sorted({version.type for version in current}):
            same = [version for version in current if version.type == type_]
            keys = [{"_id": current_key(self.tenant, version.id), "v": version.number} for version in same]
            condition: Document = {"$and": [{"$or": keys}, {"$or": self._ways(type_, letters)}]}
            documents = self.collection(type_).find(condition, {"i": 1}, session=self.session)
            found.update([f"{type_}/{document['i']}" async for document in documents])
        return found

    def _ways(self, type_: str, letters: str) -> list[Filter]:
        found: list[Filter] = []
        for letter in letters:
            filter_ = self.access.filter(type_, letter)
            if filter_ not in found:
                found.append(filter_)
        return found

    async def _shows(self, current: Version, letters: str) -> bool:
        """Tell whether one of the letters is allowed for a current version; of a deletion, for the version before it."""
        if not self.access.is_confined(current.type, letters):
            return True
        if current.deleted or current.type == "Binary":
            return await self._shows_content(current, letters)
        return bool(await self._found([current], letters))

    async def _shows_content(self, version: Version, letters: str) -> bool:
        """Tell the same of any version, by its content."""
        if not self.access.is_confined(version.type, letters):
            return True
        if version.deleted:
            before = await self._before(version)
            return before is not None and not before.deleted and await self._shows_content(before, letters)
        if version.type == "Binary":
            return await self._shows_binary(version, letters)
        return version.resource is not None and self.access.admits(version.type, letters, version.id, version.resource)

    async def _before(self, version: Version) -> Version | None:
        key = history_key(self.tenant, version.id, version.number - 1)
        document = await self.history_collection(version.type).find_one({"_id": key}, session=self.session)
        return Version.from_document(version.type, document) if document else None

    async def _shows_binary(self, version: Version, letters: str) -> bool:
        """https://hl7.org/fhir/R4/binary.html#security: as what it is part of."""
        resource = version.resource or {}
        context = resource.get("securityContext", {}).get("reference", "")
        if context:
            type_, _, id_ = context.partition("/")
            referred = "/" not in id_ and bool(await self.showing(READING).currents([(type_, id_)]))
            return referred and self.access.admits("Binary", letters, version.id, resource, referred=True)
        if self.access.admits("Binary", letters, version.id, resource):
            return True
        if not self.access.admits("Binary", letters, version.id, resource, referred=True):
            return False
        names = [f"Binary/{version.id}", f"{self.access.base_url}/Binary/{version.id}"]
        condition: Document = {
            "$and": [{"t": self.tenant, "s.location": {"$in": names}}, self.access.filter("DocumentReference", "r")]
        }
        return await self.collection("DocumentReference").find_one(condition, {"_id": 1}, session=self.session) is not None


def refused(type_: str, letter: str, how: str = "") -> FhirError:
    """403: the letter is not allowed for a type, or for this resource."""
    what = " ".join(part for part in (VERBS[letter], type_, how) if part)
    return forbidden(f"You may not {what}; that takes a scope such as user/{type_}.{letter}, and a role that allows it.")
