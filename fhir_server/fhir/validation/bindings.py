"""Required bindings: https://hl7.org/fhir/R4/terminologies.html#required."""

from collections.abc import Mapping
from typing import Any

from fhir_server.fhir.validation.primitives import check_code
from fhir_server.fhir.validation.problem import Check, Problem, Problems, quote

_NAMED = 15


def code_check(codes: frozenset[str], value_set: str) -> Check:
    """Return the check of a code that has to be one of `codes`."""

    def check(value: Any, owner: dict[str, Any]) -> Problems | None:
        if type(value) is str and value in codes:
            return None
        problems = check_code(value, owner)
        return problems or [Problem("code-invalid", f"{quote(value)} is not {_one_of(codes)} ({value_set}).")]

    return check


def concept_check(check_object: Check, systems: Mapping[str, frozenset[str]], value_set: str) -> Check:
    """Return the check of a CodeableConcept of which one coding has to be in the value set.

    An extension may stand in the place of the coding, to say why there is none.
    """

    def check(value: Any, owner: dict[str, Any]) -> Problems | None:
        problems = check_object(value, owner)
        if problems is not None:
            return problems
        codings = value.get("coding", ())
        if any(coding.get("code") in systems.get(coding.get("system"), ()) for coding in codings):
            return None
        if not codings and "extension" in value:
            return None
        given = ", ".join(quote(f"{coding.get('system', '')}|{coding.get('code', '')}") for coding in codings) or "There"
        codes = [f"{system}|{code}" for system, members in systems.items() for code in members]
        return [
            Problem(
                "code-invalid",
                f"{given} is not {_one_of(codes)} ({value_set}).".replace("There is not", "There is no coding that is"),
            )
        ]

    return check


def _one_of(codes: frozenset[str] | list[str]) -> str:
    named = sorted(codes)
    return f"one of {', '.join(named)}" if len(named) <= _NAMED else f"one of the {len(named)} codes of the value set"
