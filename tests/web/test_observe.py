import io
import json
import logging
import re

import pytest
import structlog
from prometheus_client import REGISTRY

from fhir_server.web import logs
from fhir_server.web.observe import Observe, observation


@pytest.fixture
def errors():
    """What stands in for standard error."""
    return io.StringIO()


@pytest.fixture
def lines(settings, errors):
    """What this process logs."""
    loggers = [logging.getLogger(name) for name in ("", "uvicorn", "uvicorn.error", "uvicorn.access", "pymongo")]
    before = [(logger.handlers[:], logger.level) for logger in loggers]
    logs.configure(settings, errors)

    def read():
        return [json.loads(line) for line in errors.getvalue().splitlines()]

    yield read
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    for logger, (handlers, level) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.setLevel(level)


async def ask(app, *headers, path="/fhir/Patient/1", query=b"name=Mustermann"):
    """Return the messages that an application answers a GET with."""
    sent = []
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query, "headers": list(headers)}

    async def send(message):
        sent.append(message)

    await app(scope, None, send)
    return sent


async def answer(scope, _receive, send):
    """Answer like a search on Patient."""
    seen = observation(scope)
    seen.interaction, seen.type, seen.tenant = "search-type", "Patient", "north"
    await send({"type": "http.response.start", "status": 207, "headers": [(b"etag", b"1")]})
    await send({"type": "http.response.body", "body": b"Mustermann"})


def counted(**labels):
    return REGISTRY.get_sample_value("fhir_requests_total", labels) or 0


@pytest.mark.parametrize("given", [b"abc", b"a-b_c.D:1/2+3=", b"x" * 128])
async def test_a_usable_request_id_is_returned(given):
    start, _ = await ask(Observe(answer), (b"x-request-id", given))
    assert start["headers"] == [(b"etag", b"1"), (b"x-request-id", given)]


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"a b", b"a\tb", b'"', b"{", "ü".encode()])
async def test_an_unusable_request_id_is_replaced(given):
    start, _ = await ask(Observe(answer), (b"x-request-id", given))
    (_, found) = start["headers"][-1]
    assert found != given
    assert len(found) == 16


async def test_a_request_is_one_line_without_its_path_and_query(lines):
    await ask(Observe(answer), (b"x-request-id", b"abc"))
    [line] = lines()
    assert line.pop("ms") >= 0
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "request",
        "level": "info",
        "request_id": "abc",
        "tenant": "north",
        "method": "GET",
        "interaction": "search-type",
        "type": "Patient",
        "status": 207,
    }


async def test_requests_are_counted_by_interaction_type_and_status():
    labels = {"interaction": "search-type", "type": "Patient", "status": "207"}
    before = counted(**labels)
    await ask(Observe(answer))
    assert counted(**labels) == before + 1


@pytest.mark.parametrize("path", ["/health/ready", "/health/live", "/metrics"])
async def test_probes_are_not_logged(lines, path):
    await ask(Observe(answer), path=path)
    assert lines() == []


async def test_a_failure_is_counted_as_500_and_passed_on():
    async def fail(_scope, _receive, _send):
        raise LookupError("Mustermann")

    before = counted(interaction="other", type="", status="500")
    with pytest.raises(LookupError):
        await ask(Observe(fail))
    assert counted(interaction="other", type="", status="500") == before + 1


def test_an_exception_is_logged_by_class_and_place_without_its_message(lines):
    try:
        try:
            raise KeyError("Mustermann")  # noqa: TRY301
        except KeyError as error:
            raise ValueError("Erika Mustermann") from error
    except ValueError:
        logs.get_logger().exception("unforeseen")
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    own, foreign = lines()
    for line in (own, foreign):
        assert "Mustermann" not in json.dumps(line)
        assert line["exception"] == "builtins.ValueError"
        assert line["cause"] == "builtins.KeyError"
        assert line["at"][0].endswith("test_an_exception_is_logged_by_class_and_place_without_its_message")
    assert (own["event"], foreign["event"]) == ("unforeseen", "Exception in ASGI application")


async def test_requests_are_not_logged_above_their_level(settings, errors, lines):
    logs.configure(settings.model_copy(update={"log_level": "warning"}), errors)
    await ask(Observe(answer))
    assert lines() == []


def test_levels_below_the_setting_are_not_logged(settings, errors, lines):
    logs.get_logger().debug("not this")
    logging.getLogger("pymongo.topology").info("nor this")
    assert lines() == []
    logs.configure(settings.model_copy(update={"log_level": "error"}), errors)
    logs.get_logger().warning("nor that")
    assert lines() == []


@pytest.mark.usefixtures("lines")
def test_the_console_format_is_for_people(settings, errors):
    logs.configure(settings.model_copy(update={"log_format": "console"}), errors)
    logs.get_logger().info("hello", name="value")
    assert re.search(r"\[.*info.*\] .*hello.* name=value", errors.getvalue())
