"""The end of an authorization request: the app gets its code, or is told that it does not."""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from authlib.oauth2.rfc6749 import OAuth2Error

from fhir_server.security.authorization import place as paths
from fhir_server.security.authorization.bridge import in_thread
from fhir_server.security.authorization.flows import Flow
from fhir_server.security.authorization.grantable import needs_patient
from fhir_server.security.authorization.grants import NEVER_USED, Grant
from fhir_server.security.authorization.requests import Reply, Request
from fhir_server.security.authorization.server import Server
from fhir_server.security.authorization.service import Service
from fhir_server.security.authorization.sessions import Session
from fhir_server.security.authorization.users import User


async def granted(service: Service, flow: Flow, session: Session, user: User, scopes: Iterable[str]) -> Reply:
    """Give the app a code for these scopes; return where the browser goes with it."""
    if not await service.flows.finish(flow.id) or (flow.launch and not await service.launches.use(flow.launch)):
        return await refused(service, flow.params, "invalid_request", "The request, or its launch, was used already.")
    grant = _grant(service, flow, session, user, tuple(scopes))
    structlog.get_logger().info("access was granted", user=user.id, tenant=user.tenant, client=flow.client, scope=grant.scope)
    return await in_thread(_responded, service, flow.params, user, grant)


async def refused(service: Service, params: Mapping[str, str], error: str, text: str = "") -> Reply:
    """Tell the app why it gets no code; return where the browser goes with that."""
    to_app = {"redirect_uri": params["redirect_uri"], "state": params.get("state")}
    return Server(service).refusal(OAuth2Error(text or None, error=error, **to_app))


def _grant(service: Service, flow: Flow, session: Session, user: User, scopes: tuple[str, ...]) -> Grant:
    now = service.now()
    in_context = needs_patient(scopes) or "launch" in scopes
    context: dict[str, Any] = {**flow.context}
    if in_context and flow.patient and "launch" not in scopes:
        # A standalone app has no EHR around it that shows whose record it is.
        context.setdefault("need_patient_banner", True)
    return Grant(
        id=secrets.token_urlsafe(24),
        tenant=user.tenant,
        client=flow.client,
        user=user.id,
        scopes=scopes,
        created=now,
        expires=session.expires if "online_access" in scopes else now + NEVER_USED,
        session=session.id,
        patient=flow.patient if in_context else "",
        encounter=flow.encounter if in_context else "",
        context=context,
        auth_time=session.auth_time,
        amr=session.amr,
    )


def _responded(service: Service, params: Mapping[str, str], user: User, grant: Grant) -> Reply:
    server = Server(service)
    asked = Request("GET", service.place.url(paths.AUTHORIZE), params.items())
    try:
        # Checked again: meanwhile the client may have been changed or switched off.
        code_grant = server.get_consent_grant(asked)
    except OAuth2Error as error:
        return server.refusal(error)
    code_grant.granted = grant
    reply: Reply = server.create_authorization_response(asked, grant_user=user, grant=code_grant)
    return reply
