"""Redirect URIs: https://www.rfc-editor.org/rfc/rfc9700#section-4.1 and https://www.rfc-editor.org/rfc/rfc8252#section-7.

They are compared character by character. Which ones may be registered at all is decided here.
"""

import ipaddress
import re
from urllib.parse import urlsplit

_PRIVATE_USE = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")
"""The scheme of a native app is a domain name in reverse: https://www.rfc-editor.org/rfc/rfc8252#section-7.1."""
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,2000}")


class RedirectUriError(ValueError):
    """The redirect URI may not be registered; the message says why."""


def check_redirect_uri(uri: str) -> str:
    """Return the URI, when it may be registered.

    Raises:
        RedirectUriError: it is not.
    """
    problem = _problem(uri)
    if problem:
        raise RedirectUriError(f"{uri[:200]!r} can not be a redirect URI: {problem}.")
    return uri


def _problem(uri: str) -> str:
    if not _PRINTABLE.fullmatch(uri) or any(sign in uri for sign in "\"'<>\\`"):
        return "it holds characters that no URI has"
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return "it is no URI"
    del port
    if "#" in uri:
        return "it has a fragment"
    if "*" in uri:
        return "it has a wildcard, and redirect URIs are compared exactly"
    if parts.scheme in ("http", "https"):
        return _web_problem(parts.scheme, parts.hostname or "", "@" in parts.netloc)
    if _PRIVATE_USE.fullmatch(parts.scheme):
        return ""
    return f"{parts.scheme}: is neither https nor the scheme of a native app, such as org.example.app:"


def _web_problem(scheme: str, host: str, has_user: bool) -> str:
    if not host:
        return "it names no host"
    if has_user:
        return "it names a user"
    if scheme == "http" and not is_loopback(host):
        return "http is for the loopback address only; use https"
    return ""


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def origin_of(uri: str) -> str:
    """Return the web origin of a URI as browsers write it, `https://app.example.org:8443`; empty where it has none."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in (None, default) else "")


def form_target(uri: str) -> str:
    """Return what a `form-action` of a Content-Security-Policy has to allow for a redirect to the URI."""
    return origin_of(uri) or urlsplit(uri).scheme + ":"
