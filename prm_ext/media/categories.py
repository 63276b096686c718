"""The categories of media, and where they are from, in FHIR.

https://hl7.org/fhir/R4/valueset-c80-doc-typecodes.html
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

CATEGORY_SYSTEM: Final = "urn:prm:media-category"
SOURCE_SYSTEM: Final = "urn:prm:media-source"
_LOINC: Final = "http://loinc.org"

Category = Literal[
    "lab_result",
    "imaging",
    "insurance_card",
    "authorization_form",
    "identity_document",
    "voice_message",
    "profile_photo",
    "medical_record",
]
Source = Literal["upload", "recording", "attachment", "import"]
CATEGORIES: Final[tuple[str, ...]] = get_args(Category)

LOINC: Final[Mapping[str, tuple[str, str]]] = {
    "lab_result": ("11502-2", "Laboratory report"),
    "imaging": ("18748-4", "Diagnostic imaging study"),
    "insurance_card": ("64290-0", "Health insurance card"),
    "authorization_form": ("64292-6", "Release of information consent"),
    "profile_photo": ("72170-4", "Photographic image Unspecified body region Document"),
    "medical_record": ("11503-0", "Medical records"),
}
"""Codes and displays of LOINC; the other categories have codes of our own only."""


def concept(category: str) -> dict[str, Any]:
    """Return the CodeableConcept of a category."""
    codings: list[dict[str, Any]] = [{"system": CATEGORY_SYSTEM, "code": category}]
    if category in LOINC:
        code, display = LOINC[category]
        codings.append({"system": _LOINC, "code": code, "display": display})
    return {"coding": codings}


def category_of(document: Mapping[str, Any]) -> str | None:
    """Return the category of a DocumentReference: that of ours, else the one that its LOINC code stands for."""
    codings = [coding for one in (*document.get("category", ()), document.get("type", {})) for coding in one.get("coding", ())]
    for coding in codings:
        if coding.get("system") == CATEGORY_SYSTEM:
            return str(coding.get("code", ""))
    known = {code: category for category, (code, _) in LOINC.items()}
    return next((known[one["code"]] for one in codings if one.get("system") == _LOINC and one.get("code") in known), None)


def source_of(document: Mapping[str, Any]) -> str | None:
    """Return where a document is from."""
    tags = document.get("meta", {}).get("tag", ())
    return next((str(tag["code"]) for tag in tags if tag.get("system") == SOURCE_SYSTEM and "code" in tag), None)
