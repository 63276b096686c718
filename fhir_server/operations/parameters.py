"""Reading and making Parameters: https://hl7.org/fhir/R4/parameters.html."""

from collections.abc import Iterable, Mapping
from typing import Any

from fhir_server.exchange import Call, Resource
from fhir_server.fhir.outcome import bad_request

Values = Mapping[str, Any]


def given(call: Call, known: Mapping[str, str], *, repeats: Iterable[str] = ()) -> dict[str, Any]:
    """Return what a request says by its query or by its body, by name; `known` are the names with the members of their values.

    Values of a query are texts. Those of `repeats` are lists.

    Raises:
        FhirError: 400, with the parameter that is unknown, of another type, or there twice.
    """
    found: dict[str, Any] = {}
    several = frozenset(repeats)
    for name, value, path in (*_of_query(call), *_of_body(call, known)):
        if name not in known:
            raise bad_request(f"{name!r} is no parameter of ${call.operation}; there are: {', '.join(known)}.", path)
        if name in several:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise bad_request(f"The parameter {name!r} is there twice.", path)
        else:
            found[name] = value
    return found


def _of_query(call: Call) -> list[tuple[str, Any, str]]:
    return [(name, value, "") for name, value in call.params]


def _of_body(call: Call, known: Mapping[str, str]) -> list[tuple[str, Any, str]]:
    body = call.resource
    if body is None:
        return []
    if not isinstance(body, dict) or body.get("resourceType") != "Parameters":
        raise bad_request(f"${call.operation} takes Parameters.", "resourceType")
    found = []
    for place, parameter in enumerate(body.get("parameter") or ()):
        path = f"Parameters.parameter[{place}]"
        name = str(parameter.get("name", "")) if isinstance(parameter, dict) else ""
        member = known.get(name, "")
        if member and member not in parameter:
            raise bad_request(f"The parameter {name!r} needs its {member}.", path, code="required")
        found.append((name, parameter.get(member) if member else None, path))
    return found


def number(values: Values, name: str) -> int | None:
    """Return a whole number, None where it is not given.

    Raises:
        FhirError: 400, it is none.
    """
    value = values.get(name)
    if value is None:
        return None
    try:
        return int(str(value))
    except ValueError:
        raise bad_request(f"{name}: {value!r} is not a whole number.", code="value") from None


def parameters(**values: tuple[str, Any] | None) -> Resource:
    """Return Parameters: by name the member and the value; names are written with `-` for `_`."""
    found = [
        {"name": name.replace("_", "-"), value[0]: value[1]}
        for name, value in values.items()
        if value is not None and value[1] != ""
    ]
    return {"resourceType": "Parameters", "parameter": found}
