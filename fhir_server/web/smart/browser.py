"""What browsers send: forms, and the cookie of a session."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from fhir_server.config import Settings
from fhir_server.security.authorization.place import Place
from fhir_server.security.authorization.sessions import Session

MOST_BYTES: Final = 64 * 1024
FORM: Final = "application/x-www-form-urlencoded"
_SAME: Final = ("same-origin", "none")


class FormError(Exception):
    """The form can not be read, or was not sent by a page of ours; `status` is 400, 403, 413 or 415."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def read_bytes(request: Request) -> bytes:
    """Return the body.

    Raises:
        FormError: 413, it is too long.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise FormError(413, f"A form has at most {MOST_BYTES} bytes.")
    return body


async def read_params(request: Request) -> list[tuple[str, str]]:
    """Return the parameters of a form body, those without a value left out, as RFC 6749 section 3.1 says.

    Raises:
        FormError: it is no form.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise FormError(415, f"The body has to be {FORM}.")
    return parsed(await read_bytes(request))


def parsed(body: bytes) -> list[tuple[str, str]]:
    """Return the parameters of a form body, or of a query.

    Raises:
        FormError: they can not be read.
    """
    try:
        found = parse_qsl(body.decode("ascii"), errors="strict", max_num_fields=500)
    except (UnicodeDecodeError, ValueError):
        raise FormError(400, "The parameters are not percent-encoded UTF-8, or there are too many.") from None
    if any("\x00" in part for pair in found for part in pair):
        raise FormError(400, "A parameter holds the character NUL.")
    return found


async def read_form(request: Request, place: Place, session: Session | None) -> dict[str, list[str]]:
    """Return the values of a form that a page of this session sent.

    Raises:
        FormError: it came from elsewhere.
    """
    params = await read_params(request)
    values: dict[str, list[str]] = {}
    for name, value in params:
        values.setdefault(name, []).append(value)
    token = values.pop("form_token", [""])[0]
    if session is None or not session.owns(token) or not _is_same_origin(request, place):
        raise FormError(403, "The page was open for too long, or was not sent from here. Go back to the app and start again.")
    return values


def _is_same_origin(request: Request, place: Place) -> bool:
    if request.headers.get("sec-fetch-site", "none") not in _SAME:
        return False
    origin = request.headers.get("origin")
    return origin is None or origin == place.origin or urlsplit(origin).netloc == request.headers.get("host")


def first(values: Mapping[str, list[str]], name: str) -> str:
    """Return a form's value; empty where there is none."""
    return values.get(name, [""])[0]


def cookie_name(place: Place) -> str:
    """Return the name of the cookie; where there is TLS, one that no other host and no plain http can set."""
    return "__Host-fhir-session" if place.secure else "fhir-session"


def session_cookie(request: Request, place: Place) -> str:
    """Return the value of the session's cookie; empty where there is none."""
    return request.cookies.get(cookie_name(place), "")


def set_cookie(response: Response, place: Place, value: str) -> None:
    """Give the browser the cookie of a session; it goes when the browser closes."""
    response.set_cookie(cookie_name(place), value, path="/", secure=place.secure, httponly=True, samesite="lax")


def drop_cookie(response: Response, place: Place) -> None:
    """Take the cookie away."""
    response.delete_cookie(cookie_name(place), path="/", secure=place.secure, httponly=True, samesite="lax")


def address(request: Request, settings: Settings) -> str:
    """Return the address that a request comes from; a trusted proxy says whom it asks for."""
    direct = request.client.host if request.client else ""
    proxies = {name.strip() for name in settings.trusted_proxies.split(",") if name.strip()}
    if direct not in proxies and "*" not in proxies:
        return direct
    chain = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",") if part.strip()]
    return next((part for part in reversed(chain) if part not in proxies), direct)
