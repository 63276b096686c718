"""Where a request comes from: https://www.rfc-editor.org/rfc/rfc7239, in the older form that proxies send."""

import ipaddress

from starlette.types import Scope

from fhir_server.config import Settings
from fhir_server.web.receive import Headers

FORWARDED = b"x-forwarded-for"


class Addresses:
    """Finds the address of a client: that of the connection, or what trusted proxies say."""

    def __init__(self, settings: Settings) -> None:
        self._proxies = {name.strip() for name in settings.trusted_proxies.split(",") if name.strip()}

    def of(self, scope: Scope, headers: Headers) -> str:
        """Return the address; "" where the connection has none.

        Proxies append to `X-Forwarded-For`: the last address that is no proxy's is believed, since all before it is
        whatever the client wrote.
        """
        client = scope.get("client")
        found: str = client[0] if client else ""
        if not self._proxies or not (found in self._proxies or "*" in self._proxies):
            return found
        for part in reversed(headers.get(FORWARDED).split(",")):
            address = _address(part.strip())
            if not address:
                return found
            found = address
            if address not in self._proxies:
                return found
        return found


def _address(text: str) -> str:
    host = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0] if text.count(":") == 1 else text
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""
