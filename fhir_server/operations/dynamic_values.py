"""Dynamic values of definitions: an expression gives a value, a path says where it goes.

https://hl7.org/fhir/R4/activitydefinition-definitions.html#ActivityDefinition.dynamicValue; paths are of the simple subset,
https://hl7.org/fhir/R4/fhirpath.html#simple.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from fhirpathpy.engine.nodes import FP_Quantity, FP_Time, FP_Type

from fhir_server.exchange import Resource
from fhir_server.fhir.definitions import TYPES, Element
from fhir_server.fhir.fhirpath import (
    SAFE_FUNCTIONS,
    Budget,
    Expression,
    FhirPathError,
    Node,
    compile_expression,
    evaluate,
)
from fhir_server.fhir.fhirpath.nodes import named
from fhir_server.fhir.outcome import FhirError, unprocessable

STEPS: Final = 20_000
"""That all expressions of one definition may take together."""
MOST_INDEX: Final = 100
_LANGUAGES: Final = frozenset({"text/fhirpath", "text/cql"})
"""CQL has the literals, the operators and most functions of FHIRPath: what is both is evaluated, other CQL is refused."""
_STEP: Final = re.compile(
    r"\.?(?:extension\((?P<quote>['\"])(?P<url>[^'\"]+)(?P=quote)\)|ofType\((?P<type>\w+)\)|(?P<name>[A-Za-z]\w*)(?:\[(?P<index>\d+)\])?)"
)
_DATE: Final = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT.*")
_UNITS: Final = {
    "year": "a",
    "month": "mo",
    "week": "wk",
    "day": "d",
    "hour": "h",
    "minute": "min",
    "second": "s",
    "millisecond": "ms",
}


@dataclass(frozen=True, slots=True)
class Environment:
    """What expressions see."""

    focus: Node
    variables: Mapping[str, Any]
    budget: Budget


def value_of(expression: Mapping[str, Any], environment: Environment, where: str) -> list[Any]:
    """Return what an Expression yields, as JSON values.

    Raises:
        FhirError: 422, it is in a language that is not evaluated here, or it fails.
    """
    language, text = str(expression.get("language", "")), expression.get("expression")
    if language not in _LANGUAGES or text is None:
        what = f"expressions in {language!r}" if text is not None else "expressions of libraries"
        raise unprocessable(f"{what} are not evaluated here; write FHIRPath.", f"{where}.expression", code="not-supported")
    try:
        found = evaluate(_safe(str(text)), environment.focus, environment.variables, budget=environment.budget)
    except FhirPathError as error:
        code = "not-supported" if language == "text/cql" else "invalid"
        raise unprocessable(f"The expression {text!r} fails: {error}.", f"{where}.expression", code=code) from None
    return [_json(one) for one in found]


def _safe(text: str) -> Expression:
    compiled = compile_expression(text)
    unsafe = sorted(compiled.functions - SAFE_FUNCTIONS)
    if unsafe:
        raise FhirPathError(f"the function {unsafe[0]}() may not be used")
    return compiled


def is_true(expression: Mapping[str, Any], environment: Environment, where: str) -> bool:
    """Tell whether an Expression, read as a condition, holds; see `value_of`."""
    return value_of(expression, environment, where) == [True]


def _json(value: Any) -> Any:
    if isinstance(value, FP_Quantity):
        unit = str(value.unit).strip("'")
        code = _UNITS.get(unit.removesuffix("s"), unit)
        return {"value": value.value, "unit": unit, "system": "http://unitsofmeasure.org", "code": code}
    if isinstance(value, FP_Time):
        text = str(value.asStr)
        return text if text.count(":") > 1 else f"{text}:00"
    return str(getattr(value, "asStr", value)) if isinstance(value, FP_Type) else value


def put(resource: Resource, path: str, values: list[Any], where: str) -> None:
    """Set the element at a path of a resource; without a value nothing is changed.

    What lies on the way is made where it is not there; of an element that repeats, a step without an index means the first.

    Raises:
        FhirError: 422, there is no such element, or the value does not fit it.
    """
    if not values:
        return
    steps = list(_steps(path, resource["resourceType"], where))
    node, type_ = resource, str(resource["resourceType"])
    for place, step in enumerate(steps):
        if step.url:
            node, type_ = _extension(node, step.url, where), "Extension"
            continue
        last = place == len(steps) - 1
        element = _element(type_, step, values if last else None, path, where)
        if last:
            _assign(node, element, step, values, path, where)
            return
        node, type_ = _below(node, element, step, path, where), element.type
    raise unprocessable(f"The path {path!r} names an extension, not its value: add `.value`.", f"{where}.path", code="value")


@dataclass(frozen=True, slots=True)
class _Step:
    name: str = ""
    index: int | None = None
    url: str = ""
    type: str = ""


def _steps(path: str, type_: str, where: str) -> Iterator[_Step]:
    text = path.removeprefix("%resource.").removeprefix(f"{type_}.")
    place, held = 0, None
    while place < len(text):
        match = _STEP.match(text, place)
        if match is None or (place == 0 and text.startswith(".")) or int(match["index"] or 0) > MOST_INDEX:
            raise unprocessable(f"The path {path!r} is no simple FHIRPath.", f"{where}.path", code="value")
        place = match.end()
        if match["type"] and held is not None:
            held = _Step(held.name, held.index, type=match["type"])
            continue
        if held is not None:
            yield held
        held = _Step(match["name"] or "", int(match["index"]) if match["index"] else None, match["url"] or "")
    if held is not None:
        yield held


def _element(type_: str, step: _Step, values: list[Any] | None, path: str, where: str) -> Element:
    """Return the element that a step means; of a choice that which the value fits."""
    found = [one for one in named(type_, step.name) if not step.type or one.type == step.type]
    fitting = found if values is None else [one for one in found if _fits(one, values[0])] or found[:1]
    if not fitting or (values is None and len(found) > 1):
        raise unprocessable(f"{type_} has no element {step.name!r}, or several: {path!r}.", f"{where}.path", code="value")
    return min(fitting, key=_preference)


def _preference(element: Element) -> int:
    order = ("string", "code", "uri", "dateTime", "CodeableConcept", "Reference", "Quantity")
    return order.index(element.type) if element.type in order else len(order)


def _fits(element: Element, value: Any) -> bool:
    type_ = TYPES.get(element.type)
    if isinstance(value, dict):
        return type_ is not None and type_.kind != "primitive" and set(value) <= set(type_.elements)
    if isinstance(value, bool):
        return element.type == "boolean"
    if isinstance(value, int | Decimal):
        whole = element.type in ("integer", "positiveInt", "unsignedInt")
        return element.type == "decimal" or (whole and value == int(value))
    if element.type in ("date", "dateTime", "instant", "time"):
        pattern = _DATE if element.type == "date" else _MOMENT
        return element.type == "time" or bool(pattern.fullmatch(value)) or (element.type == "dateTime" and _is_date(value))
    return type_ is not None and type_.kind == "primitive" and element.type not in ("boolean", "integer", "decimal")


def _is_date(value: str) -> bool:
    return bool(_DATE.fullmatch(value))


def _assign(node: Resource, element: Element, step: _Step, values: list[Any], path: str, where: str) -> None:
    if not all(_fits(element, value) for value in values):
        text = f"The value for {path!r} does not fit: it has to be a {element.type}."
        raise unprocessable(text, f"{where}.expression", code="value")
    for other in [name for name in node if element.choice and name != element.name]:
        # Of a choice there is one.
        if other.startswith(element.choice) and other[len(element.choice) : len(element.choice) + 1].isupper():
            del node[other]
    if element.max == 1:
        if len(values) > 1:
            raise unprocessable(f"There are {len(values)} values for {path!r}, which takes one.", f"{where}.expression")
        node[element.name] = values[0]
    elif step.index is None:
        node[element.name] = list(values)
    else:
        listed = node.setdefault(element.name, [])
        _check_order(listed, step.index, path, where)
        listed[step.index : step.index + 1] = values[:1]


def _below(node: Resource, element: Element, step: _Step, path: str, where: str) -> Resource:
    if element.max == 1:
        return _object(node.setdefault(element.name, {}), path, where)
    listed = node.setdefault(element.name, [])
    index = step.index or 0
    _check_order(listed, index, path, where)
    if index == len(listed):
        listed.append({})
    return _object(listed[index], path, where)


def _check_order(listed: list[Any], index: int, path: str, where: str) -> None:
    if index > len(listed):
        text = f"{path!r} has no place {index}: it would leave a gap; fill the places in their order."
        raise unprocessable(text, f"{where}.path", code="value")


def _object(value: Any, path: str, where: str) -> Resource:
    if not isinstance(value, dict):
        raise unprocessable(f"The path {path!r} leads through a value that has no elements.", f"{where}.path", code="value")
    return value


def _extension(node: Resource, url: str, where: str) -> Resource:
    listed = node.setdefault("extension", [])
    found = next((one for one in listed if one.get("url") == url), None)
    if found is None:
        found = {"url": url}
        listed.append(found)
    return _object(found, url, where)


def apply_dynamic_values(
    resource: Resource, dynamic_values: Iterable[Mapping[str, Any]], environment: Environment, where: str
) -> None:
    """Set what the dynamic values of a definition say, one after the other.

    Raises:
        FhirError: 422, one of them can not be evaluated, or has no place.
    """
    for place, one in enumerate(dynamic_values):
        at = f"{where}.dynamicValue[{place}]"
        expression, path = one.get("expression") or {}, one.get("path")
        if not path:
            raise FhirError(422, unprocessable("A dynamic value needs a path.", f"{at}.path", code="required").issues)
        put(resource, str(path), value_of(expression, environment, at), at)
