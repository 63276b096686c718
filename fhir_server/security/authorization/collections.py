"""The collections of the authorization server, beside those of the resource types in the same database.

Every document that belongs to an organisation carries its `tenant`. Secrets that someone will present (codes, refresh
tokens, session cookies, launch values, client secrets) are kept as SHA-256 digests only; MongoDB removes what has
expired by itself, but nobody relies on that: every reader looks at `expires`.
"""

import hashlib
import secrets
from typing import Final

from pymongo import ASCENDING, IndexModel
from pymongo.asynchronous.collection import AsyncCollection

from fhir_server.store.database import Database, Document

USERS: Final = "_auth_users"
CLIENTS: Final = "_auth_clients"
GRANTS: Final = "_auth_grants"
CODES: Final = "_auth_codes"
REFRESH_TOKENS: Final = "_auth_refresh_tokens"
REVOKED: Final = "_auth_revoked"
ASSERTIONS: Final = "_auth_assertions"
LAUNCHES: Final = "_auth_launches"
FLOWS: Final = "_auth_flows"
SESSIONS: Final = "_auth_sessions"
ATTEMPTS: Final = "_auth_attempts"
KEYS: Final = "_auth_keys"

_EXPIRES: Final = IndexModel([("expires", ASCENDING)], name="expires", expireAfterSeconds=0)
_TENANT: Final = IndexModel([("tenant", ASCENDING)], name="tenant")
INDEXES: Final[dict[str, list[IndexModel]]] = {
    USERS: [IndexModel([("id", ASCENDING)], name="id", unique=True), _TENANT],
    CLIENTS: [_TENANT, IndexModel([("origins", ASCENDING)], name="origins")],
    GRANTS: [_EXPIRES, IndexModel([("user", ASCENDING)], name="user"), IndexModel([("client", ASCENDING)], name="client")],
    CODES: [_EXPIRES],
    REFRESH_TOKENS: [_EXPIRES, IndexModel([("grant", ASCENDING)], name="grant")],
    REVOKED: [_EXPIRES],
    ASSERTIONS: [_EXPIRES],
    LAUNCHES: [_EXPIRES],
    FLOWS: [_EXPIRES],
    SESSIONS: [_EXPIRES, IndexModel([("user", ASCENDING)], name="user")],
    ATTEMPTS: [_EXPIRES],
    KEYS: [],
}


async def prepare(database: Database) -> None:
    """Make the indexes."""
    for name, models in INDEXES.items():
        if models:
            await database.collection(name).create_indexes(models)


def collection(database: Database, name: str) -> AsyncCollection[Document]:
    """Return one of the collections."""
    return database.collection(name)


def new_secret() -> str:
    """Return 256 random bits, as text that URLs, headers and forms carry as it is."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """Return what is kept of a secret of this server's making.

    The secrets have 256 random bits, so that a plain hash can not be inverted; passwords go through argon2 instead.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
