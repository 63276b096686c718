"""Requests and replies of the OAuth endpoints, as Authlib reads and writes them; HTTP itself stays outside."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2.rfc6749 import JsonPayload, JsonRequest, OAuth2Payload, OAuth2Request

from fhir_server.security.authorization.clients import ANY_TENANT


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a redirect, or JSON."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def location(self) -> str:
        """Where it redirects to; empty when it does not."""
        return self.headers.get("Location", "")


class Payload(OAuth2Payload):
    """Parameters, in their order; names may repeat."""

    def __init__(self, params: Iterable[tuple[str, str]]) -> None:
        self._lists: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in params:
            self._lists[name].append(value)

    @property
    def data(self) -> dict[str, str]:
        """Return the parameters; of those that repeat, the first."""
        return {name: values[0] for name, values in self._lists.items()}

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        """Return all values by name."""
        return self._lists


class Request(OAuth2Request):
    """A request to one of the endpoints. `headers` have to be found under any case."""

    about = ""
    """The tenant of what is asked about, where it is known by now."""

    def __init__(
        self, method: str, url: str, params: Iterable[tuple[str, str]], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(method, url, headers=headers or {})
        self.payload = Payload(params)

    @property
    def form(self) -> dict[str, str]:
        """Return the parameters of the body. Those of the URL are not among them: credentials do not belong there."""
        return self.payload.data

    @property
    def tenant(self) -> str:
        """The tenant that it is about, or is from, as far as that has turned out; empty for none."""
        given = self.authorization_code or self.refresh_token
        known = (self.user, given.grant if given is not None else None, self.client)
        tenants = (one.tenant for one in known if one is not None and one.tenant != ANY_TENANT)
        return self.about or next(tenants, "")


class Json(JsonPayload):
    """A body that is a JSON object."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = dict(data)

    @property
    def data(self) -> dict[str, Any]:
        """Return its members."""
        return self._data


class RegistrationRequest(JsonRequest):
    """A request to register a client."""

    def __init__(self, url: str, data: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        super().__init__("POST", url, headers)
        self.payload = Json(data)
