"""Who is logged in, in which browser.

The browser has a random value in a cookie, this server its digest. A session is there before anybody logs in, so that the
login form is protected against cross-site requests too; with the login it gets a new value and a new form token.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from fhir_server.security.authorization.collections import SESSIONS, collection, digest, new_secret
from fhir_server.security.authorization.users import User
from fhir_server.store.database import Database, Document

BEFORE_LOGIN: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Session:
    """A browser's session, perhaps of somebody who has logged in."""

    key: str
    """The digest of the cookie's value."""
    form_token: str
    """What a form of this session sends back."""
    expires: datetime
    id: str = ""
    """What grants refer to; stays for as long as the login lasts."""
    user: str = ""
    """The id of the user; empty before the login."""
    half: str = ""
    """The id of a user whose password was right and whose one-time password is still to come."""
    auth_time: datetime | None = None
    amr: tuple[str, ...] = ()

    def owns(self, form_token: str) -> bool:
        """Tell whether a form was made for this session."""
        return secrets.compare_digest(self.form_token.encode(), form_token.encode("utf-8", "surrogatepass"))

    @classmethod
    def from_document(cls, found: Document) -> "Session":
        """Return the session that MongoDB keeps."""
        return cls(
            key=found["_id"],
            form_token=found["form_token"],
            expires=found["expires"],
            id=found["id"],
            user=found["user"],
            half=found["half"],
            auth_time=found["auth_time"],
            amr=tuple(found["amr"]),
        )


class Sessions:
    """The sessions of all browsers."""

    def __init__(self, database: Database, lifetime: timedelta, now: Callable[[], datetime]) -> None:
        self._sessions = collection(database, SESSIONS)
        self._lifetime = lifetime
        self._now = now

    async def get(self, cookie: str) -> Session | None:
        """Return the session of a cookie's value."""
        if not cookie:
            return None
        found = await self._sessions.find_one({"_id": digest(cookie), "expires": {"$gt": self._now()}})
        return Session.from_document(found) if found else None

    async def begin(self) -> tuple[str, Session]:
        """Begin a session of nobody; return its cookie's value too."""
        return await self._keep(self._now() + BEFORE_LOGIN)

    async def set_half(self, session: Session, user: User) -> None:
        """Note that a user's password was right, while the one-time password is still to come."""
        await self._sessions.update_one({"_id": session.key}, {"$set": {"half": user.id}})

    async def log_in(self, session: Session, user: User, amr: Sequence[str]) -> tuple[str, Session]:
        """Replace a session by that of a user who has just logged in; return its cookie's value too."""
        await self.end(session)
        now = self._now()
        return await self._keep(
            now + self._lifetime, id=new_secret(), user=user.id, tenant=user.tenant, auth_time=now, amr=list(amr)
        )

    async def end(self, session: Session) -> None:
        """End a session."""
        await self._sessions.delete_one({"_id": session.key})

    async def end_all_of(self, user: str) -> None:
        """End all sessions of a user."""
        await self._sessions.delete_many({"user": user})

    async def lasts(self, id_: str) -> bool:
        """Tell whether the login of this id still lasts."""
        return await self._sessions.find_one({"id": id_, "expires": {"$gt": self._now()}}, {"_id": 1}) is not None

    async def _keep(self, expires: datetime, **fields: Any) -> tuple[str, Session]:
        cookie = new_secret()
        document: Document = {
            "_id": digest(cookie),
            "form_token": new_secret(),
            "expires": expires,
            "id": "",
            "user": "",
            "half": "",
            "tenant": "",
            "auth_time": None,
            "amr": [],
            **fields,
        }
        await self._sessions.insert_one(document)
        return cookie, Session.from_document(document)
