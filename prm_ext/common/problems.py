"""Errors as problem details: https://www.rfc-editor.org/rfc/rfc9457.

Every FhirError, and every request that does not fit the schema, is answered so, with the flat field that each part of it
is about.
"""

from collections.abc import Callable, Coroutine, Iterable
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from pymongo.errors import PyMongoError

from fhir_server.engine import translated
from fhir_server.fhir.outcome import FhirError, Issue
from fhir_server.web.observe import observation

MEDIA_TYPE: Final = "application/problem+json"
FieldOf = Callable[[str], str]
"""Returns the field that a FHIRPath is about, or nothing."""


class Problem(BaseModel):
    """One thing that is wrong."""

    field: str | None = Field(default=None, description="Path of the field, such as `primary_phone` or `insurance[0].member_id`.")
    code: str = Field(description="FHIR's issue type, or the rule of the schema that is broken.")
    message: str = Field(description="What is wrong, and what to do.")
    expression: str | None = Field(default=None, description="FHIRPath of the element in the FHIR resource.")


class ProblemDetails(BaseModel):
    """The body of every error."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:prm:problem:invalid",
                "title": "Unprocessable Content",
                "status": 422,
                "detail": "'12' is not a phone number.",
                "instance": "/api/v1/prm/patients",
                "request_id": "6f1c0e9a4b7d2c35",
                "errors": [{"field": "primary_phone", "code": "value", "message": "'12' is not a phone number."}],
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[Problem] = Field(default_factory=list)


class MappedError(Exception):
    """A FhirError about a resource that was made of flat fields."""

    def __init__(self, error: FhirError, field_of: FieldOf) -> None:
        super().__init__(str(error))
        self.error = error
        self.field_of = field_of


def refused(error: FhirError) -> MappedError:
    """Return an error whose expressions are flat fields already."""
    return MappedError(error, str)


class ProblemRoute(APIRoute):
    """Answers errors of its endpoint as problem details."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint with its errors translated."""
        handle = super().get_route_handler()

        async def handle_with_problems(request: Request) -> Response:
            try:
                return await handle(request)
            except MappedError as error:
                return problem_of(request, error.error, error.field_of)
            except FhirError as error:
                return problem_of(request, error)
            except RequestValidationError as error:
                return _respond(request, 422, "invalid", [_schema_problem(item) for item in error.errors()])
            except HTTPException as error:
                return _respond(request, error.status_code, "processing", [Problem(code="processing", message=str(error.detail))])
            except Exception as error:  # noqa: BLE001 -- the last net: nothing of it may reach the client
                return _unforeseen(request, error)

        return handle_with_problems


def _unforeseen(request: Request, error: Exception) -> Response:
    known = translated(error) if isinstance(error, PyMongoError) else error
    if isinstance(known, FhirError):
        return problem_of(request, known)
    structlog.get_logger().error("unforeseen", exc_info=error)
    text = "The server failed on this request; its log says more under the request_id."
    return _respond(request, 500, "exception", [Problem(code="exception", message=text)])


def problem_of(request: Request, error: FhirError, field_of: FieldOf = lambda _: "") -> Response:
    """Return the answer to a FhirError."""
    wrong = [issue for issue in error.issues if issue.severity in ("error", "fatal")] or list(error.issues)
    code = wrong[0].code if wrong else "processing"
    return _respond(request, error.status, code, list(problems(wrong, field_of)), dict(error.headers))


def problems(issues: Iterable[Issue], field_of: FieldOf) -> Iterable[Problem]:
    """Yield issues in the words of the flat fields."""
    for issue in issues:
        expression = issue.expression[0] if issue.expression else None
        yield Problem(
            field=(field_of(expression) if expression else "") or None,
            code=issue.code,
            message=issue.diagnostics,
            expression=expression,
        )


def _schema_problem(item: dict[str, Any]) -> Problem:
    path = ""
    for part in item.get("loc", ())[1:]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return Problem(field=path or None, code=str(item.get("type", "value")), message=str(item.get("msg", "")))


def _respond(request: Request, status: int, code: str, errors: list[Problem], headers: dict[str, str] | None = None) -> Response:
    details = ProblemDetails(
        type=f"urn:prm:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=errors[0].message if errors else HTTPStatus(status).phrase,
        instance=request.url.path,
        request_id=observation(request.scope).request_id,
        errors=errors,
    )
    body = details.model_dump(exclude_none=True)
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


_SCHEMA: Final = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
_SCHEMA.pop("$defs")

RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": description, "content": {MEDIA_TYPE: {"schema": _SCHEMA}}}
    for status, description in {
        400: "The request can not be understood.",
        401: "No valid token.",
        403: "The token does not allow it.",
        404: "There is no such patient.",
        409: "It is in conflict with what is there.",
        410: "The patient has been deleted.",
        412: "The patient has been changed since; read it again.",
        422: "A value breaks a rule.",
        503: "The database does not answer; try again.",
    }.items()
}
"""The answers to errors, for the description of the interface."""
