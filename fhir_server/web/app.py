"""The application: the FHIR door, and beside it what FastAPI serves.

Requests below `/fhir` go to the FHIR door directly; FastAPI's routing would cost a read a third of its throughput
(docs/decisions/0005-wire.md).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from pymongo.asynchronous.database import AsyncDatabase
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from fhir_server import __version__
from fhir_server.blobs.service import PREFIX as BLOBS
from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.extension import load
from fhir_server.operations.merge.finishing import keep_finishing
from fhir_server.search.index import index_models
from fhir_server.search.vocabulary import WORDS
from fhir_server.security.authorization.service import BuiltinIssuer, Service
from fhir_server.store.database import Database
from fhir_server.web.auth import authentication_of
from fhir_server.web.base_url import PREFIX
from fhir_server.web.blobs import BlobApp
from fhir_server.web.fhir import FhirApp
from fhir_server.web.health import routes
from fhir_server.web.observe import Observe
from fhir_server.web.safe_headers import SafeHeaders
from fhir_server.web.smart.app import routes as smart_routes
from fhir_server.web.smart.cors import AppOrigins

EXPOSED = ["ETag", "Last-Modified", "Location", "X-Request-Id", "Retry-After", "Content-Location"]


class Doors:
    """Sends each request to its door; `discovery` says that the documents of SMART below the FHIR base are elsewhere."""

    def __init__(self, fhir: ASGIApp, other: ASGIApp, *, discovery: bool = False) -> None:
        self._fhir = fhir
        self._other = other
        self._elsewhere = f"{PREFIX}/.well-known/" if discovery else "\n"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        path: str = scope.get("path", "")
        if scope["type"] == "http" and (path.startswith(PREFIX + "/") or path == PREFIX) and not path.startswith(self._elsewhere):
            await self._fhir(scope, receive, send)
        else:
            await self._other(scope, receive, send)


def create_app(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> ASGIApp:
    """Return the ASGI application that serves `database`."""
    extensions = load(settings)
    contexts = Contexts(Database(database, settings, index_models, WORDS), settings, extensions)
    service = Service(contexts.database, settings, recorder=contexts.recorder) if settings.auth == "builtin" else None
    own = (BuiltinIssuer(service), service.place.base) if service else (None, "")
    fhir = FhirApp(contexts, authentication_of(contexts, *own))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        finishing = asyncio.create_task(keep_finishing(contexts.database, contexts.of_tenant))
        try:
            yield
        finally:
            finishing.cancel()
            await fhir.close()

    other = FastAPI(title="FHIR PRM server", version=__version__, lifespan=lifespan, routes=[*routes(database)])
    other.state.fhir = fhir
    for routes_ in extensions.routes:
        other.include_router(routes_.router(), prefix=routes_.prefix)
    other.mount(BLOBS, BlobApp(contexts))
    other.add_route("/", lambda _: RedirectResponse(f"{PREFIX}/metadata"), include_in_schema=False)
    if service is not None:
        other.router.routes.extend(smart_routes(service, contexts))
    app: ASGIApp = Doors(fhir, SafeHeaders(other, https=settings.base_url.startswith("https:")), discovery=service is not None)
    if service is not None:
        app = AppOrigins(app, service.clients.has_origin, EXPOSED)
    if settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=[origin.strip() for origin in settings.cors_origins.split(",")],
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )
    return Observe(app, log=settings.log_requests)
