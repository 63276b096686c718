"""Errors and their OperationOutcome.

https://hl7.org/fhir/R4/operationoutcome.html

Every refusal in this server is a `FhirError`, raised through one of the named constructors below and translated to
HTTP in one place (`fhir_server.web.render`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["fatal", "error", "warning", "information"]

_UNSENDABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""What a quoted value may hold and JSON or XML can not; an error must never fail to be sent."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One `OperationOutcome.issue`.

    `code` is from https://hl7.org/fhir/R4/valueset-issue-type.html, `expression` holds FHIRPaths such as
    `Patient.name[0].family`.
    """

    code: str
    diagnostics: str
    expression: tuple[str, ...] = ()
    severity: Severity = "error"

    def to_fhir(self) -> dict[str, Any]:
        """Return the issue as FHIR JSON."""
        issue: dict[str, Any] = {"severity": self.severity, "code": self.code}
        if self.diagnostics:
            issue["diagnostics"] = _sendable(self.diagnostics)
        if self.expression:
            issue["expression"] = [_sendable(path) for path in self.expression]
        return issue


def _sendable(text: str) -> str:
    return _UNSENDABLE.sub("\ufffd", text)


def operation_outcome(issues: Iterable[Issue]) -> dict[str, Any]:
    """Return an OperationOutcome resource that holds the issues; without any it says that all is well."""
    found = list(issues) or [Issue("informational", "All OK", severity="information")]
    return {"resourceType": "OperationOutcome", "issue": [issue.to_fhir() for issue in found]}


class FhirError(Exception):
    """A refusal: an HTTP status, the issues that explain it, and headers for the answer."""

    def __init__(self, status: int, issues: Iterable[Issue], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, issues)
        self.status = status
        self.issues = tuple(issues)
        self.headers: Mapping[str, str] = headers or {}

    def __str__(self) -> str:
        return "; ".join(f"{issue.code}: {issue.diagnostics}" for issue in self.issues)

    def to_fhir(self) -> dict[str, Any]:
        """Return the OperationOutcome."""
        return operation_outcome(self.issues)


def _error(status: int, code: str, text: str, expression: str = "", headers: Mapping[str, str] | None = None) -> FhirError:
    return FhirError(status, (Issue(code, text, (expression,) if expression else ()),), headers)


def bad_request(text: str, expression: str = "", code: str = "invalid") -> FhirError:
    """400: the request itself can not be understood."""
    return _error(400, code, text, expression)


def unprocessable(text: str, expression: str = "", code: str = "processing") -> FhirError:
    """422: the request is well formed, but breaks a rule."""
    return _error(422, code, text, expression)


def invalid_resource(issues: Iterable[Issue], status: int = 400) -> FhirError:
    """400 (or 422): a resource with everything that is wrong with it."""
    return FhirError(status, issues)


def unauthorized(text: str, error: str = "", realm: str = "fhir") -> FhirError:
    """401: nobody is known to be asking; `error` is a code of RFC 6750, section 3.1."""
    challenge = f'Bearer realm="{realm}"' + (f', error="{error}", error_description="{text}"' if error else "")
    return _error(401, "login", text, headers={"WWW-Authenticate": challenge})


def forbidden(text: str, expression: str = "") -> FhirError:
    """403: whoever is asking may not do this."""
    return _error(403, "forbidden", text, expression)


def not_found(type_: str, id_: str, version: str = "") -> FhirError:
    """404: there is, or was, no such resource or version."""
    what = f"{type_}/{id_}" + (f", version {version}," if version else "")
    return _error(404, "not-found", f"{what} is not known here.")


def unknown_type(name: str) -> FhirError:
    """404: the path names no R4 resource type."""
    return _error(404, "not-supported", f"{name!r} is not a resource type of FHIR R4 (names are case-sensitive).")


def gone(type_: str, id_: str, version: str = "") -> FhirError:
    """410: the resource has been deleted."""
    headers = {"ETag": f'W/"{version}"'} if version else {}
    return _error(410, "deleted", f"{type_}/{id_} has been deleted.", headers=headers)


def method_not_allowed(method: str, path: str, allowed: str) -> FhirError:
    """405: the path exists, but not with this method."""
    return _error(405, "not-supported", f"{method} is not allowed on {path!r}; allowed: {allowed}.", headers={"Allow": allowed})


def not_supported(text: str, expression: str = "", status: int = 400) -> FhirError:
    """400: FHIR knows it, this server does not."""
    return _error(status, "not-supported", text, expression)


def not_acceptable(text: str) -> FhirError:
    """406: none of the formats that the client accepts can be served."""
    return _error(406, "not-supported", text)


def unsupported_media_type(text: str) -> FhirError:
    """415: the body is in a format that this server does not read."""
    return _error(415, "not-supported", text)


def conflict(text: str, expression: str = "", code: str = "conflict") -> FhirError:
    """409: the state of the resource does not allow it."""
    return _error(409, code, text, expression)


def duplicate(text: str, expression: str = "") -> FhirError:
    """409: something of the kind is there already."""
    return _error(409, "duplicate", text, expression)


def precondition_failed(text: str, code: str = "conflict") -> FhirError:
    """412: If-Match, or a condition that was to match at most one resource, did not hold."""
    return _error(412, code, text)


def too_large(text: str) -> FhirError:
    """413: the body is over the limit."""
    return _error(413, "too-long", text)


def too_costly(text: str, status: int = 403) -> FhirError:
    """403 (or 503): the answer would cost more than the server is willing to spend."""
    return _error(status, "too-costly", text)


def unavailable(text: str, retry_after: int = 5, code: str = "transient") -> FhirError:
    """503: try again later."""
    return _error(503, code, text, headers={"Retry-After": str(retry_after)})
