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
_FILLING = re.compile(r"[\s-]+")
_HIDDEN = re.compile(r"[^\s-]")
SHOWN: Final = 4
"""So many characters at the end of a masked value are shown."""
LEAST: Final = 6
"""Shorter values are not looked for in other texts, where they may stand for something else."""
MASK: Final = "*"
_FEW: Final = 16
ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
MASKED: Final = "masked"
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
    return Systems(frozenset(every), tuple(sorted(name.encode() for name in every)))


def normal(value: str) -> str:
    """Return what a value is compared by: without spaces and hyphens, in upper case."""
    return _FILLING.sub("", value).upper()


def is_ssn(value: str) -> bool:
    """Tell whether a value has the shape of a US social security number, in which no group is zero."""
    return _SSN.fullmatch(value) is not None


def main_name(system: str) -> str:
    """Return the main name of a system."""
    return _ALIASES.get(system, system)


def find(resource: Any, protected: Systems) -> list[Found]:
    """Return the protected identifiers of a resource, in no certain order."""
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
        self._by_form = {form: one for one in found for form in _forms(one.value)}
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


def changed(resource: Any, found: Sequence[Found], protected: Systems, change: Change) -> Any:
    """Return a copy of the resource in which the protected identifiers that were found are changed."""
    quick = _changed_at_the_top(resource, found, protected, change)
    return _Changing(protected, Repeated(found), change).copy(resource) if quick is None else quick


def _changed_at_the_top(resource: Any, found: Sequence[Found], protected: Systems, change: Change) -> Any:
    """Do the same where nearly all resources have them: in the resource's own identifiers and nowhere else; else None."""
    own = resource.get("identifier") if isinstance(resource, dict) else None
    if not isinstance(own, list) or sum(_is_one(one, protected) for one in own) != len(found):
        return None
    if not _stands_alone(resource, found):
        return None
    return resource | {"identifier": [change.identifier(dict(one)) if _is_one(one, protected) else one for one in own]}


def _is_one(node: Any, protected: Systems) -> bool:
    return isinstance(node, dict) and node.get("system") in protected.names and isinstance(node.get("value"), str)


def _stands_alone(resource: Any, found: Sequence[Found]) -> bool:
    """Tell whether surely no other text repeats what was found."""
    text = encode(resource).decode()
    own = Counter(one.value for one in found)
    # What JSON escapes would not be found as it is written.
    return all(
        form.isascii() and form.isprintable() and '"' not in form and "\\" not in form and text.count(form) == own[form]
        for one in found
        for form in _forms(one.value)
    )


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


def _forms(value: str) -> Iterator[str]:
    """Yield the ways in which a value may be written."""
    bare = _FILLING.sub("", value)
    if len(bare) < LEAST:
        return
    yield value
    yield bare
    if _MAY_BE_SSN.fullmatch(bare):
        for mark in "- ":
            yield mark.join((bare[:3], bare[3:5], bare[5:]))


def masked_value(value: str, shown: int = SHOWN) -> str:
    """Return a value of which the end is shown only: `***-**-6789`."""
    kept = max(0, len(value) - shown) if len(_FILLING.sub("", value)) >= LEAST else len(value)
    return _HIDDEN.sub(MASK, value[:kept]) + value[kept:]


def masked(resource: Any, protected: Systems, *, shown: int = SHOWN) -> Any:
    """Return what somebody may see who may not see protected identifiers; the same object where there are none.

    Of each value the last characters are shown; where that is none, the value is left out.
    """
    found = find(resource, protected)
    if not found:
        return resource

    def identifier(node: dict[str, Any]) -> dict[str, Any]:
        if is_masked(node):
            return node
        marked = _marked(node)
        if shown:
            return marked | {"value": masked_value(node["value"], shown)}
        return {name: value for name, value in marked.items() if name != "value"}

    def text(value: str, repeated: Repeated) -> str:
        return repeated.replaced(value, lambda _, written: masked_value(written, shown))

    return changed(resource, found, protected, Change(identifier, text))


