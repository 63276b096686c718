"""One change of one resource, as the change feed tells it.

A change is a version: `Patient/123` at version 4 is changed once, however often it is told.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from fhir_server.fhir.reference import parse

Kind = Literal["created", "updated", "deleted"]
Elements = Mapping[str, Any]

SUBJECT = ("subject", "patient", "for")
"""Elements that say which patient a resource is about."""


@dataclass(frozen=True, slots=True)
class Change:
    """A version that was written."""

    tenant: str
    type: str
    id: str
    version: int
    moment: datetime
    """`meta.lastUpdated` of the version."""
    deleted: bool
    elements: Elements = field(default_factory=dict)
    """Those elements of the resource that were asked for, as far as it has them; none of a deletion."""
    previous: Elements | None = None
    """The same of the version before, where that was asked for; None where there was none, or it was a deletion."""

    @property
    def kind(self) -> Kind:
        """What happened, in the words of FHIR's interactions."""
        return "deleted" if self.deleted else "created" if self.version == 1 else "updated"

    @property
    def reference(self) -> str:
        """The relative reference to the resource."""
        return f"{self.type}/{self.id}"

    @property
    def patient(self) -> str:
        """The patient that the change is about, such as `Patient/123`; empty where the resource names none."""
        if self.type == "Patient":
            return self.reference
        for name in SUBJECT:
            value = self.elements.get(name)
            text = value.get("reference") if isinstance(value, Mapping) else None
            if isinstance(text, str) and (target := parse(text, "").target) is not None and target[0] == "Patient":
                return f"Patient/{target[1]}"
        return ""

    @staticmethod
    def from_document(type_: str, document: Mapping[str, Any], elements: frozenset[str] | None = None) -> "Change":
        """Read a document, or a part of one, of a current or a history collection; `elements` are those asked for, if not all."""
        found: Elements = document.get("r") or {}
        if elements is not None:
            found = {name: value for name, value in found.items() if name in elements or name in SUBJECT}
        return Change(
            tenant=document["t"],
            type=type_,
            id=document["i"],
            version=document["v"],
            moment=document["u"],
            deleted=bool(document.get("d")),
            elements=found,
        )


def projection(elements: Iterable[str], prefix: str = "") -> dict[str, int]:
    """Return the projection of a document to what `Change.from_document` reads."""
    names = ["t", "i", "v", "u", "d", *(f"r.{name}.reference" for name in SUBJECT if name not in elements)]
    names += [f"r.{name}" for name in sorted(elements)]
    return {prefix + name: 1 for name in names}
