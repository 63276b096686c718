"""The apps and backend services that may ask for tokens: https://www.rfc-editor.org/rfc/rfc7591#section-2."""

import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from authlib.oauth2.rfc6749 import ClientMixin
from pymongo.errors import DuplicateKeyError

from fhir_server.exchange import utc_now
from fhir_server.security.authorization.collections import CLIENTS, collection, digest
from fhir_server.security.authorization.grantable import allowed
from fhir_server.security.authorization.redirects import origin_of
from fhir_server.store.database import Database, Document

ANY_TENANT: Final = "*"
AuthMethod = Literal["none", "client_secret_basic", "private_key_jwt"]
SECRET_METHODS: Final = ("client_secret_basic", "client_secret_post")


class ClientExistsError(ValueError):
    """The client id is taken."""


@dataclass(frozen=True, slots=True)
class Client(ClientMixin):
    """A registered client, with what it may do. Authlib asks it through the methods of `ClientMixin`."""

    id: str
    tenant: str
    """The organisation that it works for; `*` for an app that the users of every organisation may launch."""
    name: str
    auth_method: AuthMethod = "none"
    secret: str = ""
    """The digest of the client secret."""
    redirect_uris: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    """The widest scopes that it may be given; wildcards cover what they name."""
    grant_types: tuple[str, ...] = ("authorization_code", "refresh_token")
    jwks: Mapping[str, Any] | None = None
    jwks_uri: str = ""
    launch_url: str = ""
    """Where an EHR launch of it begins."""
    trusted: bool = False
    """Of the operator's own making: nobody is asked for consent."""
    introspects: bool = False
    """A resource server: it may introspect the tokens of every client of its organisation."""
    launches: bool = False
    """An EHR: it may create launch contexts."""
    active: bool = True
    created: datetime = field(default_factory=utc_now)

    @property
    def confidential(self) -> bool:
        """Whether it can keep a secret."""
        return self.auth_method != "none"

    def serves(self, tenant: str) -> bool:
        """Tell whether users of an organisation may use it."""
        return self.tenant in (ANY_TENANT, tenant)

    def get_client_id(self) -> str:
        """Return the client id."""
        return self.id

    def get_default_redirect_uri(self) -> None:
        """Return None: the request has to name one, so that nothing is sent where the client did not expect it."""

    def get_allowed_scope(self, scope: str | None) -> str:
        """Return those of the scopes asked for that may be given, in their order; without any, all that it has."""
        return " ".join(allowed(scope.split() if scope else self.scopes, self.scopes))

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Tell whether it is one of the registered ones, character by character."""
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        """Tell whether the secret is its own."""
        return bool(self.secret) and secrets.compare_digest(self.secret, digest(client_secret))

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Tell whether it authenticates by this method; where a secret goes is its own choice."""
        del endpoint
        return method == self.auth_method or (method in SECRET_METHODS and self.auth_method in SECRET_METHODS)

    def check_response_type(self, response_type: str) -> bool:
        """Tell whether it may start an authorization code flow."""
        return response_type == "code" and "authorization_code" in self.grant_types

    def check_grant_type(self, grant_type: str) -> bool:
        """Tell whether it may use a grant."""
        return grant_type in self.grant_types

    @classmethod
    def from_document(cls, found: Document) -> "Client":
        """Return the client that MongoDB keeps."""
        return cls(
            id=found["_id"],
            tenant=found["tenant"],
            name=found["name"],
            auth_method=found["auth_method"],
            secret=found["secret"],
            redirect_uris=tuple(found["redirect_uris"]),
            scopes=tuple(found["scopes"]),
            grant_types=tuple(found["grant_types"]),
            jwks=found["jwks"],
            jwks_uri=found["jwks_uri"],
            launch_url=found["launch_url"],
            trusted=found["trusted"],
            introspects=found["introspects"],
            launches=found["launches"],
            active=found["active"],
            created=found["created"],
        )

    def to_document(self) -> Document:
        """Return what MongoDB keeps; `origins` are the web origins that may call this server from a browser."""
        origins = {origin_of(uri) for uri in (*self.redirect_uris, self.launch_url)} - {""}
        return {
            "_id": self.id,
            "tenant": self.tenant,
            "name": self.name,
            "auth_method": self.auth_method,
            "secret": self.secret,
            "redirect_uris": list(self.redirect_uris),
            "scopes": list(self.scopes),
            "grant_types": list(self.grant_types),
            "jwks": dict(self.jwks) if self.jwks else None,
            "jwks_uri": self.jwks_uri,
            "launch_url": self.launch_url,
            "trusted": self.trusted,
            "introspects": self.introspects,
            "launches": self.launches,
            "active": self.active,
            "created": self.created,
            "origins": sorted(origins),
        }


class Clients:
    """The clients of all organisations."""

    def __init__(self, database: Database) -> None:
        self._clients = collection(database, CLIENTS)

    async def add(self, client: Client) -> None:
        """Keep a new client.

        Raises:
            ClientExistsError: the id is taken.
        """
        try:
            await self._clients.insert_one(client.to_document())
        except DuplicateKeyError:
            raise ClientExistsError(f"There is a client {client.id} already.") from None

    async def get(self, id_: str) -> Client | None:
        """Return the client of an id, unless it is switched off."""
        found = await self._clients.find_one({"_id": id_, "active": True})
        return Client.from_document(found) if found else None

    async def change(self, id_: str, **fields: Any) -> bool:
        """Set fields of a client; False when there is none of this id."""
        return (await self._clients.update_one({"_id": id_}, {"$set": fields})).matched_count == 1

    async def remove(self, id_: str) -> bool:
        """Forget a client; False when there is none of this id."""
        return (await self._clients.delete_one({"_id": id_})).deleted_count == 1

    async def all(self, tenant: str = "") -> AsyncIterator[Client]:
        """Yield the clients, of one organisation or of all, by id."""
        async for found in self._clients.find({"tenant": tenant} if tenant else {}).sort("_id"):
            yield Client.from_document(found)

    async def launchable(self, tenant: str) -> list[Client]:
        """Return the apps that the users of an organisation can launch, by name."""
        query = {"tenant": {"$in": [tenant, ANY_TENANT]}, "active": True, "launch_url": {"$ne": ""}}
        return [Client.from_document(found) async for found in self._clients.find(query).sort("name")]

    async def has_origin(self, origin: str) -> bool:
        """Tell whether the pages of a web origin belong to a registered app."""
        return await self._clients.find_one({"origins": origin, "active": True}, {"_id": 1}) is not None
