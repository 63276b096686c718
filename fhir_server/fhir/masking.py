"""Protected identifiers for those who may not see them: masked on the way out, put back on the way in.

docs/patients.md
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from fhir_server.fhir.protected import FILLING, LEAST, Change, Repeated, Resource, Systems, changed, find, look, main_name

_HIDDEN = re.compile(r"[^\s-]")
SHOWN: Final = 4
"""So many characters at the end of a masked value are shown."""
MASK: Final = "*"
ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
MASKED: Final = "masked"


def masked_value(value: str, shown: int = SHOWN) -> str:
    """Return a value of which the end is shown only: `***-**-6789`."""
    kept = max(0, len(value) - shown) if len(FILLING.sub("", value)) >= LEAST else len(value)
    return _HIDDEN.sub(MASK, value[:kept]) + value[kept:]


def masked(resource: Any, protected: Systems, *, shown: int = SHOWN) -> Any:
    """Return what somebody may see who may not see protected identifiers; the same object where there are none.

    Of each value the last characters are shown; where that is none, the value is left out.
    """
    looked = look(resource, protected)
    if not looked.found:
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

    return changed(resource, looked, protected, Change(identifier, text))


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
