"""Files of a form, as they come: https://www.rfc-editor.org/rfc/rfc7578. Nothing is kept in memory or on disk as a whole."""

from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from fhir_server.fhir.outcome import bad_request, unsupported_media_type

MOST_FIELD: Final = 65_536
MOST_FIELDS: Final = 100


class Part:
    """One part of a form; its data has to be taken before the next one is asked for."""

    def __init__(self, form: "Form", headers: dict[str, str]) -> None:
        self._form = form
        disposition = parse_options_header(headers.get("content-disposition", ""))[1]
        self.name = disposition.get(b"name", b"").decode("utf-8", "replace")
        found = disposition.get(b"filename")
        self.filename = None if found is None else found.decode("utf-8", "replace")
        """None: it is no file."""
        self.mime = headers.get("content-type", "")

    async def data(self) -> AsyncIterator[bytes]:
        """Yield its bytes."""
        while True:
            kind, value = await self._form.event()
            if kind == "end":
                return
            yield value

    async def text(self) -> str:
        """Return the value of a field.

        Raises:
            FhirError: 400, it is too long.
        """
        found = b""
        async for piece in self.data():
            found += piece
            if len(found) > MOST_FIELD:
                raise bad_request(f"The field {self.name!r} is longer than {MOST_FIELD} bytes.", code="too-long")
        return found.decode("utf-8", "replace")


class Form:
    """A form that is being received."""

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        mime, options = parse_options_header(content_type)
        if mime != b"multipart/form-data" or b"boundary" not in options:
            raise unsupported_media_type(f"Content-Type: {content_type!r} is no form with files; send multipart/form-data.")
        self._chunks = chunks
        self._events: deque[tuple[str, Any]] = deque()
        self._headers: dict[str, str] = {}
        self._name = self._value = b""
        self._ended = False
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": self._on_name,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_headers_finished": lambda: self._events.append(("part", dict(self._headers))),
                "on_part_data": lambda data, start, end: self._events.append(("data", data[start:end])),
                "on_part_end": lambda: self._events.append(("end", b"")),
                "on_end": self._on_end,
            },
        )

    async def parts(self) -> AsyncIterator[Part]:
        """Yield the parts, in their order."""
        for _ in range(MOST_FIELDS):
            kind, value = await self.event()
            if kind == "over":
                return
            yield Part(self, value)
        raise bad_request(f"The form has more than {MOST_FIELDS} parts.", code="too-long")

    async def event(self) -> tuple[str, Any]:
        """Return what comes next.

        Raises:
            FhirError: 400, it is no form.
        """
        while not self._events:
            chunk = await anext(self._chunks, None)
            try:
                if chunk is None:
                    self._parser.finalize()
                    if not self._ended:
                        raise bad_request("The form ends before its last boundary.", code="structure")
                    return "over", None
                self._parser.write(chunk)
            except FormParserError as error:
                raise bad_request(f"The body is not the form that its Content-Type says: {error}.", code="structure") from None
        return self._events.popleft()

    def _on_end(self) -> None:
        self._ended = True

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name = self._value = b""
