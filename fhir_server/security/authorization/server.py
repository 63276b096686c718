"""The protocol endpoints: Authlib's authorization server over our records.

https://docs.authlib.org/en/latest/oauth2/ . A server is made for each request, and runs in a thread of `bridge`.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749 import AuthorizationServer, InvalidClientError, InvalidRequestError, OAuth2Error

from fhir_server.security.authorization.assertion import PrivateKeyJwt
from fhir_server.security.authorization.bridge import wait
from fhir_server.security.authorization.clients import Client
from fhir_server.security.authorization.code import CodeGrant, Pkce, SmartIdentity
from fhir_server.security.authorization.endpoints import Introspection, Revocation
from fhir_server.security.authorization.other_grants import BackendGrant, RefreshGrant
from fhir_server.security.authorization.registration import Registration
from fhir_server.security.authorization.requests import RegistrationRequest, Reply, Request
from fhir_server.security.authorization.service import Service

# At the level debug Authlib logs tokens.
logging.getLogger("authlib").setLevel(logging.INFO)

_OWN_HEADERS: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class Server(AuthorizationServer):
    """Answers one request."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service
        self.place = service.place
        self.register_client_auth_method("private_key_jwt", PrivateKeyJwt(service))
        self.register_grant(CodeGrant, [Pkce(), SmartIdentity(service)])
        self.register_grant(RefreshGrant, [SmartIdentity(service)])
        self.register_grant(BackendGrant)
        self.register_endpoint(Introspection)
        self.register_endpoint(Revocation)
        self.register_endpoint(Registration(self))

    def query_client(self, client_id: str) -> Client | None:
        """Return a client that is registered and not switched off."""
        return wait(self.service.clients.get, client_id)

    def authenticate_client(self, request: Request, methods: list[str], endpoint: str = "token") -> Client:
        """Return the client that the request proves to come from.

        Raises:
            OAuth2Error: it proves nothing, or is given more than one proof (RFC 6749, section 2.3).
        """
        proofs = ("client_secret" in request.form, "client_assertion" in request.form, "Authorization" in request.headers)
        if sum(proofs) > 1:
            raise InvalidRequestError("The client authenticates by more than one method.")
        try:
            client: Client = super().authenticate_client(request, methods, endpoint)
        except ValueError:
            # What can not be decoded, or quoted in an answer.
            raise InvalidClientError("The client is not authenticated.", status_code=401) from None
        return client

    def save_token(self, token: Mapping[str, Any], request: Request) -> None:
        """Do nothing: `tokens.issued` has kept what has to be kept."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Do nothing: nobody listens."""

    def create_oauth2_request(self, request: Request) -> Request:
        """Return the request, which is made by our own hands already."""
        return request

    def create_json_request(self, request: RegistrationRequest) -> RegistrationRequest:
        """Return the request, which is made by our own hands already."""
        return request

    def validate_requested_scope(self, scope: str | None) -> None:
        """Do nothing: what is not known or not allowed falls away in `Client.get_allowed_scope`."""

    def handle_response(self, status: int, body: Any, headers: Any) -> Reply:
        """Return the answer; a redirect to a client tells who it comes from (RFC 9207), and is a 303 (RFC 9700, 4.12)."""
        found = dict(headers)
        if "Location" in found:
            found["Location"] = add_params_to_uri(found["Location"], {"iss": self.place.issuer})
            return Reply(303, {}, {**found, **_OWN_HEADERS})
        return Reply(status, body if isinstance(body, Mapping) else dict(body or ()), {**found, **_OWN_HEADERS})

    def refusal(self, error: OAuth2Error) -> Reply:
        """Return the answer to a request that was refused."""
        reply: Reply = self.handle_error_response(None, error)
        return reply
