"""Requests of this server to URLs of others that do not lead into its own network.

https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html

The name is resolved once for each request, all its addresses are looked at, and the connection goes to the first of them: what
the name means a moment later does not matter. TLS still verifies the name.
"""

from typing import Final

import httpx

from fhir_server.security.authorization.fetching import FetchError, Resolve, is_public, resolved

PLAIN: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}
"""Headers that ask for JSON as it is: a few packed bytes could become very many."""
_PORTS: Final = {"https": 443, "http": 80}


class PinnedTransport(httpx.AsyncHTTPTransport):
    """Connects to public addresses only, unless `private` ones are allowed. Redirects are new requests, judged anew."""

    def __init__(self, *, private: bool = False, resolve: Resolve = resolved, verify: bool = True) -> None:
        super().__init__(verify=verify, trust_env=False)
        self._private = private
        self._resolve = resolve

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            httpx.ConnectError: the name is not known, or has an address that is not public.
        """
        url = request.url
        try:
            addresses = await self._resolve(url.host, url.port or _PORTS.get(url.scheme, 443))
        except FetchError as error:
            raise httpx.ConnectError(str(error), request=request) from None
        if not addresses or not (self._private or all(map(is_public, addresses))):
            raise httpx.ConnectError(f"{url.host} has an address that is not public.", request=request)
        request.extensions = {**request.extensions, "sni_hostname": url.host}
        request.url = url.copy_with(host=addresses[0])
        return await super().handle_async_request(request)
