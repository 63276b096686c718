"""References, taken apart.

https://hl7.org/fhir/R4/references.html#literal, https://hl7.org/fhir/R4/references.html#canonical
"""

import re
from dataclasses import dataclass
from typing import Literal

from fhir_server.fhir.definitions import RESOURCE_TYPES

Kind = Literal["relative", "absolute", "fragment", "urn", "canonical"]
"""`relative` and `absolute` name a resource by type and id; `canonical` is every other url."""

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_RESTFUL = re.compile(
    r"(?:(?P<base>[a-z][a-z0-9+.-]*://[^?#|]*?)/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})"
    r"(?:/_history/(?P<version>[A-Za-z0-9\-.]{1,64}))?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A literal reference."""

    kind: Kind
    text: str
    """The reference itself, without its version."""
    type: str = ""
    id: str = ""
    """Of the resource, or the id after `#`."""
    version: str = ""
    """The versionId of a versioned reference, or what follows `|` in a canonical."""

    @property
    def target(self) -> tuple[str, str] | None:
        """Type and id on this server, where the reference is one to this server."""
        return (self.type, self.id) if self.kind == "relative" else None

    @property
    def versioned(self) -> str:
        """The reference with its version, "" where it has none."""
        if not self.version:
            return ""
        return f"{self.text}/_history/{self.version}" if self.type else f"{self.text}|{self.version}"


def parse(text: str, base_url: str = "") -> Reference:
    """Take a reference apart; one that starts with `base_url` (without a slash at its end) is made relative."""
    if text.startswith("#"):
        return Reference("fragment", text, id=text[1:])
    if text.startswith("urn:"):
        return _canonical(text, "urn")
    match = _RESTFUL.fullmatch(text)
    if match is None or match["type"] not in RESOURCE_TYPES:
        return _canonical(text, "canonical")
    base, type_, id_, version = match["base"], match["type"], match["id"], match["version"] or ""
    if base is None or base == base_url:
        return Reference("relative", f"{type_}/{id_}", type_, id_, version)
    return Reference("absolute", f"{base}/{type_}/{id_}", type_, id_, version)


def _canonical(text: str, kind: Kind) -> Reference:
    url, _, version = text.partition("|")
    return Reference(kind, url, version=version)
