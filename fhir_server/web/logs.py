"""Structured logs on standard error: one JSON object a line, or lines for people.

No log holds a resource's content, a query's values or the message of an unforeseen exception (which may quote both):
of an exception its class and the places in the code are logged.
"""

import logging
import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from fhir_server.config import Settings

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_encoder = msgspec.json.Encoder(enc_hook=repr)
request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that is being answered."""
tenant: ContextVar[str] = ContextVar("tenant", default="")
"""The tenant that the request is about, once that is known. What is done by itself for a tenant binds `tenant` in
`structlog.contextvars`, which every floor can."""


@dataclass(slots=True)
class _Configured:
    """What `configure` was told last."""

    json: bool = False
    level: int = logging.INFO
    output: TextIO | None = None


_configured = _Configured()


def configure(settings: Settings, output: TextIO | None = None) -> None:
    """Set up structlog, and the standard library's logging with it, for this process; without `output` to standard error."""
    output = output or sys.stderr
    level = _LEVELS[settings.log_level]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        describe_exception,
    ]
    _configured.json, _configured.level, _configured.output = settings.log_format == "json", level, output
    renderer: Processor = render_json if _configured.json else structlog.dev.ConsoleRenderer(colors=output.isatty())
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    _configure_standard_library(output, level, shared, renderer)


def _configure_standard_library(output: TextIO, level: int, shared: Iterable[Processor], renderer: Processor) -> None:
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "pymongo"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(max(level, logging.WARNING))


def render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Return the event as one line of JSON."""
    return _encoder.encode(event).decode()


def describe_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by the exception's class and the places it came through, without its message."""
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = f"{type(error).__module__}.{type(error).__qualname__}"
        event["at"] = _places(error.__traceback__)
        cause = error.__cause__ or error.__context__
        if cause is not None:
            event["cause"] = f"{type(cause).__module__}.{type(cause).__qualname__}"
    return event


def _places(trace: TracebackType | None) -> list[str]:
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/site-packages/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return places


def add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Say which request an event belongs to, and to which tenant."""
    for name, value in (("request_id", request_id.get()), ("tenant", tenant.get())):
        if value:
            event.setdefault(name, value)
    return event


def request_logger() -> Callable[[dict[str, Any]], None]:
    """Return what logs one line for each request.

    In JSON it writes the line itself: structlog's chain of processors would cost a read a tenth of its throughput.
    """
    logger = get_logger()
    output = _configured.output
    if not _configured.json or output is None:
        return lambda fields: logger.info("request", **fields)
    if _configured.level > logging.INFO:
        return lambda _: None

    def write(fields: dict[str, Any]) -> None:
        stamped = fields | {"event": "request", "level": "info", "timestamp": f"{datetime.now(UTC).isoformat()[:-6]}Z"}
        output.write(_encoder.encode(stamped).decode() + "\n")
        output.flush()

    return write


def get_logger() -> Any:
    """Return a logger that is bound to nothing but the context variables."""
    return structlog.get_logger()
