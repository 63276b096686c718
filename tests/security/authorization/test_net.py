"""What happens when the database is away, or something fails that nobody foresaw."""

import httpx
import pytest
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs

from fhir_server.fhir.outcome import unavailable
from fhir_server.web.smart.net import caught

PAGE = {"Accept": "text/html,*/*"}


async def answer_to(error: Exception, **headers: str) -> httpx.Response:
    async def endpoint(_request: Request) -> Response:
        raise error

    transport = httpx.ASGITransport(Starlette(routes=[caught(Route("/", endpoint))]))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as web:
        return await web.get("/", headers=headers)


@pytest.mark.parametrize("error", [ServerSelectionTimeoutError("away"), unavailable("locked")])
async def test_a_database_that_is_away_is_told_so(error: Exception):
    answer = await answer_to(error)
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    answer = await answer_to(error, **PAGE)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert "Try again in a few seconds" in answer.text


@pytest.mark.parametrize("error", [ValueError("the secret"), OperationFailure("the secret", 999_999)])
async def test_what_nobody_foresaw_is_logged_and_says_nothing(error: Exception):
    with capture_logs() as logs:
        answer = await answer_to(error)
    assert (answer.status_code, answer.json()["error"]) == (500, "server_error")
    assert "secret" not in answer.text
    assert [entry["event"] for entry in logs] == ["unforeseen"]
