"""`/api/v1/prm/notifications/unsubscribe`: one click for mail programs, a page with a button for people.

https://www.rfc-editor.org/rfc/rfc8058 asks for a POST without a token of its own, and that a GET changes nothing: programs
that look for malware follow every link.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fhir_server.exchange import Context, Principal
from fhir_server.fhir.outcome import FhirError
from fhir_server.web.fhir import FhirApp
from fhir_server.web.receive import Headers
from prm_ext.common.problems import ProblemRoute
from prm_ext.notifications.answers import RIGHT_TO_LEFT, Texts, language_like, texts_of
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.unsubscribe import PATH, Ticket, resubscribe, tenant_of, ticket_of, unsubscribe

Action = Literal["kind", "all", "undo-kind", "undo-all"]

_MOST_BYTES: Final = 4096
_PROVIDER: Final = "unsubscribe"
_FORBIDDEN: Final = 403
_environment: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def unsubscribe_router(settings: NotificationSettings) -> APIRouter:
    """Return the routes; whoever has a link may use them."""
    router = APIRouter(route_class=ProblemRoute, include_in_schema=False)
    place = PATH + "/{token}"

    @router.get(place)
    async def ask(request: Request, token: str) -> HTMLResponse:
        """Ask what is not wanted."""
        found = await _enter(request, token)
        return _Page(request, settings, *found).question()

    @router.post(place)
    async def end(request: Request, token: str) -> HTMLResponse:
        """Do what was asked for: one click, or a button of the page."""
        ctx, ticket = await _enter(request, token)
        page = _Page(request, settings, ctx, ticket)
        if ctx is None or ticket is None:
            return page.question()
        action = await _action(request)
        everything = action.endswith("all")
        await (resubscribe if action.startswith("undo") else unsubscribe)(ctx, ticket, everything=everything)
        return page.done(action)

    return router


async def _enter(request: Request, token: str) -> tuple[Context | None, Ticket | None]:
    """Return the context of the tenant of a link, and what it is about; None for both where it is no link of ours."""
    door: FhirApp = request.app.state.fhir
    headers = Headers(request.scope["headers"])
    try:
        ctx = await door.signed(request.scope, headers, Principal(_PROVIDER, tenant=tenant_of(token)))
        ticket = await ticket_of(ctx, token)
    except FhirError as error:
        if error.status != _FORBIDDEN:
            raise
        ticket = None
    if ticket is None:
        await door.unsigned(request.scope, headers, _PROVIDER)
        return None, None
    return ctx, ticket


async def _action(request: Request) -> Action:
    """Return what a form asks for; a mail program that sends one click says nothing of it."""
    body = b""
    async for part in request.stream():
        body += part[: _MOST_BYTES - len(body)]
    asked = parse_qs(body.decode("latin-1")).get("do", [""])[0]
    actions: Sequence[Action] = ("kind", "all", "undo-kind", "undo-all")
    return next((one for one in actions if one == asked), "kind")


class _Page:
    """The page about one link, in the language that the browser asks for."""

    def __init__(self, request: Request, settings: NotificationSettings, ctx: Context | None, ticket: Ticket | None) -> None:
        self._language = _language(request.headers.get("accept-language", ""))
        self._texts: Texts = texts_of(self._language)
        self._ticket = ticket
        name = settings.of(ctx.tenant).organisation if ctx is not None else ""
        self._values = {"organisation": name or self._texts.page["us"], "address": _masked(ticket.address if ticket else "")}

    def question(self) -> HTMLResponse:
        """Ask what is not wanted; where the link is not good, say so."""
        if self._ticket is None:
            return self._response("title", "invalid", (), status=404)
        return self._response("question", "", (("kind", "stop_kind"), ("all", "stop_all")))

    def done(self, action: Action) -> HTMLResponse:
        """Say what has been done, and offer to take it back."""
        if action.startswith("undo"):
            return self._response("title", "undone", (("kind", "stop_kind"), ("all", "stop_all")))
        return self._response("title", "stopped_kind" if action == "kind" else "stopped_all", ((f"undo-{action}", "undo"),))

    def _response(self, heading: str, said: str, buttons: Sequence[tuple[str, str]], status: int = 200) -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        kind = self._ticket.kind if self._ticket else ""
        text = _environment.get_template("unsubscribe.html").render(
            nonce=nonce,
            language=self._language,
            direction="rtl" if self._language in RIGHT_TO_LEFT else "ltr",
            title=self._text("title"),
            heading=self._text(heading),
            said=self._text(said) if said else "",
            about=self._text("about") if self._ticket else "",
            kind=self._texts.kinds.get(kind, kind.replace("-", " ")),
            buttons=[(action, self._text(label)) for action, label in buttons],
        )
        policy = f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        headers = {"Content-Security-Policy": policy, "Content-Language": self._language, "Vary": "Accept-Language"}
        return HTMLResponse(text, status, headers)

    def _text(self, name: str) -> str:
        return self._texts.page[name].format_map(self._values)


def _language(accepted: str) -> str:
    """Return the first language of an Accept-Language header that there are texts in, English where there is none."""
    asked: list[tuple[float, str]] = []
    for part in accepted[:500].split(","):
        tag, _, weight = part.partition(";")
        asked.append((-_weight(weight), tag.strip()))
    for _, tag in sorted(asked, key=lambda one: one[0]):
        found = language_like(tag)
        if found != "en" or tag.lower().startswith("en"):
            return found
    return "en"


def _weight(text: str) -> float:
    try:
        return float(text.strip().removeprefix("q=") or 1)
    except ValueError:
        return 0.0


def _masked(address: str) -> str:
    """Return an email address as its owner knows it and nobody else does."""
    name, _, domain = address.partition("@")
    return f"{name[:1]}…@{domain}" if domain else address[-4:].rjust(6, "…")
