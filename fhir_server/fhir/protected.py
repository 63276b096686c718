"""Identifiers that are to be kept from whoever reads the database, such as social security numbers: where they stand.

An Identifier is any object with a protected `system` and a `value`, at whatever depth. Whatever other text of the same
resource repeats the value (a narrative, an extension, an identifier of another system) is protected with it.

https://hl7.org/fhir/R4/datatypes.html#Identifier, docs/patients.md
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from fhir_server.fhir.codec import encode

SSN: Final = "http://hl7.org/fhir/sid/us-ssn"
_ALIASES: Final[Mapping[str, str]] = {"urn:oid:2.16.840.1.113883.4.1": SSN}
"""Other names of systems: https://terminology.hl7.org/NamingSystem-ssn.html."""
_SSN = re.compile(r"(?!000)\d{3}(?P<dash>-?)(?!00)\d{2}(?P=dash)(?!0000)\d{4}")
_MAY_BE_SSN = re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}")
FILLING = re.compile(r"[\s-]+")
"""What values are written with or without."""
LEAST: Final = 6
"""Shorter values are not looked for in other texts, where they may stand for something else."""
_FEW: Final = 16
Resource = dict[str, Any]
_NAMES: Final = frozenset({"resourceType", "system", "code"})
"""Members whose texts are never changed, so that a resource stays one."""


@dataclass(frozen=True, slots=True)
class Found:
    """One protected identifier."""

    system: str
    """The main name of its system."""
    value: str
    """As it is written."""

    @property
    def normal(self) -> str:
        """What it is compared by."""
        return normal(self.value)


@dataclass(frozen=True, slots=True)
class Systems:
    """The systems that are protected."""

    names: frozenset[str]
    """With their other names."""
    _needles: tuple[bytes, ...]
    quoted: tuple[bytes, ...]
    """The names as JSON has them."""
    is_plain: bool
    """Whether JSON writes each name in one way only."""

    def mentioned(self, data: bytes) -> bool:
        """Tell whether an encoded resource names one of them; a quick look before a thorough one."""
        return any(needle in data for needle in self._needles)

    def aliases(self, system: str) -> list[str]:
        """Return all names of a protected system, those of no other."""
        main = _ALIASES.get(system, system)
        return sorted(name for name in self.names if _ALIASES.get(name, name) == main)

    def may_hold(self, value: str) -> list[str]:
        """Return the main names of the systems that a value without one may be of."""
        text = value.strip()
        main = sorted({_ALIASES.get(name, name) for name in self.names})
        return [name for name in main if text and (name != SSN or _MAY_BE_SSN.fullmatch(text))]


@cache
def systems(names: str) -> Systems:
    """Return the protected systems that a comma-separated list names."""
    main = {_ALIASES.get(name.strip(), name.strip()) for name in names.split(",") if name.strip()}
    every = main | {other for other, name in _ALIASES.items() if name in main}
    needles = tuple(sorted(name.encode() for name in every))
    plain = all(map(_is_plain, every))
    return Systems(frozenset(every), needles, tuple(b'"%b"' % needle for needle in needles), plain)


def _is_plain(text: str) -> bool:
    """Tell whether JSON writes a text as it is."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def normal(value: str) -> str:
    """Return what a value is compared by: without spaces and hyphens, in upper case."""
    return FILLING.sub("", value).upper()


def is_ssn(value: str) -> bool:
    """Tell whether a value has the shape of a US social security number, in which no group is zero."""
    return _SSN.fullmatch(value) is not None


def main_name(system: str) -> str:
    """Return the main name of a system."""
    return _ALIASES.get(system, system)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at a resource has found."""

    found: list[Found]
    at_the_top: bool
    """Whether all of them surely stand in the resource's own identifiers, and no other text repeats one."""


def find(resource: Any, protected: Systems) -> list[Found]:
    """Return the protected identifiers of a resource, in no certain order."""
    return look(resource, protected).found


def look(resource: Any, protected: Systems) -> Looked:
    """Return the protected identifiers of a resource, in no certain order, and whether they stand where nearly all do.

    To write and search the JSON takes a fraction of the time that a walk through all members does.
    """
    own = resource.get("identifier", ()) if isinstance(resource, dict) else None
    if not protected.is_plain or not isinstance(own, list | tuple) or not all(isinstance(one, dict) for one in own):
        return Looked(_walked(resource, protected), at_the_top=False)
    try:
        json = encode(resource)
    except (TypeError, ValueError):
        return Looked(_walked(resource, protected), at_the_top=False)
    named = [one for one in own if one.get("system") in protected.names]
    if sum(map(json.count, protected.quoted)) != len(named):
        return Looked(_walked(resource, protected), at_the_top=False)
    found = [Found(main_name(one["system"]), one["value"]) for one in named if isinstance(one.get("value"), str)]
    return Looked(found, at_the_top=_stands_alone(json, found))