def is_masked(node: Mapping[str, Any]) -> bool:
    """Tell whether an Identifier has been masked."""
    extensions = (node.get("_value") or {}).get("extension", ())
    return MASK in node.get("value", "") or any(one.get("url") == ABSENT and one.get("valueCode") == MASKED for one in extensions)


def _marked(node: dict[str, Any]) -> dict[str, Any]:
    beside = node.get("_value") or {}
    return node | {"_value": beside | {"extension": [*beside.get("extension", ()), {"url": ABSENT, "valueCode": MASKED}]}}


def unmarked(node: dict[str, Any]) -> dict[str, Any]:
    """Return an Identifier without the mark of a masked value."""
    beside = node.get("_value") or {}
    kept = [one for one in beside.get("extension", ()) if one.get("url") != ABSENT or one.get("valueCode") != MASKED]
    rest = {name: value for name, value in beside.items() if name != "extension"} | ({"extension": kept} if kept else {})
    return {name: value for name, value in node.items() if name != "_value"} | ({"_value": rest} if rest else {})


class Restoring:
    """Puts the values of an earlier version into the place of masked ones.

    A text that repeats a value is as it was where the identifier with the value is there as well, and nowhere else: who
    does not see a value must not bring it to a place where it is shown.
    """

    def __init__(self, previous: Resource | None, protected: Systems) -> None:
        self._protected = protected
        self._stored = find(previous, protected)[::-1] if previous else []
        self._repeated = Repeated(self._stored)
        self._texts: dict[str, str] = {}
        """Texts of the earlier version, by what is shown of them."""
        if self._stored:
            for shown in (0, SHOWN):
                self._texts |= _differences(masked(previous, protected, shown=shown), previous)
        self._back: set[str] = set()
        """The values that are restored, in their normal form."""
        self.missing: list[str] = []
        """The FHIRPaths of masked values that stand for none of the earlier version."""

    def restore(self, resource: Resource) -> Any:
        """Return the resource with the values that its masked ones stand for; the same object where none is masked."""
        found = self._copy(resource, resource.get("resourceType", ""))
        return self._with_texts(found) if self._back else found

    def _copy(self, node: Any, path: str) -> Any:
        if isinstance(node, dict):
            members = {name: self._copy(value, f"{path}.{name}") for name, value in node.items()}
            if node.get("system") in self._protected.names and is_masked(node):
                return self._restored(members, path)
            return node if all(members[name] is value for name, value in node.items()) else members
        if isinstance(node, list):
            items = [self._copy(item, f"{path}[{place}]") for place, item in enumerate(node)]
            return node if all(new is old for new, old in zip(items, node, strict=True)) else items
        return node

    def _restored(self, node: dict[str, Any], path: str) -> dict[str, Any]:
        shown = node.get("value", "")
        for place in reversed(range(len(self._stored))):
            one = self._stored[place]
            if one.system == main_name(node["system"]) and (not shown or masked_value(one.value) == shown):
                del self._stored[place]
                self._back.add(one.normal)
                return unmarked(node) | {"value": one.value}
        self.missing.append(f"{path}.value")
        return node

    def _with_texts(self, node: Any) -> Any:
        if isinstance(node, dict):
            return {name: self._with_texts(value) for name, value in node.items()}
        if isinstance(node, list):
            return [self._with_texts(item) for item in node]
        if isinstance(node, str) and node in self._texts:
            text = self._texts[node]
            return text if self._repeated.values(text) <= self._back else node
        return node


def _differences(one: Any, other: Any) -> dict[str, str]:
    """Return the texts that differ between a resource and its masked form, by the masked one."""
    found: dict[str, str] = {}
    pairs = [(one, other)]
    # The list grows while it is walked.
    for shown, whole in pairs:
        if isinstance(shown, dict):
            pairs.extend((shown[name], whole[name]) for name in shown if name in whole)
        elif isinstance(shown, list):
            pairs.extend(zip(shown, whole, strict=False))
        elif isinstance(shown, str) and shown != whole:
            found[shown] = whole
    return found
