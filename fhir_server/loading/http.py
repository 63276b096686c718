"""Sends Bundles to a FHIR server over HTTP: https://hl7.org/fhir/R4/http.html#transaction."""

import asyncio
import threading
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from fhir_server.fhir import codec
from fhir_server.fhir.outcome import FhirError, Issue, unavailable

TIMEOUT_SECONDS: Final = 120


class HttpTarget:
    """A FHIR server at `base`; every thread that sends keeps a connection."""

    def __init__(self, base: str, token: str = "") -> None:
        self._base: SplitResult = urlsplit(base)
        if self._base.scheme not in ("http", "https") or not self._base.hostname:
            raise ValueError(f"{base!r} is no base URL of a FHIR server; an example is http://127.0.0.1:8080/fhir.")
        self._headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json", "Prefer": "return=minimal"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._local = threading.local()
        self._open: list[HTTPConnection] = []

    def close(self) -> None:
        """Close all connections."""
        while self._open:
            self._open.pop().close()

    async def send(self, bundle: dict[str, Any]) -> dict[str, Any]:
        """Post the Bundle and return the answer.

        Raises:
            FhirError: the server refused it; 503 when it can not be reached.
        """
        return await asyncio.to_thread(self._post, codec.encode(bundle))

    def _post(self, body: bytes) -> dict[str, Any]:
        try:
            connection = self._connection()
            connection.request("POST", self._base.path or "/", body, self._headers)
            response = connection.getresponse()
            status, data = response.status, response.read()
        except (OSError, HTTPException) as error:
            self._local.connection = None
            raise unavailable(f"{self._base.geturl()} can not be reached: {error}.") from error
        if status >= 300:  # noqa: PLR2004 -- the first status that is no success
            raise FhirError(status, _issues(status, data))
        answer = codec.decode(data)
        return answer if isinstance(answer, dict) else {}

    def _connection(self) -> HTTPConnection:
        found = getattr(self._local, "connection", None)
        if isinstance(found, HTTPConnection):
            return found
        kind = HTTPSConnection if self._base.scheme == "https" else HTTPConnection
        self._local.connection = made = kind(self._base.hostname or "", self._base.port, timeout=TIMEOUT_SECONDS)
        self._open.append(made)
        return made


def _issues(status: int, data: bytes) -> list[Issue]:
    try:
        outcome = codec.decode(data)
        return [
            Issue(issue["code"], issue.get("diagnostics", ""), tuple(issue.get("expression", ())), issue["severity"])
            for issue in outcome["issue"]
        ]
    except (FhirError, KeyError, TypeError):
        return [Issue("exception", f"the server answered with status {status}")]
