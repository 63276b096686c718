"""Whether the process lives, and whether it can serve: `/health/live` and `/health/ready`."""

import asyncio
from typing import Any

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fhir_server.web.metrics import metrics

PROBE_SECONDS = 2.0


async def is_ready(database: AsyncDatabase[dict[str, Any]]) -> bool:
    """Tell whether MongoDB answers, within a bounded time."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await database.command("ping")
    except (PyMongoError, TimeoutError):
        return False
    return True


def routes(database: AsyncDatabase[dict[str, Any]]) -> list[Route]:
    """Return the routes for orchestrators and monitoring; none needs a token or shows data."""

    async def live(_request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_request: Request) -> Response:
        if await is_ready(database):
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "unavailable", "reason": "MongoDB does not answer"}, 503, {"Retry-After": "5"})

    return [Route("/health/live", live), Route("/health/ready", ready), Route("/metrics", metrics)]
