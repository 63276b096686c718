"""The border to fhirpathpy: its functions on plain values, and how it represents them."""

import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, cast

from fhirpathpy import do_eval  # type: ignore[attr-defined]  # It is not in their __all__.
from fhirpathpy.engine.invocations import invocation_registry
from fhirpathpy.engine.nodes import ResourceNode

from fhir_server.fhir.fhirpath.nodes import Node
from fhir_server.fhir.fhirpath.parse import FhirPathError, Tree

INVOCATIONS = cast("dict[str, dict[str, Any]]", invocation_registry)


def foreign(item: Any) -> Any:
    """Return an item as fhirpathpy represents it."""
    return ResourceNode.create_node(item.value, item.type) if isinstance(item, Node) else item  # type: ignore[no-untyped-call]


def native(item: Any) -> Any:
    """Return an item of fhirpathpy as ours; its place in the resource is lost."""
    return Node(item.data, item.path or "") if isinstance(item, ResourceNode) else item


def valueless(item: Any) -> bool:
    """Tell whether an item is a primitive without a value."""
    return isinstance(item, Node) and item.value is None


def context() -> dict[str, Any]:
    """Return the context that functions of fhirpathpy expect."""
    return {"model": _model(), "vars": {}, "dataRoot": [], "userInvocationTable": {}}


_ESCAPE: Final = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}


def literal(tree: Tree) -> list[Any]:
    """Return the value of a literal."""
    text = tree["children"][0]
    if text["type"] == "StringLiteral":
        # fhirpathpy takes the escapes one after the other, and so a backslash before an `n` for a line feed.
        return [_ESCAPE.sub(_unescaped, text["text"][1:-1])]
    return list(do_eval(context(), [], tree))  # type: ignore[no-untyped-call]


def _unescaped(match: re.Match[str]) -> str:
    """http://hl7.org/fhirpath/N1/index.html#string."""
    code = match[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPED.get(code, code)


def invoke(name: str, focus: list[Any], arguments: list[Any]) -> list[Any]:
    """Call a function that needs no place in the resource."""
    invocation = INVOCATIONS.get(name)
    if invocation is None or not name.isalpha():
        raise FhirPathError(f"there is no function {name}()")
    if len(arguments) not in invocation.get("arity", {0: []}):
        raise FhirPathError(f"{name}() does not take {len(arguments)} arguments")
    collection = [foreign(item) for item in focus if not valueless(item)]
    if not collection and invocation.get("nullable_input"):
        return []
    result = invocation["fn"](context(), collection, *arguments)
    found = result if isinstance(result, list) else [] if result is None else [result]
    return [native(item) for item in found]


@lru_cache(maxsize=1)
def _model() -> dict[str, Any]:
    folder = files("fhirpathpy") / "models" / "r4"
    names = ("choiceTypePaths", "path2Type", "pathsDefinedElsewhere", "type2Parent")
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in names}
