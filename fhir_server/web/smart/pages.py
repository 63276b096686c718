"""Pages: plain HTML with no script and nothing from elsewhere, which no other site may frame."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

_TEMPLATES: Final = Path(__file__).parent / "templates"
_environment = Environment(
    loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


_SELF: Final = "'self'"
HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Within the site a POST has to say its origin; beyond it nothing may say where somebody came from.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "interest-cohort=()",
}


def _day(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y}"


_environment.filters["day"] = _day


def page(template: str, /, *, status: int = 200, targets: Sequence[str] = (), retry_after: int = 0, **values: Any) -> Response:
    """Return a page; `targets` are further places that its forms may lead to, by a redirect."""
    nonce = secrets.token_urlsafe(16)
    text = _environment.get_template(f"{template}.html").render(nonce=nonce, **values)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action {' '.join((_SELF, *targets))}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {**HEADERS, "Content-Security-Policy": policy}
    if retry_after:
        headers["Retry-After"] = str(retry_after)
    return HTMLResponse(text, status, headers)


def error_page(text: str, status: int = 400, *, title: str = "This did not work", retry_after: int = 0) -> Response:
    """Return a page that says what is wrong, where nothing can be sent back to the app."""
    return page("error", status=status, title=title, text=text, retry_after=retry_after)


def see(url: str) -> Response:
    """Return a redirect after which the browser sends GET, and no form (RFC 9700, section 4.12)."""
    return RedirectResponse(url, 303, HEADERS)