def _walked(resource: Any, protected: Systems) -> list[Found]:
    found = []
    nodes = [resource]
    # The list grows while it is walked.
    for node in nodes:
        if type(node) is dict:
            if node.get("system") in protected.names and isinstance(node.get("value"), str):
                found.append(Found(main_name(node["system"]), node["value"]))
            nodes.extend(value for value in node.values() if type(value) is dict or type(value) is list)
        else:
            nodes.extend(item for item in node if type(item) is dict or type(item) is list)
    return found


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of protected identifiers."""

    identifier: Callable[[dict[str, Any]], dict[str, Any]]
    """Of the Identifier, its members changed by now but for the value."""
    text: Callable[[str, "Repeated"], Any]
    """Of another text in which one is repeated."""


class Repeated:
    """The protected identifiers of a resource, as they may be written in its texts."""

    def __init__(self, found: Iterable[Found]) -> None:
        self._by_form = {form: one for one in found for form in forms(one.value)}
        self._pattern: re.Pattern[str] | None = None

    def within(self, text: str) -> bool:
        """Tell whether a text repeats one."""
        # To compile a pattern takes longer than to look at all texts of a resource for the few ways to write one number.
        if len(self._by_form) <= _FEW and not any(form in text for form in self._by_form):
            return False
        return bool(self._by_form) and self._compiled().search(text) is not None

    def values(self, text: str) -> set[str]:
        """Return the values, in their normal form, that a text repeats."""
        return {self._by_form[form].normal for form in self._compiled().findall(text)} if self._by_form else set()

    def replaced(self, text: str, replacement: Callable[[Found, str], str]) -> str:
        """Return the text with each of them replaced; `replacement` is given also how it is written there."""
        return self._compiled().sub(lambda match: replacement(self._by_form[match[0]], match[0]), text)

    def _compiled(self) -> re.Pattern[str]:
        if self._pattern is None:
            ways = "|".join(map(re.escape, sorted(self._by_form, key=len, reverse=True)))
            self._pattern = re.compile(rf"(?<![0-9A-Za-z])(?:{ways})(?![0-9A-Za-z])")
        return self._pattern


def changed(resource: Any, looked: Looked, protected: Systems, change: Change) -> Any:
    """Return a copy of the resource in which the protected identifiers that were found are changed."""
    if not looked.at_the_top:
        return _Changing(protected, Repeated(looked.found), change).copy(resource)
    if not looked.found:
        return resource
    own = resource["identifier"]
    return resource | {"identifier": [change.identifier(dict(one)) if _is_one(one, protected) else one for one in own]}


def _is_one(node: Any, protected: Systems) -> bool:
    return isinstance(node, dict) and node.get("system") in protected.names and isinstance(node.get("value"), str)


def _stands_alone(json: bytes, found: Sequence[Found]) -> bool:
    """Tell whether surely no other text repeats what was found."""
    own = Counter(one.value for one in found)
    # What JSON escapes would not be found as it is written.
    return all(_is_plain(form) and json.count(form.encode()) == own[form] for one in found for form in forms(one.value))


@dataclass(slots=True)
class _Changing:
    protected: Systems
    repeated: Repeated
    change: Change

    def copy(self, node: Any, name: str = "") -> Any:
        if isinstance(node, dict):
            is_one = node.get("system") in self.protected.names and isinstance(node.get("value"), str)
            members = {key: value if is_one and key == "value" else self.copy(value, key) for key, value in node.items()}
            return self.change.identifier(members) if is_one else members
        if isinstance(node, list):
            return [self.copy(item, name) for item in node]
        if type(node) is str and name not in _NAMES and self.repeated.within(node):
            return self.change.text(node, self.repeated)
        return node


def forms(value: str) -> Iterator[str]:
    """Yield the ways in which a value may be written."""
    bare = FILLING.sub("", value)
    if len(bare) < LEAST:
        return
    yield value
    yield bare
    if _MAY_BE_SSN.fullmatch(bare):
        for mark in "- ":
            yield mark.join((bare[:3], bare[3:5], bare[5:]))
