"""The Parameters of `Patient/$merge` and `Patient/$undo-merge`.

https://build.fhir.org/patient-operation-merge.html
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fhir_server.exchange import Call, Resource
from fhir_server.fhir.outcome import FhirError, Issue, bad_request
from fhir_server.fhir.reference import parse
from fhir_server.fhir.validate import validate

_VALUES: Final[Mapping[str, str]] = {
    "source-patient": "valueReference",
    "source-patient-identifier": "valueIdentifier",
    "target-patient": "valueReference",
    "target-patient-identifier": "valueIdentifier",
    "result-patient": "resource",
    "preview": "valueBoolean",
    "delete-source": "valueBoolean",
}
_REPEATS: Final = frozenset({"source-patient-identifier", "target-patient-identifier"})
_OF_UNDO: Final = frozenset(name for name in _VALUES if name.startswith(("source", "target")))


@dataclass(frozen=True, slots=True)
class Named:
    """How the request names a patient: by a reference, or by identifiers that all have to match."""

    role: str
    """`source` or `target`."""
    reference: str = ""
    identifiers: tuple[Mapping[str, Any], ...] = ()
    id: str = ""
    """The id that the reference names; "" also where it names none on this server."""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, well formed."""

    source: Named
    target: Named
    body: Resource
    result: Resource | None = None
    preview: bool = False
    delete_source: bool = False
    issues: tuple[Issue, ...] = ()
    """Warnings about what was ignored."""


def asked(call: Call, base_url: str, *, undo: bool = False) -> Asked:
    """Read a request.

    Raises:
        FhirError: 400, with all that is wrong with it.
    """
    body = _body(call)
    known = _OF_UNDO if undo else frozenset(_VALUES)
    found, issues = _collected(body, known)
    sides = {}
    for role in ("source", "target"):
        named = _named(role, found, base_url)
        if isinstance(named, Issue):
            issues.append(named)
        else:
            sides[role] = named
    errors = [issue for issue in issues if issue.severity == "error"]
    if errors or (issues and call.prefer.strict):
        raise FhirError(400, errors or issues)
    return Asked(
        sides["source"],
        sides["target"],
        body,
        next(iter(found.get("result-patient", ())), None),
        preview=True in found.get("preview", ()),
        delete_source=True in found.get("delete-source", ()),
        issues=tuple(issues),
    )


def _body(call: Call) -> Resource:
    body = call.resource
    if not isinstance(body, dict) or body.get("resourceType") != "Parameters":
        found = body.get("resourceType") if isinstance(body, dict) else None
        raise bad_request(
            f"The body has to be a Parameters resource with source-patient and target-patient, not {found or 'empty'!r}.",
            "resourceType",
            code="required" if body is None else "invalid",
        )
    issues = validate(body)
    if issues:
        raise FhirError(400, issues)
    return body


def _collected(body: Resource, known: frozenset[str]) -> tuple[dict[str, list[Any]], list[Issue]]:
    found: dict[str, list[Any]] = {}
    issues: list[Issue] = []
    for place, parameter in enumerate(body.get("parameter", ())):
        path, name = f"Parameters.parameter[{place}]", parameter.get("name", "")
        if name not in known:
            issues.append(Issue("not-supported", f"The parameter {name!r} is not known and was ignored.", (path,), "warning"))
            continue
        value = parameter.get(_VALUES[name])
        if value is None:
            issues.append(Issue("invalid", f"{name} has to be given as {_VALUES[name]}.", (path,)))
        elif name in found and name not in _REPEATS:
            issues.append(Issue("invalid", f"{name} is given more than once.", (path,)))
        elif problem := _CHECKS.get(_VALUES[name], _nothing)(value):
            issues.append(Issue("invalid", f"{name}: {problem}", (path,)))
        else:
            found.setdefault(name, []).append(value)
    return found, issues


def _nothing(_: Any) -> str:
    return ""


def _identifier_problem(value: Mapping[str, Any]) -> str:
    return "" if value.get("value") else "an identifier has to have a `value`, and should have a `system`."


def _resource_problem(value: Mapping[str, Any]) -> str:
    type_ = value.get("resourceType")
    return "" if type_ == "Patient" else f"it has to be a Patient, not {type_!r}."


_CHECKS: Final[Mapping[str, Callable[[Any], str]]] = {"valueIdentifier": _identifier_problem, "resource": _resource_problem}


def _named(role: str, found: Mapping[str, list[Any]], base_url: str) -> Named | Issue:
    """Return how the request names a patient, or what is wrong with that."""
    by_reference, by_identifier = found.get(f"{role}-patient", []), found.get(f"{role}-patient-identifier", [])
    path = ("Parameters.parameter",)
    if not by_reference and not by_identifier:
        return Issue("required", f"Name the {role} by {role}-patient or {role}-patient-identifier.", path)
    if by_reference and by_identifier:
        return Issue("invalid", f"Give either {role}-patient or {role}-patient-identifier, not both.", path)
    if by_identifier:
        return Named(role, identifiers=tuple(by_identifier))
    text = by_reference[0].get("reference", "")
    if not text:
        return Issue(
            "required",
            f"{role}-patient has to have a literal `reference`; for identifiers there is {role}-patient-identifier.",
            path,
        )
    reference = parse(text, base_url)
    if reference.type and reference.type != "Patient":
        return Issue("invalid", f"{role}-patient refers to {text!r}, which is no Patient.", path)
    return Named(role, text, id=reference.id if reference.target else "", version=reference.version)
