"""Legal and preferred name, and other names: https://hl7.org/fhir/R4/datatypes.html#HumanName.

A flat name is one text. In FHIR it is taken apart as well, since EHRs show, and search by, given and family names; a
comma says where: `García Márquez, Gabriel`.
"""

import re
from typing import Any, Final

from prm_ext.patients.fields.field import Field, Resource, drop_item, index_of, is_member, objects, set_or_drop

OTHER_USES: Final = ("nickname", "maiden", "old")
_PREFIX: Final = re.compile(r"dr|mr|mrs|ms|miss|mx|prof|rev|sra|herr|frau|mme")
_SUFFIX: Final = re.compile(r"jr|sr|ii|iii|iv|md|phd|dds|esq|rn")
_PARTICLE: Final = re.compile(
    r"v[ao]n|vom|zu|zu[mr]|de[rnl]?|della|d[aiou]|do?a?s|l[aei]|l[ao]s|el|al|bin|ibn|bint|ben|bar|te[rn]|a[fv]|st|santa?|ma?c"
)
_PARSED: Final = {"text", "family", "given", "prefix", "suffix"}
_SPACES: Final = re.compile(r"\s+")


def shown(name: dict[str, Any]) -> str:
    """Return a HumanName as one text."""
    text = name.get("text")
    if isinstance(text, str) and text:
        return text
    given = [part for part in name.get("given", ()) if part]
    parts = [*name.get("prefix", ()), *given, name.get("family", ""), *name.get("suffix", ())]
    return " ".join(part for part in parts if isinstance(part, str) and part)


def parsed(text: str) -> dict[str, Any]:
    """Return a HumanName of a text, with the text in it."""
    head, comma, tail = (part.strip() for part in text.partition(","))
    prefix: list[str] = []
    if comma and tail and head and not _SUFFIX.fullmatch(_plain(tail.split()[0])):
        words, family = tail.split(), head
        given, suffix = _without_suffixes(words)
    else:
        words = text.replace(",", " ").split()
        if len(words) > 1 and _PREFIX.fullmatch(_plain(words[0])):
            prefix = [words.pop(0)]
        words, suffix = _without_suffixes(words)
        given, family = _split(words)
    name: dict[str, Any] = {"text": text}
    for member, value in (("family", family), ("given", given), ("prefix", prefix), ("suffix", suffix)):
        set_or_drop(name, member, value)
    return name


def _without_suffixes(words: list[str]) -> tuple[list[str], list[str]]:
    end = len(words)
    while end > 1 and _SUFFIX.fullmatch(_plain(words[end - 1])):
        end -= 1
    return words[:end], words[end:]


def _split(words: list[str]) -> tuple[list[str], str]:
    """Return given names and family name, which is the last word with the particles before it."""
    if len(words) < 2:  # noqa: PLR2004 -- one word alone is what somebody is called by
        return words, ""
    start = len(words) - 1
    while start > 1 and _PARTICLE.fullmatch(_plain(words[start - 1])):
        start -= 1
    return words[:start], " ".join(words[start:])


def _plain(word: str) -> str:
    return word.lower().rstrip(".,")


def _legal(resource: Resource) -> int | None:
    names = objects(resource, "name")
    official = index_of(names, is_member("use", "official"))
    return official if official is not None else index_of(names, lambda name: "use" not in name)


def _preferred(resource: Resource) -> int | None:
    return index_of(objects(resource, "name"), is_member("use", "usual"))


def _field(name: str, use: str, find: Any) -> Field:
    def read(resource: Resource) -> str | None:
        place = find(resource)
        return None if place is None else shown(resource["name"][place]) or None

    def write(resource: Resource, value: str | None) -> None:
        place = find(resource)
        if place is None:
            if value:
                resource.setdefault("name", []).insert(
                    0 if use == "official" else len(resource["name"]), {"use": use, **parsed(value)}
                )
        elif value is None:
            drop_item(resource, "name", place)
        elif shown(resource["name"][place]) != value:
            kept = {key: part for key, part in resource["name"][place].items() if key.lstrip("_") not in _PARSED}
            resource["name"][place] = kept | parsed(value)

    def places(resource: Resource) -> list[str]:
        place = find(resource)
        return [] if place is None else [f"name[{place}]"]

    return Field(name, f"Patient.name.where(use='{use}')", read, write, places)


def _others(resource: Resource) -> list[int]:
    return [place for place, name in enumerate(objects(resource, "name")) if name.get("use") in OTHER_USES and shown(name)]


def _read_aliases(resource: Resource) -> list[str] | None:
    return [shown(resource["name"][place]) for place in _others(resource)] or None


def _write_aliases(resource: Resource, value: list[str] | None) -> None:
    wanted = list(dict.fromkeys(value or ()))
    for place in reversed(_others(resource)):
        if shown(resource["name"][place]) not in wanted:
            drop_item(resource, "name", place)
    present = _read_aliases(resource) or []
    fresh = [{"use": "nickname", **parsed(text)} for text in wanted if text not in present]
    if fresh:
        resource.setdefault("name", []).extend(fresh)


def tidy(text: str) -> str:
    """Return a text without spaces around it, and with single ones within."""
    return _SPACES.sub(" ", text).strip()


FIELDS: Final = (
    _field("legal_name", "official", _legal),
    _field("preferred_name", "usual", _preferred),
    Field(
        "aliases",
        "Patient.name.where(use='nickname' or use='maiden' or use='old')",
        _read_aliases,
        _write_aliases,
        lambda resource: [f"name[{place}]" for place in _others(resource)],
    ),
)
