"""What the authorization server leaves in the audit trail: logins, logouts, tokens given, and what was refused."""

import base64
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from fhir_server.security.authorization.service import Service
from fhir_server.security.authorization.users import User
from fhir_server.web.observe import observation
from fhir_server.web.smart.browser import address

_REFUSED = 400


async def login(service: Service, request: Request, user: User | None, *, status: int = 200, detail: str = "") -> None:
    """Record that somebody logged in, or did not; `user` is None where the name is nobody's."""
    if service.recorder is None:
        return
    where = address(request, service.settings)
    seen = observation(request.scope).request_id
    if user is None:
        await service.recorder.refused(service.settings.default_tenant, "login", status, where, seen, detail)
    else:
        await service.recorder.event(
            user.tenant, "login", "login", status, principal=user.id, address=where, request_id=seen, detail=detail
        )


async def logout(service: Service, request: Request, user: User) -> None:
    """Record that somebody logged out."""
    if service.recorder is not None:
        where, seen = address(request, service.settings), observation(request.scope).request_id
        await service.recorder.event(user.tenant, "logout", "logout", principal=user.id, address=where, request_id=seen)


async def changed(service: Service, request: Request, user: User, code: str, client: str = "", detail: str = "") -> None:
    """Record what somebody changed of their account: `consent` to an app, `revoke` of it, `password`."""
    if service.recorder is not None:
        where, seen = address(request, service.settings), observation(request.scope).request_id
        await service.recorder.event(
            user.tenant, "account", code, principal=user.id, client=client, address=where, request_id=seen, detail=detail
        )


async def refused(service: Service, request: Request, code: str, status: int, error: str) -> None:
    """Record that a token did not open something here."""
    if service.recorder is not None:
        where, seen = address(request, service.settings), observation(request.scope).request_id
        await service.recorder.refused(service.settings.default_tenant, code, status, where, seen, error)


async def token(service: Service, request: Request, response: Response) -> None:
    """Record that an app or service got tokens, or did not."""
    if service.recorder is None:
        return
    where, seen = address(request, service.settings), observation(request.scope).request_id
    body = json.loads(bytes(response.body) or b"{}")
    if response.status_code >= _REFUSED:
        error = str(body.get("error", ""))[:100]
        await service.recorder.refused(service.settings.default_tenant, "token", response.status_code, where, seen, error)
        return
    claims = _claims(str(body.get("access_token", "")))
    await service.recorder.event(
        str(claims.get("tenant") or service.settings.default_tenant),
        "login",
        "token",
        principal=str(claims.get("sub", "")),
        client=str(claims.get("client_id", "")),
        address=where,
        request_id=seen,
    )


def _claims(token: str) -> dict[str, Any]:
    """Return what an access token of this server says."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""  # noqa: PLR2004 -- the parts of a signed token
    found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)) or b"{}")
    return found if isinstance(found, dict) else {}
