"""How SendGrid's SDK reaches SendGrid: its own client opens a connection for each request and knows no timeout."""

from typing import Any, Self

import requests
from python_http_client import Client as SdkClient
from python_http_client.exceptions import handle_error

from prm_ext.notifications.channels.http import Session

_FAILED = 400


class Client(SdkClient):
    """Sends requests of the SDK over connections that are kept. Many threads may use it."""

    def __init__(self, *args: Any, pooled: Session, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pooled = pooled

    @classmethod
    def of(cls, sdk: Any, *, timeout: float, connections: int) -> Self:
        """Return what takes the place of the client of the SDK."""
        pooled = Session(sdk.host, timeout=timeout, connections=connections)
        # Not set by the client at the first request, in whichever thread that is.
        headers = dict(sdk.client.request_headers) | {"Content-Type": "application/json"}
        return cls(host=sdk.host, request_headers=headers, version=3, pooled=pooled)

    def close(self) -> None:
        """Close the connections."""
        self._pooled.close()

    def _build_client(self, name: str | None = None) -> "Client":
        return Client(
            host=self.host,
            version=self._version,
            request_headers=self.request_headers,
            url_path=[*self._url_path, name] if name else self._url_path,
            pooled=self._pooled,
        )

    def _make_request(self, opener: Any, request: Any, timeout: float | None = None) -> "Answer":
        del opener
        asked = requests.Request(request.get_method(), request.full_url, dict(request.header_items()), data=request.data)
        answer = Answer(self._pooled.send(asked, timeout=timeout))
        if answer.code >= _FAILED:
            raise handle_error(answer)
        return answer


class Answer:
    """An answer in the form of urllib's, which the SDK reads."""

    def __init__(self, answer: requests.Response) -> None:
        self.code = answer.status_code
        self.reason = answer.reason
        self.hdrs = answer.headers
        self._body = answer.content

    def getcode(self) -> int:
        """Return the status."""
        return self.code

    def read(self) -> bytes:
        """Return the body."""
        return self._body

    def info(self) -> Any:
        """Return the headers."""
        return self.hdrs
