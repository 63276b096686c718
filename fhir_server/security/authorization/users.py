"""Who can log in: people, each of one organisation."""

import unicodedata
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from pymongo.errors import DuplicateKeyError

from fhir_server.security.authorization.collections import USERS, collection
from fhir_server.store.database import Database, Document

TOTP_PURPOSE: Final = "auth-totp"
"""What TOTP secrets are sealed for, followed by a colon and the id of the user."""


class UserExistsError(ValueError):
    """The login name is taken."""


@dataclass(frozen=True, slots=True)
class User:
    """A person who can log in. `id` is what tokens name, and is never given to another one."""

    name: str
    """The login name, folded; unique over all organisations, so an email address is a good one."""
    tenant: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    display: str = ""
    roles: tuple[str, ...] = ()
    fhir_user: str = ""
    """`Practitioner/1`, `Patient/1`, …; empty for somebody who stands in no record."""
    password: str = ""
    """The argon2 hash; empty for somebody who can not log in yet."""
    totp: bytes = b""
    """The sealed TOTP secret; empty without a second factor."""
    active: bool = True

    def get_user_id(self) -> str:
        """Return the subject of tokens (Authlib asks for it)."""
        return self.id

    @property
    def patient(self) -> str:
        """The id of the patient that this person is; empty for others."""
        type_, _, id_ = self.fhir_user.partition("/")
        return id_ if type_ == "Patient" else ""

    @classmethod
    def from_document(cls, found: Document) -> "User":
        """Return the user that MongoDB keeps."""
        return cls(
            name=found["_id"],
            tenant=found["tenant"],
            id=found["id"],
            display=found["display"],
            roles=tuple(found["roles"]),
            fhir_user=found["fhir_user"],
            password=found["password"],
            totp=bytes(found["totp"]),
            active=found["active"],
        )

    def to_document(self) -> Document:
        """Return what MongoDB keeps."""
        return {
            "_id": self.name,
            "tenant": self.tenant,
            "id": self.id,
            "display": self.display,
            "roles": list(self.roles),
            "fhir_user": self.fhir_user,
            "password": self.password,
            "totp": self.totp,
            "active": self.active,
        }


def folded(name: str) -> str:
    """Return a login name as it is compared: without case, and with one form for each letter."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


class Users:
    """The users of all organisations."""

    def __init__(self, database: Database) -> None:
        self._users = collection(database, USERS)

    async def add(self, user: User) -> None:
        """Keep a new user.

        Raises:
            UserExistsError: the name is taken.
        """
        try:
            await self._users.insert_one(user.to_document())
        except DuplicateKeyError:
            raise UserExistsError(f"There is a user {user.name} already.") from None

    async def named(self, name: str) -> User | None:
        """Return the user of a login name, however it is written."""
        found = await self._users.find_one({"_id": folded(name)})
        return User.from_document(found) if found else None

    async def get(self, id_: str) -> User | None:
        """Return the user of an id."""
        found = await self._users.find_one({"id": id_})
        return User.from_document(found) if found else None

    async def change(self, name: str, **fields: Any) -> bool:
        """Set fields of a user; False when there is none of this name."""
        done = await self._users.update_one({"_id": folded(name)}, {"$set": fields})
        return done.matched_count == 1

    async def remove(self, name: str) -> bool:
        """Forget a user; False when there is none of this name."""
        return (await self._users.delete_one({"_id": folded(name)})).deleted_count == 1

    async def all(self, tenant: str = "") -> AsyncIterator[User]:
        """Yield the users, of one organisation or of all, by name."""
        async for found in self._users.find({"tenant": tenant} if tenant else {}).sort("_id"):
            yield User.from_document(found)

    async def use_totp(self, user: User, counter: int) -> bool:
        """Take a one-time password's counter as used; False when it, or a later one, has been used before."""
        done = await self._users.update_one(
            {"id": user.id, "$or": [{"totp_counter": {"$exists": False}}, {"totp_counter": {"$lt": counter}}]},
            {"$set": {"totp_counter": counter}},
        )
        return done.matched_count == 1
