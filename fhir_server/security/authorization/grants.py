"""What somebody has allowed a client to do, and the codes and refresh tokens that stand for it.

A grant is the family of RFC 9700, section 4.14.2: every code and refresh token belongs to one, and whatever is presented
twice ends all of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from pymongo import ReturnDocument

from fhir_server.security.authorization.collections import (
    CODES,
    GRANTS,
    REFRESH_TOKENS,
    collection,
    digest,
    new_secret,
)
from fhir_server.security.authorization.revoked import Revoked
from fhir_server.store.database import Database, Document

CODE_LIFETIME: Final = timedelta(seconds=60)
NEVER_USED: Final = timedelta(minutes=10)
"""How long a grant is kept before its code has been redeemed."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a user allowed a client, in which launch context."""

    id: str
    tenant: str
    client: str
    user: str
    """The id of the user."""
    scopes: tuple[str, ...]
    created: datetime
    expires: datetime
    session: str = ""
    """The login session that it ends with (`online_access`); empty when it outlives it."""
    patient: str = ""
    encounter: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)
    """Further members of the token response, such as `intent` and `need_patient_banner`."""
    auth_time: datetime | None = None
    amr: tuple[str, ...] = ()
    revoked: bool = False
    used: datetime | None = None
    """When tokens were last issued for it; None before the first ones."""

    @property
    def scope(self) -> str:
        """The scopes, separated by spaces."""
        return " ".join(self.scopes)

    @classmethod
    def from_document(cls, found: Document) -> "Grant":
        """Return the grant that MongoDB keeps."""
        return cls(
            id=found["_id"],
            tenant=found["tenant"],
            client=found["client"],
            user=found["user"],
            scopes=tuple(found["scopes"]),
            created=found["created"],
            expires=found["expires"],
            session=found["session"],
            patient=found["patient"],
            encounter=found["encounter"],
            context=found["context"],
            auth_time=found["auth_time"],
            amr=tuple(found["amr"]),
            revoked=found["revoked"],
            used=found["used"],
        )

    def to_document(self) -> Document:
        """Return what MongoDB keeps."""
        return {
            "_id": self.id,
            "tenant": self.tenant,
            "client": self.client,
            "user": self.user,
            "scopes": list(self.scopes),
            "created": self.created,
            "expires": self.expires,
            "session": self.session,
            "patient": self.patient,
            "encounter": self.encounter,
            "context": dict(self.context),
            "auth_time": self.auth_time,
            "amr": list(self.amr),
            "revoked": self.revoked,
            "used": self.used,
        }


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code that has been redeemed just now. Authlib reads it through the attributes and methods."""

    grant: Grant
    redirect_uri: str
    code_challenge: str
    nonce: str
    code_challenge_method: str = "S256"

    def get_redirect_uri(self) -> str:
        """Return the redirect URI of the authorization request."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """Return what was granted."""
        return self.grant.scope

    def get_nonce(self) -> str:
        """Return the nonce of the authorization request."""
        return self.nonce

    def get_auth_time(self) -> int | None:
        """Return when the user logged in, in seconds since 1970."""
        return int(self.grant.auth_time.timestamp()) if self.grant.auth_time else None

    def get_acr(self) -> None:
        """Return None: no classes of authentication are told apart."""

    def get_amr(self) -> list[str]:
        """Return how the user logged in: https://www.rfc-editor.org/rfc/rfc8176."""
        return list(self.grant.amr)


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token that is valid at the moment."""

    grant: Grant
    key: str

    def check_client(self, client: Any) -> bool:
        """Tell whether it was issued to this client."""
        return bool(self.grant.client == client.get_client_id())

    def get_scope(self) -> str:
        """Return what was granted."""
        return self.grant.scope


class Grants:
    """The grants of all organisations."""

    def __init__(self, database: Database, revoked: Revoked, now: Callable[[], datetime]) -> None:
        self._grants = collection(database, GRANTS)
        self._codes = collection(database, CODES)
        self._refresh_tokens = collection(database, REFRESH_TOKENS)
        self._revoked = revoked
        self._now = now

    async def add(self, grant: Grant) -> None:
        """Keep a new grant."""
        await self._grants.insert_one(grant.to_document())

    async def get(self, id_: str) -> Grant | None:
        """Return a grant that still holds."""
        found = await self._grants.find_one({"_id": id_, "revoked": False, "expires": {"$gt": self._now()}})
        return Grant.from_document(found) if found else None

    async def of_user(self, user: str) -> list[Grant]:
        """Return the grants of a user that still hold and were used, newest first."""
        query = {"user": user, "revoked": False, "expires": {"$gt": self._now()}, "used": {"$ne": None}}
        return [Grant.from_document(found) async for found in self._grants.find(query).sort("created", -1)]

    async def prolong(self, id_: str, expires: datetime) -> Grant | None:
        """Note that tokens are issued for a grant, which holds until `expires` from now on; None when it holds no more."""
        now = self._now()
        found = await self._grants.find_one_and_update(
            {"_id": id_, "revoked": False, "expires": {"$gt": now}},
            {"$set": {"used": now, "expires": expires}},
            return_document=ReturnDocument.AFTER,
        )
        return Grant.from_document(found) if found else None

    async def revoke(self, id_: str) -> None:
        """End a grant with all its codes, refresh tokens and access tokens."""
        await self._grants.update_one({"_id": id_}, {"$set": {"revoked": True}})
        await self._revoked.add(id_)
        await self._refresh_tokens.delete_many({"grant": id_})

    async def revoke_where(self, **fields: str) -> int:
        """End all grants with these fields (`user`, `client`, `tenant`); return how many there were."""
        ids = [found["_id"] async for found in self._grants.find({**fields, "revoked": False}, {"_id": 1})]
        for id_ in ids:
            await self.revoke(id_)
        return len(ids)

    async def new_code(self, grant: Grant, *, code: str, redirect_uri: str, code_challenge: str, nonce: str) -> None:
        """Keep an authorization code, which can be redeemed once, within a minute."""
        now = self._now()
        await self._codes.insert_one(
            {
                "_id": digest(code),
                "tenant": grant.tenant,
                "client": grant.client,
                "grant": grant.id,
                "redirect_uri": redirect_uri,
                "code_challenge": code_challenge,
                "nonce": nonce,
                "used": None,
                "valid_until": now + CODE_LIFETIME,
                # A used code is known for as long as a replay of it has something to end.
                "expires": now + timedelta(days=1),
            }
        )

    async def redeem(self, code: str, client: str) -> Code | None:
        """Return what a code stands for, the first time; a second time ends the grant."""
        now = self._now()
        key = {"_id": digest(code), "client": client}
        found = await self._codes.find_one_and_update({**key, "used": None, "valid_until": {"$gt": now}}, {"$set": {"used": now}})
        if found is None:
            known = await self._codes.find_one({**key, "used": {"$ne": None}})
            if known is not None:
                await self.revoke(known["grant"])
            return None
        grant = await self.get(found["grant"])
        return Code(grant, found["redirect_uri"], found["code_challenge"], found["nonce"]) if grant else None

    async def new_refresh_token(self, grant: Grant) -> str:
        """Return a new refresh token; it lives as long as its grant."""
        token = new_secret()
        await self._refresh_tokens.insert_one(
            {"_id": digest(token), "tenant": grant.tenant, "grant": grant.id, "used": None, "expires": grant.expires}
        )
        return token

    async def find_refresh_token(self, token: str, client: str) -> RefreshToken | None:
        """Return an unused refresh token of a client, without using it; one that was used before ends the grant."""
        found = await self._refresh_tokens.find_one({"_id": digest(token)})
        grant = await self.get(found["grant"]) if found else None
        if found is None or grant is None or grant.client != client:
            return None
        if found["used"] is not None:
            await self.revoke(grant.id)
            return None
        return RefreshToken(grant, found["_id"])

    async def client_of(self, token: str) -> str:
        """Return the id of the client that a refresh token, used or not, was given to; empty for one that is not known."""
        found = await self._refresh_tokens.find_one({"_id": digest(token)})
        grant = await self.get(found["grant"]) if found else None
        return grant.client if grant else ""

    async def of_refresh_token(self, token: str) -> Grant | None:
        """Return the grant of an unused refresh token, if it still holds."""
        found = await self._refresh_tokens.find_one({"_id": digest(token), "used": None})
        return await self.get(found["grant"]) if found else None

    async def use(self, token: RefreshToken) -> bool:
        """Use up a refresh token; False, and the grant ends, when somebody was faster."""
        found = await self._refresh_tokens.find_one_and_update({"_id": token.key, "used": None}, {"$set": {"used": self._now()}})
        if found is None:
            await self.revoke(token.grant.id)
        return found is not None
