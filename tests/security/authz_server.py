"""An application that asks for tokens, and an issuer that gives whatever token a test wants."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.types import Receive, Scope, Send

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.search.index import index_models
from fhir_server.search.vocabulary import WORDS
from fhir_server.security.tenants import Tenants
from fhir_server.security.tokens import Tokens
from fhir_server.store.database import Database
from fhir_server.web.auth import Authentication
from fhir_server.web.fhir import FhirApp

ISSUER = "https://id.test"
AUDIENCE = "http://test/fhir"
KEY = ECKey.generate_key("P-256", {"kid": "k1"})


def default_settings(tenant: str, mongodb_uri: str, **changes: Any) -> Settings:
    """Return settings as they are by default, but for these; neither `.env` nor the environment is read."""
    values = {name: one.get_default(call_default_factory=True) for name, one in Settings.model_fields.items()}
    values |= {"default_tenant": tenant, "mongodb_uri": mongodb_uri, "mongodb_database": "fhir_test", "count_timeout_ms": 5000}
    return Settings(_env_file=None, **values | changes)


class StaticIssuer:
    """An issuer with one key, which tests may exchange."""

    def __init__(self, keys: Sequence[Any] = (KEY,)) -> None:
        self.published = [key.as_dict(private=False) for key in keys]
        self.revoked: set[str] = set()
        self.asked = 0

    @property
    def url(self) -> str:
        """The claim `iss`."""
        return ISSUER

    async def keys(self, *, fresh: bool = False) -> Sequence[Mapping[str, Any]]:
        """Return the keys, and count how often they were asked for."""
        del fresh
        self.asked += 1
        return self.published

    async def accepts(self, claims: Mapping[str, Any]) -> bool:
        """Tell whether the token has not been revoked."""
        return claims.get("jti") not in self.revoked


def token(claims: Mapping[str, Any], *, key: Any = KEY, header: Mapping[str, Any] | None = None) -> str:
    """Return a token with these claims beside those that every token has."""
    now = int(time.time())
    whole = {"iss": ISSUER, "aud": AUDIENCE, "sub": "somebody", "exp": now + 3600, "iat": now} | dict(claims)
    return jwt.encode({"alg": "ES256", "kid": "k1", **(header or {})}, {k: v for k, v in whole.items() if v is not None}, key)


class AuthServer:
    """The FHIR door of a database, with authentication."""

    def __init__(self, settings: Settings, database: Any, issuer: StaticIssuer | None = None) -> None:
        self.settings = settings
        self.issuer = issuer or StaticIssuer()
        self.database = Database(database, settings, index_models, WORDS)
        self.contexts = Contexts(self.database, settings)
        self.tenants = Tenants(self.database)
        tokens = Tokens(settings, self.issuer, own_audience=AUDIENCE)
        self.app = FhirApp(self.contexts, Authentication(self.contexts, tokens, self.tenants))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self.app(scope, receive, send)

    def client(self, claims: Mapping[str, Any] | None = None, *, bearer: str = "", **headers: str) -> httpx.AsyncClient:
        """Return a client with a token of these claims, for the tenant of the settings unless they name another."""
        if claims is not None:
            bearer = token({"tenant": self.settings.default_tenant} | dict(claims))
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        transport = httpx.ASGITransport(self, client=("127.0.0.1", 50000))
        return httpx.AsyncClient(transport=transport, base_url="http://test/fhir/", headers=headers)


async def ask(
    app: Any, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """Send a request to an application, without a client in between that would cost more than the answer."""
    path, _, query = target.partition("?")
    raw = [(b"host", b"test"), *((name.lower().encode(), value.encode()) for name, value in headers.items())]
    scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": raw,
        "client": ("127.0.0.1", 50000),
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answered = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:])
