"""The authorization server's routes, for the application to serve."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.exchange import Context, Principal
from fhir_server.security.authorization import place as paths
from fhir_server.security.authorization.discovery import openid_configuration, smart_configuration
from fhir_server.security.authorization.service import Service
from fhir_server.security.grants import permissions_for
from fhir_server.security.policies import Policies
from fhir_server.web import logs
from fhir_server.web.base_url import PREFIX
from fhir_server.web.smart.api import Api
from fhir_server.web.smart.authorize import Authorize
from fhir_server.web.smart.directory import ContextOf, Directory
from fhir_server.web.smart.flow import FlowPages
from fhir_server.web.smart.login import Login
from fhir_server.web.smart.manage import ManagePages
from fhir_server.web.smart.net import caught
from fhir_server.web.smart.smart import Smart

WELL_KNOWN = "/.well-known/"


def routes(service: Service, contexts: Contexts) -> list[Route]:
    """Return the routes of the authorization server, and those of the discovery documents below the FHIR base."""
    smart = Smart(service, Directory(context_of(contexts), service.place))
    login = Login(smart)
    found = [
        *_discovery(service.settings),
        Route(paths.AUTHORIZE, Authorize(smart).take, methods=["GET", "POST"]),
        *FlowPages(smart, login).routes(),
        *ManagePages(smart, login).routes(),
        *Api(service).routes(),
    ]
    return [caught(route) for route in found]


def context_of(contexts: Contexts) -> ContextOf:
    """Return what makes a context for somebody who is logged in, with no more rights than their roles give."""
    policies = Policies(contexts.settings.policy_dir)

    async def found(principal: Principal) -> Context:
        base_url = contexts.settings.base_url
        whole = await contexts.of(principal.tenant, base_url, principal=principal)
        access = await permissions_for(whole, principal, policies.of(principal.tenant))
        seen = logs.request_id.get()
        return await contexts.of(principal.tenant, base_url, request_id=seen, principal=principal, access=access)

    return found


def _discovery(settings: Settings) -> list[Route]:
    smart, openid = smart_configuration(settings), openid_configuration(settings)

    async def smart_document(_request: Request) -> Response:
        return JSONResponse(smart, headers=_CACHED)

    async def openid_document(_request: Request) -> Response:
        return JSONResponse(openid, headers=_CACHED)

    return [
        Route(f"{PREFIX}{WELL_KNOWN}smart-configuration", smart_document),
        Route(f"{PREFIX}{WELL_KNOWN}openid-configuration", openid_document),
        Route(f"{WELL_KNOWN}smart-configuration", smart_document),
        Route(f"{WELL_KNOWN}openid-configuration", openid_document),
        Route(f"{WELL_KNOWN}oauth-authorization-server", openid_document),
    ]


_CACHED = {"Cache-Control": "public, max-age=300"}
