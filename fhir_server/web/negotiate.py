"""Which format a client speaks and wants.

https://hl7.org/fhir/R4/http.html#mime-type and #parameters
"""

from functools import lru_cache
from typing import Literal

from fhir_server.fhir.outcome import not_acceptable, unsupported_media_type

Format = Literal["json", "xml"]
Body = Literal["json", "xml", "json-patch", "form"]

MEDIA_TYPES: dict[Format, str] = {"json": "application/fhir+json", "xml": "application/fhir+xml"}
_ANSWERS: dict[str, Format] = {
    "json": "json",
    "application/json": "json",
    "application/fhir+json": "json",
    "text/json": "json",
    "application/json+fhir": "json",
    "xml": "xml",
    "text/xml": "xml",
    "application/xml": "xml",
    "application/fhir+xml": "xml",
    "application/xml+fhir": "xml",
    "*/*": "json",
    "application/*": "json",
    "text/*": "json",
    # A browser that asks for a page is shown JSON.
    "text/html": "json",
    "application/json-patch+json": "json",
}
_BODIES: dict[str, Body] = {
    "application/json": "json",
    "application/fhir+json": "json",
    "application/json+fhir": "json",
    "text/json": "json",
    "application/xml": "xml",
    "application/fhir+xml": "xml",
    "application/xml+fhir": "xml",
    "text/xml": "xml",
    "application/json-patch+json": "json-patch",
    "application/x-www-form-urlencoded": "form",
}
_RESOURCES = frozenset(media for media in _ANSWERS if not media.endswith(("/*", "html", "json-patch+json")) and "/" in media)
"""Types that stand for the resource, not for its content."""
_UTF_8 = {"utf-8", "utf8", "us-ascii", "ascii"}


@lru_cache(maxsize=1024)
def answer_format(format_: str, accept: str) -> Format:
    """Return the format to answer in: that of `_format`, else the one that `Accept` prefers.

    Raises:
        FhirError: 406, when it is none that this server writes.
    """
    if format_:
        found = _ANSWERS.get(_media_type(format_.replace(" ", "+")))
        if found is None or _is_other_version(format_):
            raise not_acceptable(f"_format={format_!r} can not be served; use json or xml.")
        return found
    if not accept.strip():
        return "json"
    for _, media in sorted(_preferences(accept), key=lambda item: -item[0]):
        if _media_type(media) in _ANSWERS and not _is_other_version(media):
            return _ANSWERS[_media_type(media)]
    raise not_acceptable(f"Accept: {accept!r} can not be served; use application/fhir+json or application/fhir+xml.")


def _preferences(accept: str) -> list[tuple[float, str]]:
    found = []
    for part in accept.split(","):
        quality = _parameter(part, "q")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            weight = 1.0
        if weight > 0:
            found.append((weight, part))
    return found


@lru_cache(maxsize=1024)
def prefers_fhir(accept: str) -> bool:
    """Tell whether a client that reads a Binary would rather have the resource than its bytes.

    https://hl7.org/fhir/R4/binary.html#rest
    """
    preferences = sorted(_preferences(accept), key=lambda item: -item[0])
    return bool(preferences) and _media_type(preferences[0][1]) in _RESOURCES


def is_fhir_body(content_type: str) -> bool:
    """Tell whether what is sent to a Binary is a resource, and not its bytes."""
    return not content_type.strip() or _media_type(content_type) in _BODIES


@lru_cache(maxsize=1024)
def body_format(content_type: str) -> Body:
    """Return what a request body is.

    Raises:
        FhirError: 415, when it is nothing that this server reads.
    """
    if not content_type.strip():
        return "json"
    found = _BODIES.get(_media_type(content_type))
    charset = _parameter(content_type, "charset")
    if found is None:
        raise unsupported_media_type(
            f"Content-Type: {content_type!r} can not be read; send application/fhir+json or application/fhir+xml."
        )
    if charset and charset.lower() not in _UTF_8 and found != "xml":
        raise unsupported_media_type(f"The charset {charset!r} can not be read; send UTF-8.")
    if _is_other_version(content_type):
        raise unsupported_media_type(f"This server speaks FHIR 4.0, not {_parameter(content_type, 'fhirVersion')!r}.")
    return found


def _media_type(text: str) -> str:
    return text.partition(";")[0].strip().lower()


def _is_other_version(text: str) -> bool:
    version = _parameter(text, "fhirVersion")
    return bool(version) and version not in ("4.0", "4.0.1")


def _parameter(text: str, name: str) -> str:
    for part in text.split(";")[1:]:
        key, _, value = part.partition("=")
        if key.strip().lower() == name.lower():
            return value.strip().strip('"')
    return ""
