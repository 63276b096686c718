"""Files of messages, fetched from their provider.

https://www.twilio.com/docs/messaging/api/media-resource: Twilio asks for the account, and sends whoever is let in on to where
its files are. Only Twilio's own hosts are asked, and the account goes to the first of them alone.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx

from fhir_server.blobs.passing import pieces
from fhir_server.security.outgoing import PinnedTransport
from prm_ext.notifications.settings import NotificationSettings

LARGEST: Final = 32 * 2**20
"""Twilio takes 16 MB; it may say more of some kinds."""
REDIRECTS: Final = 3
_HOSTS: Final = (".twilio.com", ".twiliocdn.com", ".amazonaws.com")
"""Where Twilio keeps files."""
_GONE: Final = frozenset({401, 403, 404, 410})
_TIMEOUT: Final = httpx.Timeout(20.0, connect=5.0)


class FileUnavailableError(Exception):
    """A file can not be had; `passing`: not now."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing


class TwilioFile:
    """One file of a message; use it as a context manager, and read it once."""

    def __init__(self, settings: NotificationSettings, url: str) -> None:
        self._settings = settings
        self._url = url
        base = urlsplit(settings.twilio_base_url)
        self._own = base.netloc
        self._stack = AsyncExitStack()
        self.mime = ""

    async def __aenter__(self) -> AsyncIterator[bytes]:
        """Return the bytes of the file as they come.

        Raises:
            FileUnavailableError: it is not there, or not where Twilio keeps files, or Twilio does not answer.
        """
        try:
            return await self._open()
        except BaseException:
            await self._stack.aclose()
            raise

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self._stack.aclose()

    async def _open(self) -> AsyncIterator[bytes]:
        # A test server, or a gateway that stands before Twilio, is where the setting says, be it within the own network.
        transport = PinnedTransport(private=bool(self._own))
        client = await self._stack.enter_async_context(
            httpx.AsyncClient(transport=transport, timeout=_TIMEOUT, follow_redirects=False, trust_env=False)
        )
        url, auth = self._url, httpx.BasicAuth(self._settings.twilio_account_sid, self._settings.twilio_auth_token)
        credentials: httpx.Auth | None = auth if self._is_api(url) else None
        for _ in range(REDIRECTS + 1):
            self._check(url)
            try:
                request = client.build_request("GET", url)
                answer = await client.send(request, auth=credentials or httpx.Auth(), stream=True)
            except httpx.HTTPError as error:
                raise FileUnavailableError(type(error).__name__, passing=True) from None
            self._stack.push_async_callback(answer.aclose)
            if not answer.has_redirect_location:
                return self._body(answer)
            url, credentials = urljoin(url, answer.headers["location"]), None
        raise FileUnavailableError("too many redirects", passing=False)

    def _is_api(self, url: str) -> bool:
        parts = urlsplit(url)
        if self._own:
            return parts.netloc == self._own
        host = parts.hostname or ""
        return host == "api.twilio.com" or (host.startswith("api.") and host.endswith(".twilio.com"))

    def _check(self, url: str) -> None:
        parts = urlsplit(url)
        if self._own and parts.netloc == self._own:
            return
        host = parts.hostname or ""
        if parts.scheme != "https" or not host.endswith(_HOSTS) or parts.port not in (None, 443) or parts.username:
            raise FileUnavailableError("it is not where Twilio keeps files", passing=False)

    def _body(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        if answer.status_code != httpx.codes.OK:
            raise FileUnavailableError(f"HTTP {answer.status_code}", passing=answer.status_code not in _GONE)
        self.mime = answer.headers.get("content-type", "")
        return _bounded(answer)


class PostedFile:
    """A file that has come with its message; None: it has not, and will not any more."""

    def __init__(self, mime: str, data: bytes | None) -> None:
        self.mime = mime
        self._data = data

    async def __aenter__(self) -> AsyncIterator[bytes]:
        """Return the bytes of the file.

        Raises:
            FileUnavailableError: it is not there.
        """
        if self._data is None:
            raise FileUnavailableError("it has not come again", passing=False)
        return pieces(self._data)

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held."""


async def _bounded(answer: httpx.Response) -> AsyncIterator[bytes]:
    size = 0
    try:
        async for part in answer.aiter_bytes():
            size += len(part)
            if size > LARGEST:
                raise FileUnavailableError("it is too large", passing=False)
            yield part
    except httpx.HTTPError as error:
        raise FileUnavailableError(type(error).__name__, passing=True) from None
