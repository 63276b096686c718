"""From a request to who is asking and what they may do.

https://www.rfc-editor.org/rfc/rfc6750, docs/security/authentication.md
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote

import structlog
from starlette.types import Scope

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.exchange import Context, Principal
from fhir_server.fhir.outcome import FhirError, Issue, bad_request, unauthorized
from fhir_server.search.registry import Registry
from fhir_server.security.grants import permissions_for
from fhir_server.security.issuers import Issuer
from fhir_server.security.permissions import Permissions
from fhir_server.security.policies import Policies
from fhir_server.security.policy import Policy, PolicyError
from fhir_server.security.tenants import Tenants
from fhir_server.security.tokens import Tokens
from fhir_server.store.redirects import redirects_of
from fhir_server.web.rates import LocalRates, too_many
from fhir_server.web.receive import Headers

BREAK_GLASS: Final = b"x-break-glass"
SHORTEST_REASON: Final = 10
UNAUTHORIZED: Final = 401
CONSENT_SECONDS: Final = 5.0
"""How long what a Consent says may go unnoticed."""
MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    permissions: Permissions
    registry: Registry | None
    policy: Policy
    until: float


class Authentication:
    """Makes the contexts of requests that have to say who sends them."""

    def __init__(self, contexts: Contexts, tokens: Tokens, tenants: Tenants, clock: Callable[[], float] = time.monotonic) -> None:
        self._contexts = contexts
        self._settings: Settings = contexts.settings
        self._tokens = tokens
        self._tenants = tenants
        self._policies = Policies(self._settings.policy_dir)
        self._proxies = {name.strip() for name in self._settings.trusted_proxies.split(",") if name.strip()}
        self._mtls = self._settings.auth_mtls_header.strip().lower().encode("latin-1")
        self._bad = LocalRates(self._settings.rate_bad_tokens)
        self._clock = clock
        self._known: dict[Principal, _Known] = {}

    async def context(self, scope: Scope, headers: Headers, base_url: str, request_id: str, address: str) -> Context:
        """Return the context of a request from an address; that somebody is not let in is recorded.

        Raises:
            FhirError: 401, who is asking is not known; 403, the tenant is not open to them; 429, too many bad tokens.
        """
        found = self._at_once(headers, base_url, request_id, address)
        if found is not None:
            return found
        try:
            return await self._context(scope, headers, base_url, request_id, address)
        except FhirError as error:
            recorder = self._contexts.recorder
            if error.status == UNAUTHORIZED:
                self._bad.count(address)
            if recorder is not None and error.status in (UNAUTHORIZED, 403):
                tenant, detail = self._settings.default_tenant, error.headers.get("WWW-Authenticate", "")
                code = "token" if headers.get(b"authorization") else "anonymous"
                await recorder.refused(tenant, code, error.status, address, request_id, _kind(detail))
            raise

    def _at_once(self, headers: Headers, base_url: str, request_id: str, address: str) -> Context | None:
        """Return the context where all of what `_context` asks is known, and still in force: with most requests.

        Nothing is decided here that would be decided otherwise there; whatever is not plain is left to it.
        """
        header = headers.get(b"authorization")
        if header[:7] != "Bearer " or headers.get(BREAK_GLASS):
            return None
        principal = self._tokens.known(header[7:].strip())
        if principal is None or not self._tenants.admits_at_once(principal.tenant, principal.issuer):
            return None
        if (principal.patient or _patient_of(principal)) and not redirects_of(self._contexts.database).idle(principal.tenant):
            return None
        registry, known = self._contexts.registry_at_hand(principal.tenant), self._known.get(principal)
        if known is None or registry is None or not self._holds(known, registry, principal.tenant):
            return None
        return self._contexts.at_hand(base_url, registry, request_id, principal, known.permissions, address)

    def _holds(self, known: _Known, registry: Registry | None, tenant: str) -> bool:
        """Tell whether permissions are still what the policy, the search parameters and the consents make them."""
        return known.registry is registry and self._clock() < known.until and known.policy is self._policies.of(tenant)

    async def _context(self, scope: Scope, headers: Headers, base_url: str, request_id: str, address: str) -> Context:
        principal = await self._surviving(await self._principal(scope, headers, address))
        reason = headers.get(BREAK_GLASS)
        if reason:
            principal = replace(principal, break_glass=_reason(reason))
        await self._tenants.admit(principal.tenant, principal.issuer)
        access = await self._permissions(principal, base_url)
        if reason:
            structlog.get_logger().warning(
                "the glass is broken", principal=principal.id, tenant=principal.tenant, reason_length=len(principal.break_glass)
            )
        return await self._contexts.of(
            principal.tenant, base_url, request_id=request_id, principal=principal, access=access, address=address
        )

    async def _surviving(self, principal: Principal) -> Principal:
        """Return the principal with the record of the survivor, where the patient of the token has been merged into another."""
        user = _patient_of(principal)
        redirects = redirects_of(self._contexts.database)
        if not (principal.patient or user) or redirects.idle(principal.tenant) or not await redirects.refresh(principal.tenant):
            return principal
        survivors = await redirects.survivors(principal.tenant, {principal.patient, user} - {""})
        if not survivors:
            return principal
        return replace(
            principal,
            patient=survivors.get(principal.patient, principal.patient),
            fhir_user=f"Patient/{survivors.get(user, user)}" if user else principal.fhir_user,
        )

    async def _permissions(self, principal: Principal, base_url: str) -> Permissions:
        try:
            policy = self._policies.of(principal.tenant)
        except PolicyError:
            raise FhirError(
                500, (Issue("exception", "The policy of the tenant can not be used; `fhir-server doctor` says why."),)
            ) from None
        registry = await self._contexts.registry(principal.tenant)
        known, now = self._known.get(principal), self._clock()
        if known is not None and self._holds(known, registry, principal.tenant):
            return known.permissions
        ctx = await self._contexts.of(principal.tenant, base_url, principal=principal)
        permissions = await permissions_for(ctx, principal, policy)
        if len(self._known) >= MOST:
            self._known.clear()
        until = now + CONSENT_SECONDS if principal.patient else float("inf")
        self._known[principal] = _Known(permissions, registry, policy, until)
        return permissions

    async def _principal(self, scope: Scope, headers: Headers, address: str) -> Principal:
        scheme, _, token = headers.get(b"authorization").strip().partition(" ")
        token = token.strip()
        if scheme.lower() == "bearer" and token:
            if (wait := self._bad.wait(address)) and self._tokens.known(token) is None:
                raise too_many(wait, "Too many requests with bad tokens came from this address; wait, then send a good one.")
            return await self._tokens.principal(token)
        if scheme:
            raise unauthorized("Authorization takes a bearer token here.", "invalid_request")
        subject = self._certificate(scope, headers)
        if subject:
            return self._known_client(subject)
        raise unauthorized("Send an access token: Authorization: Bearer <token>.")

    def _certificate(self, scope: Scope, headers: Headers) -> str:
        """Return the subject of the client certificate that a trusted proxy has verified."""
        client = scope.get("client")
        if not self._mtls or not client or client[0] not in self._proxies:
            return ""
        return unquote(headers.get(self._mtls)).strip()

    def _known_client(self, subject: str) -> Principal:
        tenant = self._settings.default_tenant
        try:
            client = self._policies.of(tenant).clients.get(subject)
        except PolicyError:
            client = None
        if client is None:
            raise unauthorized("The client certificate is of nobody who is known here; `clients` of the policy names them.")
        return Principal(
            id=subject, client=subject, tenant=client.tenant or tenant, scopes=frozenset(client.scopes.split()), issuer="mtls"
        )


def authentication_of(contexts: Contexts, own: Issuer | None = None, own_audience: str = "") -> Authentication | None:
    """Return what asks for tokens, if the settings want that; `own` is the built-in authorization server."""
    if not contexts.settings.asks_for_tokens:
        return None
    tokens = Tokens(contexts.settings, own, own_audience=own_audience)
    return Authentication(contexts, tokens, Tenants(contexts.database))


def _patient_of(principal: Principal) -> str:
    """Return the id of the patient who the person is; "" where they are none."""
    return principal.fhir_user.removeprefix("Patient/") if principal.fhir_user.startswith("Patient/") else ""


def _kind(challenge: str) -> str:
    """Return the error code of a challenge: https://www.rfc-editor.org/rfc/rfc6750#section-3.1."""
    _, found, rest = challenge.partition('error="')
    return rest.partition('"')[0] if found else ""


def _reason(text: str) -> str:
    found = " ".join(text.split())
    if len(found) < SHORTEST_REASON:
        raise bad_request(
            f"X-Break-Glass takes a reason, in {SHORTEST_REASON} letters or more; an audit trail, where there is one, keeps it."
        )
    return found
