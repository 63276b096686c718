"""Names and addresses as they read in a message: https://hl7.org/fhir/R4/datatypes.html#HumanName."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

Node = Mapping[str, Any]
_USES: Final = ("usual", "official", "", "nickname", "temp")
"""In which order names are taken; the other uses are of names that are none any more, or hide one."""
_DOCTOR: Final = re.compile(
    r"^(?:(?:dra?|doctora?|dott(?:\.?ssa)?|doutora?|docteur|doktor)(?:\.|\b)\s*(?:med\.\s*)?)+",
    re.IGNORECASE,
)


def name_of(resource: Node) -> Node:
    """Return the name that somebody is called by; empty where there is none."""
    names = resource.get("name", ())
    if not isinstance(names, Sequence) or isinstance(names, str):
        return {}
    ranked = [(place, one) for one in names if isinstance(one, Mapping) for place in _rank(one) if full(one)]
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else {}


def _rank(name: Node) -> tuple[int, ...]:
    use = name.get("use", "")
    return (_USES.index(use),) if use in _USES else ()


def full(name: Node) -> str:
    """Return a name as one text."""
    text = name.get("text")
    if isinstance(text, str) and text.strip():
        return text.strip()
    return _joined([*name.get("prefix", ()), *name.get("given", ()), name.get("family"), *name.get("suffix", ())])


def first(name: Node) -> str:
    """Return the first given name; of a name that is only a text its first word, titles left out."""
    given = next((one for one in name.get("given", ()) if isinstance(one, str) and one.strip()), "")
    if given or name.get("family"):
        return given
    words = without_doctor(full(name)).replace(",", " , ").split()
    # Behind a comma the given names follow.
    found = words[words.index(",") + 1 :] if "," in words else words
    return found[0] if found else ""


def last(name: Node) -> str:
    """Return the family name."""
    return str(name.get("family") or "")


def without_doctor(text: str) -> str:
    """Return a name without the title of a doctor: templates have it already."""
    return _DOCTOR.sub("", text).strip() or text


def address(value: Node) -> str:
    """Return an address on one line."""
    text = value.get("text")
    if isinstance(text, str) and text.strip():
        return ", ".join(line.strip(" ,") for line in text.splitlines() if line.strip(" ,"))
    region = _joined([value.get("state"), value.get("postalCode")])
    parts = [*value.get("line", ()), value.get("city"), region, value.get("country")]
    return ", ".join(part for part in parts if isinstance(part, str) and part)


def phone(resource: Node) -> str:
    """Return the phone number of a place."""
    telecom = [one for one in resource.get("telecom", ()) if one.get("system") == "phone" and one.get("value")]
    return str(min(telecom, key=lambda one: one.get("rank", 99))["value"]) if telecom else ""


def concept(value: Any) -> str:
    """Return what a CodeableConcept, or the first of several that says something, reads."""
    for one in value if isinstance(value, list) else [value] if value else []:
        texts = [one.get("text"), *(coding.get("display") for coding in one.get("coding", ()))]
        found = next((text for text in texts if text), "")
        if found:
            return str(found)
    return ""


def _joined(parts: list[Any]) -> str:
    return " ".join(part.strip() for part in parts if isinstance(part, str) and part.strip())
