"""What this process logs, as it does in production."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from fhir_server.config import Settings
from fhir_server.web import logs

_LOGGERS = ("", "uvicorn", "uvicorn.error", "uvicorn.access", "pymongo")


class Logged(io.StringIO):
    """All that was logged."""

    def lines(self) -> list[dict[str, Any]]:
        """Return it line by line."""
        return [json.loads(line) for line in self.getvalue().splitlines()]


@contextmanager
def logged(settings: Settings, level: str = "debug") -> Iterator[Logged]:
    """Log in JSON at a level, and give back the logging of before."""
    output = Logged()
    before = [(logging.getLogger(name).handlers[:], logging.getLogger(name).level) for name in _LOGGERS]
    logs.configure(settings.model_copy(update={"log_level": level, "log_format": "json"}), output)
    try:
        yield output
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        for name, (handlers, found) in zip(_LOGGERS, before, strict=True):
            logging.getLogger(name).handlers[:] = handlers
            logging.getLogger(name).setLevel(found)
