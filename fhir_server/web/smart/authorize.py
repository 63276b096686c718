"""The authorization endpoint, and the way of a request through the pages.

https://www.rfc-editor.org/rfc/rfc6749#section-3.1, https://hl7.org/fhir/smart-app-launch/app-launch.html
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from authlib.oauth2.rfc6749 import InvalidRequestError, InvalidScopeError, OAuth2Error
from starlette.requests import Request
from starlette.responses import Response

from fhir_server.security.authorization import place as paths
from fhir_server.security.authorization.bridge import in_thread
from fhir_server.security.authorization.clients import Client
from fhir_server.security.authorization.flows import Flow
from fhir_server.security.authorization.grantable import opens_data
from fhir_server.security.authorization.launches import Launch
from fhir_server.security.authorization.requests import Request as Asked
from fhir_server.security.authorization.server import Server
from fhir_server.web.smart.browser import FormError, parsed, read_params
from fhir_server.web.smart.pages import error_page, see
from fhir_server.web.smart.smart import Smart

FLOW: Final = "/auth/flow"
KNOWN: Final = (
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "aud",
    "launch",
    "nonce",
    "prompt",
    "max_age",
    "code_challenge",
    "code_challenge_method",
)
_UNSUPPORTED: Final = {"request": "request_not_supported", "request_uri": "request_uri_not_supported"}
_PLAIN: Final = re.compile(r"[\x20-\x7e]*")
_PROMPTS: Final = {"none", "login", "consent", "select_account"}


class Authorize:
    """Takes authorization requests."""

    def __init__(self, smart: Smart) -> None:
        self._smart = smart
        self._service = smart.service

    async def take(self, request: Request) -> Response:
        """Check a request, and lead the browser to the first page."""
        await self._service.prepare()
        try:
            given = await read_params(request) if request.method == "POST" else parsed(request.url.query.encode())
            params = single(given)
        except FormError as error:
            return error_page(str(error), error.status)
        try:
            client, scopes = await self._checked(params)
            flow = await self._begun(params, client, scopes)
        except OAuth2Error as error:
            return self.refusal(error, params)
        if request.method == "POST":
            # A form of another site brings no session cookie; a GET that follows it does.
            return see(f"{self._service.place.url(paths.AUTHORIZE)}?{urlencode(params)}")
        return see(self._service.place.url(f"{FLOW}/{flow.id}"))

    def refusal(self, error: OAuth2Error, params: Mapping[str, str]) -> Response:
        """Send an error to the app, if its redirect URI is known to be its own; else say it to the person."""
        error.state = params.get("state")
        if not error.redirect_uri:
            return error_page(f"The app that sent you here made a mistake: {error.description or error.error}")
        return see(Server(self._service).refusal(error).location)

    async def _checked(self, params: Mapping[str, str]) -> tuple[Client, tuple[str, ...]]:
        """Return the client, and what of its scopes it may have."""
        asked = Asked("GET", self._service.place.url(paths.AUTHORIZE), params.items())
        grant = await in_thread(lambda: Server(self._service).get_consent_grant(asked))
        to_app = {"redirect_uri": grant.redirect_uri}
        for name, error in _UNSUPPORTED.items():
            if name in params:
                raise OAuth2Error(f"The parameter {name} is not supported.", error=error, **to_app)
        # Without an EHR there is nothing that `launch` could bring.
        scopes = tuple(scope for scope in grant.request.scope.split() if scope != "launch" or "launch" in params)
        if not scopes:
            raise InvalidScopeError("None of the scopes is known and allowed for this app.", **to_app)
        if opens_data(scopes) and not self._service.place.is_base(params.get("aud", "")):
            raise InvalidRequestError(f"The parameter aud has to be {self._service.place.base}.", **to_app)
        prompts = set(params.get("prompt", "").split())
        if not prompts <= _PROMPTS or ("none" in prompts and len(prompts) > 1) or not params.get("max_age", "0").isdecimal():
            raise InvalidRequestError("The parameter prompt or max_age has a value that is not known.", **to_app)
        return grant.request.client, scopes

    async def _begun(self, params: Mapping[str, str], client: Client, scopes: tuple[str, ...]) -> Flow:
        fields: dict[str, Any] = {"login_since": self._login_since(params)}
        value = params.get("launch", "")
        launch = await self._service.launches.get(value, client.id) if value else None
        if value and launch is None:
            text = "The launch was used already, is too old, or is for another app."
            raise InvalidRequestError(text, redirect_uri=params["redirect_uri"])
        if launch is not None:
            fields |= {"launch": value, **_launched(launch)}
        kept = {name: params[name] for name in KNOWN if name in params}
        return await self._service.flows.begin(params=kept, client=client.id, scopes=list(scopes), **fields)

    def _login_since(self, params: Mapping[str, str]) -> datetime | None:
        now = self._service.now()
        if {"login", "select_account"} & set(params.get("prompt", "").split()):
            return now
        return now - timedelta(seconds=min(int(params["max_age"][:9]), 10**8)) if "max_age" in params else None


def _launched(launch: Launch) -> dict[str, Any]:
    return {
        "tenant": launch.tenant,
        "only_user": launch.user,
        "context": dict(launch.context),
        "patient": launch.patient,
        "encounter": launch.encounter,
        "encounter_chosen": True,
    }


def single(given: list[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters by name.

    Raises:
        FormError: one is there twice (RFC 6749, section 3.1), or holds what no parameter does.
    """
    params = dict(given)
    if len(params) < len(given):
        raise FormError(400, "The app that sent you here made a mistake: a parameter of its request is there twice.")
    if not all(_PLAIN.fullmatch(value) for value in params.values()):
        raise FormError(400, "The app that sent you here made a mistake: a parameter holds characters that are not allowed.")
    if {'"', "\\"} & set(params.get("response_type", "")):
        raise FormError(400, "The app that sent you here made a mistake: it asks for a response_type that is not known.")
    return params
