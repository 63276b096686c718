"""By which URLs the authorization server is known: https://www.rfc-editor.org/rfc/rfc8414#section-2."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from fhir_server.config import Settings
from fhir_server.security.authorization.redirects import is_loopback

AUTHORIZE: Final = "/auth/authorize"
TOKEN: Final = "/auth/token"  # noqa: S105 -- a path
INTROSPECT: Final = "/auth/introspect"
REVOKE: Final = "/auth/revoke"
REGISTER: Final = "/auth/register"
LAUNCH: Final = "/auth/launch"
MANAGE: Final = "/auth/manage"
USERINFO: Final = "/auth/userinfo"
JWKS: Final = "/auth/jwks.json"
_FHIR: Final = "/fhir"


@dataclass(frozen=True, slots=True)
class Place:
    """The URLs. They do not depend on what a request says, so that no `Host` header can lead anybody elsewhere."""

    issuer: str
    """The issuer identifier, without a slash at its end; the endpoints lie below it."""
    base: str
    """The base of the FHIR service, without a slash at its end: the audience of access tokens."""
    fixed: bool = True
    """Whether an operator has set the base; otherwise it is the address that the server listens on."""

    @classmethod
    def of(cls, settings: Settings) -> "Place":
        """Return the place that the settings say, or that of the address that the server listens on."""
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        base = settings.base_url.rstrip("/") or f"http://{host}:{settings.port}{_FHIR}"
        return cls(settings.auth_issuer.rstrip("/") or base.removesuffix(_FHIR), base, fixed=bool(settings.base_url))

    @property
    def origin(self) -> str:
        """The web origin of the issuer."""
        parts = urlsplit(self.issuer)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def secure(self) -> bool:
        """Whether browsers reach it by TLS."""
        return self.issuer.startswith("https://")

    def url(self, path: str) -> str:
        """Return the URL of an endpoint."""
        return self.issuer + path

    def is_base(self, url: str) -> bool:
        """Tell whether a URL is the FHIR base, which on loopback has several names."""
        asked, own = urlsplit(url.rstrip("/")), urlsplit(self.base)
        if asked == own:
            return True
        try:
            same = (asked.scheme, asked.port, asked.path, asked.query) == (own.scheme, own.port, own.path, own.query)
        except ValueError:
            return False
        return not self.fixed and same and is_loopback(asked.hostname or "") and is_loopback(own.hostname or "")
