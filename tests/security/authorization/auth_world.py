"""Who and what the tests of the authorization server are about, and a browser that looks at its pages."""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from argon2 import PasswordHasher
from joserfc import jwt
from joserfc.jwk import RSAKey
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.security.authorization.clients import Client
from fhir_server.security.authorization.service import Service
from fhir_server.security.authorization.users import User

ORIGIN = "http://127.0.0.1:8080"
BASE = f"{ORIGIN}/fhir"
CALLBACK = "https://app.example.org/callback"
PASSWORD = "correct horse battery staple"
HASH = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
VERIFIER = "v" * 64
SECRET = "the secret of a confidential app, with many bits"
SCOPES = (
    "openid",
    "fhirUser",
    "launch",
    "launch/patient",
    "launch/encounter",
    "offline_access",
    "online_access",
    "patient/*.cruds",
    "user/*.cruds",
)
BACKEND_KEY = RSAKey.generate_key(2048, {"kid": "backend-1"})


@dataclass
class Clock:
    """A clock that tests turn forward."""

    moved: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        """Return the time."""
        return datetime.now(UTC).replace(microsecond=0) + self.moved

    def forward(self, **parts: float) -> None:
        """Let time pass."""
        self.moved += timedelta(**parts)


def client_for(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> httpx.AsyncClient:
    """Return a client of an application with these settings."""
    from fhir_server.web.app import create_app  # noqa: PLC0415

    # An address of its own, since what is throttled is counted by it.
    address = f"2001:db8::{secrets.token_hex(2)}:{secrets.token_hex(2)}"
    transport = httpx.ASGITransport(create_app(settings, database), client=(address, 50000))
    return httpx.AsyncClient(transport=transport, base_url=ORIGIN)


@dataclass
class World:
    """Who is there: a clinician, a patient, an app for each kind of client, a backend service, an EHR, two patients."""

    service: Service
    tenant: str
    clinician: User
    patient_user: User
    public: Client
    confidential: Client
    backend: Client
    ehr: Client
    trusted: Client
    patient: str = ""
    other_patient: str = ""
    others: dict[str, Any] = field(default_factory=dict)


async def make_patients(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> tuple[str, str]:
    async with client_for(settings.model_copy(update={"auth": "off", "extensions": ""}), database) as http:
        ids = []
        for given in ("Amy", "Bert"):
            body = {
                "resourceType": "Patient",
                "name": [{"family": "Shaw", "given": [given]}],
                "birthDate": "1987-02-20",
                "gender": "female",
            }
            answer = await http.post("/fhir/Patient", json=body)
            assert answer.status_code == 201, answer.text
            ids.append(answer.json()["id"])
    return ids[0], ids[1]


def challenge(verifier: str = VERIFIER) -> str:
    """Return the PKCE challenge of a verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def request_params(
    client: Client, scope: str = "launch/patient patient/*.rs openid fhirUser", **changes: str | None
) -> dict[str, str]:
    """Return the parameters of a good authorization request, with changes; None takes one away."""
    params: dict[str, str | None] = {
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": CALLBACK,
        "scope": scope,
        "state": "state-of-the-app",
        "aud": BASE,
        "code_challenge": challenge(),
        "code_challenge_method": "S256",
        **changes,
    }
    return {name: value for name, value in params.items() if value is not None}


class Browser:
    """A person's browser at the authorization server: it keeps cookies and fills in forms."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.cookies: dict[str, str] = {}
        self.page: httpx.Response | None = None

    async def send(self, method: str, url: str, **sent: Any) -> httpx.Response:
        """Send one request, follow no redirect."""
        self.http.cookies.clear()
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()), **sent.pop("headers", {})}
        answer = await self.http.request(method, url, headers=headers, follow_redirects=False, **sent)
        for header in answer.headers.get_list("set-cookie"):
            name, _, value = header.partition(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
        return answer

    async def go(self, method: str, url: str, **sent: Any) -> httpx.Response:
        """Send a request and follow redirects as long as they stay here; keep the page."""
        answer = await self.send(method, url, **sent)
        while answer.is_redirect and answer.headers["location"].startswith(ORIGIN):
            answer = await self.send("GET", answer.headers["location"])
        self.page = answer
        return answer

    async def authorize(self, params: dict[str, str]) -> httpx.Response:
        """Follow an app to the authorization endpoint."""
        return await self.go("GET", "/auth/authorize", params=params)

    async def submit(self, action: str, **values: Any) -> httpx.Response:
        """Send the page's form to the action that ends so, with its hidden field."""
        assert self.page is not None
        text = self.page.text
        targets = re.findall(r'(?:form)?action="([^"]+)"', text)
        target = next(found for found in targets if found.endswith("/" + action))
        token = re.search(r'name="form_token" value="([^"]+)"', text)
        assert token is not None
        return await self.go("POST", target, data={"form_token": token[1], **values})

    async def log_in(self, user: User, password: str = PASSWORD) -> httpx.Response:
        """Fill in the login page."""
        return await self.submit("login", name=user.name, password=password)

    def scopes(self) -> list[str]:
        """Return the scopes that the consent page asks about."""
        assert self.page is not None
        return re.findall(r'name="scope" value="([^"]+)"', self.page.text)

    def parts(self) -> list[str]:
        """Return the parts of scopes for every type that the consent page asks about."""
        assert self.page is not None
        return re.findall(r'name="part" value="([^"]+)"', self.page.text)

    async def allow(self, scopes: list[str] | None = None, parts: list[str] | None = None) -> httpx.Response:
        """Consent to the scopes, or to all, and to their parts, or to all."""
        asked = self.scopes() if scopes is None else scopes
        return await self.submit("consent", scope=asked, part=self.parts() if parts is None else parts)


def sent_to_app(answer: httpx.Response) -> dict[str, str]:
    """Return the parameters with which the browser was sent to the app."""
    assert answer.status_code == 303, answer.text
    location = answer.headers["location"]
    assert location.startswith(CALLBACK + "?"), location
    return dict(parse_qsl(urlsplit(location).query))


async def code_for(browser: Browser, params: dict[str, str], user: User, patient: str = "") -> str:
    """Return the code that an app gets when a user logs in, chooses the patient if asked, and allows everything."""
    await browser.authorize(params)
    answer = await browser.log_in(user)
    if patient:
        answer = await browser.submit("patient", patient=patient)
    if answer.status_code == 200:
        answer = await browser.allow()
    return sent_to_app(answer)["code"]


async def redeem(web: httpx.AsyncClient, client: Client, code: str, **changes: Any) -> httpx.Response:
    """Redeem a code as a client does, with changes to the form; `auth` is passed on."""
    auth = changes.pop("auth", (client.id, SECRET) if client.confidential else None)
    form: dict[str, Any] = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    if not client.confidential:
        form["client_id"] = client.id
    form = {name: value for name, value in {**form, **changes}.items() if value is not None}
    return await web.post("/auth/token", data=form, **({"auth": auth} if auth else {}))


async def tokens_for(browser: Browser, client: Client, user: User, scope: str, patient: str = "") -> dict[str, Any]:
    """Return the token response of a whole launch."""
    code = await code_for(browser, request_params(client, scope), user, patient)
    answer = await redeem(browser.http, client, code)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def refresh(web: httpx.AsyncClient, client: Client, token: str, **changes: Any) -> httpx.Response:
    """Use a refresh token."""
    form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": client.id, **changes}
    return await web.post("/auth/token", data=form)


def assertion(
    client: Client, key: Any = BACKEND_KEY, alg: str = "RS384", header: dict[str, Any] | None = None, **changes: Any
) -> str:
    """Return a client assertion, with changes to its claims; None takes one away."""
    now = int(datetime.now(UTC).timestamp())
    claims = {
        "iss": client.id,
        "sub": client.id,
        "aud": f"{ORIGIN}/auth/token",
        "exp": now + 240,
        "jti": secrets.token_urlsafe(16),
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode({"alg": alg, "kid": key.kid, **(header or {})}, claims, key, algorithms=[alg])


async def backend_token(
    web: httpx.AsyncClient, assertion_: str, scope: str = "system/Patient.rs", **changes: Any
) -> httpx.Response:
    """Ask for a token as a backend service does."""
    form = {
        "grant_type": "client_credentials",
        "scope": scope,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion_,
        **changes,
    }
    return await web.post("/auth/token", data=form)
