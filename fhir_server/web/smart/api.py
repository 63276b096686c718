"""The endpoints that programs call: they take forms and answer JSON."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from authlib.oauth2.rfc6749 import OAuth2Error
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fhir_server.fhir.outcome import FhirError
from fhir_server.security.authorization import place as paths
from fhir_server.security.authorization import requests
from fhir_server.security.authorization.attempts import Key
from fhir_server.security.authorization.bridge import in_thread
from fhir_server.security.authorization.launching import made
from fhir_server.security.authorization.server import Server
from fhir_server.security.authorization.service import Service
from fhir_server.security.authorization.userinfo import BearerError, userinfo
from fhir_server.web.observe import about
from fhir_server.web.smart import recording
from fhir_server.web.smart.browser import FormError, address, read_bytes, read_params

FORBIDDEN = 403
_NO_STORE = {"Cache-Control": "no-store"}
Answer = Callable[[requests.Request], requests.Reply]


class Api:
    """Token, introspection, revocation, registration, launch contexts and keys."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """Return the routes."""
        ways: dict[str, Callable[[Request], Awaitable[Response]]] = {
            paths.TOKEN: self.token,
            paths.INTROSPECT: self.introspect,
            paths.REVOKE: self.revoke,
            paths.LAUNCH: self.launch,
        }
        if self._service.settings.auth_registration != "off":
            ways[paths.REGISTER] = self.register
        return [
            *(Route(path, way, methods=["POST"]) for path, way in ways.items()),
            Route(paths.JWKS, self.jwks),
            Route(paths.USERINFO, self.userinfo, methods=["GET", "POST"]),
        ]

    async def token(self, request: Request) -> Response:
        """Give tokens: https://www.rfc-editor.org/rfc/rfc6749#section-3.2."""
        found = await self._answered(request, paths.TOKEN, lambda asked: Server(self._service).create_token_response(asked))
        await recording.token(self._service, request, found)
        return found

    async def introspect(self, request: Request) -> Response:
        """Tell about a token: https://www.rfc-editor.org/rfc/rfc7662#section-2."""
        return await self._endpoint(request, paths.INTROSPECT, "introspection")

    async def revoke(self, request: Request) -> Response:
        """Revoke a token: https://www.rfc-editor.org/rfc/rfc7009#section-2."""
        return await self._endpoint(request, paths.REVOKE, "revocation")

    async def launch(self, request: Request) -> Response:
        """Make a launch context for an EHR: docs/security/smart.md."""
        return await self._answered(request, paths.LAUNCH, lambda asked: made(Server(self._service), asked))

    async def jwks(self, _request: Request) -> Response:
        """Give the public keys."""
        await self._service.prepare()
        return JSONResponse(await self._service.keys.published(), headers={"Cache-Control": "public, max-age=60"})

    async def userinfo(self, request: Request) -> Response:
        """Tell who a token speaks for: https://openid.net/specs/openid-connect-core-1_0.html#UserInfo."""
        await self._service.prepare()
        scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
        if "access_token" in request.query_params:
            return _refusal(400, "invalid_request", "A token belongs into the header Authorization, not into the URL.")
        if scheme.lower() != "bearer" or not token.strip():
            return Response(status_code=401, headers={"WWW-Authenticate": "Bearer", **_NO_STORE})
        try:
            user, claims = await userinfo(self._service, token.strip())
            about(request.scope, user.tenant)
            return JSONResponse(claims, headers=_NO_STORE)
        except BearerError as error:
            found = error.status, error.error, str(error)
        except FhirError as error:
            if error.status != FORBIDDEN:
                raise
            found = error.status, "invalid_token", "The organisation of the user is suspended."
        await recording.refused(self._service, request, "token", *found[:2])
        challenge = f'Bearer error="{found[1]}", error_description="{found[2]}"'
        return _refusal(*found, {"WWW-Authenticate": challenge})

    async def register(self, request: Request) -> Response:
        """Register a client: https://www.rfc-editor.org/rfc/rfc7591#section-3."""
        await self._service.prepare()
        key = Key(f"register:{address(request, self._service.settings)}", 20)
        if pause := await self._service.attempts.pause([key]):
            return _refusal(
                429, "temporarily_unavailable", "Too many registrations; try again later.", {"Retry-After": str(pause)}
            )
        await self._service.attempts.failed([key])
        try:
            body = json.loads(await read_bytes(request))
        except FormError as error:
            return _refusal(error.status, "invalid_request", str(error))
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            return _refusal(400, "invalid_client_metadata", "The body has to be a JSON object.")
        asked = requests.RegistrationRequest(self._service.place.url(paths.REGISTER), body, request.headers)
        return _response(await in_thread(lambda: Server(self._service).create_endpoint_response("client_registration", asked)))

    async def _endpoint(self, request: Request, path: str, name: str) -> Response:
        return await self._answered(request, path, lambda asked: Server(self._service).create_endpoint_response(name, asked))

    async def _answered(self, request: Request, path: str, answer: Answer) -> Response:
        await self._service.prepare()
        if request.url.query:
            # What is in a URL ends up in logs and histories, so nothing here is read from one.
            return _refusal(400, "invalid_request", "Parameters belong into the body of the request, not into its URL.")
        try:
            params = await read_params(request)
        except FormError as error:
            return _refusal(error.status, "invalid_request", str(error))
        if len({name for name, _ in params}) < len(params):
            return _refusal(400, "invalid_request", "A parameter is there more than once.")
        asked = requests.Request("POST", self._service.place.url(path), params, request.headers)
        try:
            return _response(await in_thread(answer, asked))
        except OAuth2Error as error:
            return _response(Server(self._service).refusal(error))
        finally:
            about(request.scope, asked.tenant)


def _response(reply: requests.Reply) -> Response:
    headers = {name: value for name, value in reply.headers.items() if name.lower() != "content-type"}
    return JSONResponse(dict(reply.body), reply.status, headers)


def _refusal(status: int, error: str, text: str, headers: dict[str, str] | None = None) -> Response:
    body: dict[str, Any] = {"error": error, "error_description": text}
    return JSONResponse(body, status, {**_NO_STORE, **(headers or {})})
