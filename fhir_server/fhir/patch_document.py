"""Reading the Parameters of a FHIRPath Patch: https://hl7.org/fhir/R4/fhirpatch.html."""

from dataclasses import dataclass, field
from typing import Any

from fhir_server.fhir.definitions import TYPES
from fhir_server.fhir.outcome import FhirError, bad_request, unprocessable

MAX_OPERATIONS = 500
MAX_PATH = 2000

_NEEDS: dict[str, tuple[str, ...]] = {
    "add": ("path", "name", "value"),
    "insert": ("path", "index", "value"),
    "delete": ("path",),
    "replace": ("path", "value"),
    "move": ("path", "source", "destination"),
}
_NUMBERS = frozenset({"index", "source", "destination"})
_PARTS = frozenset({"type", "path", "name", "value", "index", "source", "destination"})


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a patch."""

    number: int
    type: str
    path: str
    name: str = ""
    value: dict[str, Any] = field(default_factory=dict)
    """The part `value` as it came: with value[x], resource or parts."""
    value_type: str = ""
    """The type that value[x] states, else ""."""
    index: int = 0
    source: int = 0
    destination: int = 0

    def __str__(self) -> str:
        return f"FHIRPath Patch operation {self.number} ({self.type} {self.path[:200]})"

    def failed(self, why: str, code: str = "processing") -> FhirError:
        """422: the operation can not be carried out."""
        return unprocessable(f"{self}: {why}", code=code)


def parse_operations(parameters: Any) -> list[Operation]:
    """Return the operations of a patch.

    Raises:
        FhirError: 400 when it is none.
    """
    if not isinstance(parameters, dict) or parameters.get("resourceType") != "Parameters":
        raise bad_request("A FHIRPath Patch is a Parameters resource.")
    found = parameters.get("parameter", [])
    if not isinstance(found, list):
        raise bad_request("A FHIRPath Patch is a Parameters resource with a list of parameters.", "Parameters.parameter")
    if len(found) > MAX_OPERATIONS:
        raise bad_request(f"A FHIRPath Patch may hold {MAX_OPERATIONS} operations, not {len(found)}.", code="too-costly")
    return [_parse(number, parameter) for number, parameter in enumerate(found)]


def _parse(number: int, parameter: Any) -> Operation:
    where = f"FHIRPath Patch operation {number}"
    expression = f"Parameters.parameter[{number}]"
    if not isinstance(parameter, dict) or parameter.get("name") != "operation":
        name = parameter.get("name") if isinstance(parameter, dict) else parameter
        raise bad_request(f"{where}: the name of the parameter is {_quote(name)}; it must be 'operation'.", expression)
    parts = _parts(parameter, where, expression)
    type_ = _text(parts, "type", where, expression)
    if type_ not in _NEEDS:
        raise bad_request(f"{where}: type is {_quote(type_)}; it must be one of {', '.join(_NEEDS)}.", expression)
    missing = [name for name in _NEEDS[type_] if name not in parts]
    if missing:
        raise bad_request(f"{where} ({type_}) lacks the part {' and '.join(missing)}.", expression, code="required")
    path = _text(parts, "path", where, expression)
    if not path or len(path) > MAX_PATH:
        raise bad_request(f"{where}: the path must have 1 to {MAX_PATH} characters.", expression)
    return Operation(
        number,
        type_,
        path,
        name=_text(parts, "name", where, expression) if "name" in _NEEDS[type_] else "",
        value=parts.get("value", {}),
        value_type=value_type(parts.get("value", {})),
        **{name: _number(parts, name, where, expression) for name in _NEEDS[type_] if name in _NUMBERS},
    )


def _parts(parameter: dict[str, Any], where: str, expression: str) -> dict[str, dict[str, Any]]:
    parts: dict[str, dict[str, Any]] = {}
    found = parameter.get("part", [])
    for part in found if isinstance(found, list) else [found]:
        name = part.get("name") if isinstance(part, dict) else part
        if not isinstance(name, str) or name not in _PARTS:
            raise bad_request(f"{where}: there is no part {_quote(name)}; parts are {', '.join(sorted(_PARTS))}.", expression)
        if name in parts:
            raise bad_request(f"{where}: the part {name} stands more than once.", expression)
        parts[name] = part
    return parts


def _text(parts: dict[str, dict[str, Any]], name: str, where: str, expression: str) -> str:
    if name not in parts:
        raise bad_request(f"{where} lacks the part {name}.", expression, code="required")
    value = stated_value(parts[name])
    if not isinstance(value, str):
        raise bad_request(f"{where}: the part {name} must be a string; it is {_quote(value)}.", expression)
    return value


def _number(parts: dict[str, dict[str, Any]], name: str, where: str, expression: str) -> int:
    value = stated_value(parts[name])
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise bad_request(f"{where}: the part {name} must be a whole number from 0 on; it is {_quote(value)}.", expression)
    return value


def value_member(part: dict[str, Any]) -> str:
    """Return the name of the member of a part that holds its value[x] (or only the extensions of it), else ""."""
    for name in part:
        plain = name.removeprefix("_")
        if plain.startswith("value") and plain in TYPES["Parameters.parameter"].elements:
            return plain
    return ""


def stated_value(part: dict[str, Any]) -> Any:
    """Return the value[x] of a part."""
    return part.get(value_member(part))


def value_type(part: Any) -> str:
    """Return the type that the value[x] of a part states, else ""."""
    member = value_member(part) if isinstance(part, dict) else ""
    return TYPES["Parameters.parameter"].elements[member].type if member else ""


def _quote(value: Any) -> str:
    return repr(value)[:60] if value is not None else "missing"
