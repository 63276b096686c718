"""The last net below all routes: a database that is away is told so, and what nobody foresaw reaches no client."""

from collections.abc import Awaitable, Callable
from typing import Final

from pymongo.errors import PyMongoError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fhir_server.engine import translated
from fhir_server.fhir.outcome import FhirError
from fhir_server.web import logs
from fhir_server.web.smart.pages import error_page

Endpoint = Callable[[Request], Awaitable[Response]]
UNAVAILABLE: Final = 503
AWAY: Final = "The server can not reach its database at the moment. Try again in a few seconds."
FAILED: Final = "The server failed on this request; its log says more."


def caught(route: Route) -> Route:
    """Return the route with its endpoint above the net."""
    return Route(route.path, _caught(route.endpoint), methods=sorted(route.methods or {"GET"}))


def _caught(endpoint: Endpoint) -> Endpoint:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except FhirError as error:
            return _answer(request, error.status, AWAY if error.status == UNAVAILABLE else FAILED)
        except PyMongoError as error:
            if isinstance(translated(error), FhirError):
                return _answer(request, UNAVAILABLE, AWAY)
            logs.get_logger().error("unforeseen", exc_info=error)
        except Exception as error:  # noqa: BLE001 -- nothing of it may reach the client
            logs.get_logger().error("unforeseen", exc_info=error)
        return _answer(request, 500, FAILED)

    return answer


def _answer(request: Request, status: int, text: str) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        return error_page(text, status, title="The server has a problem", retry_after=5 if status == UNAVAILABLE else 0)
    error = "temporarily_unavailable" if status == UNAVAILABLE else "server_error"
    return JSONResponse({"error": error, "error_description": text}, status, {"Cache-Control": "no-store"})
