"""Required bindings: https://hl7.org/fhir/R4/terminologies.html#required."""

import re
from collections.abc import Mapping
from typing import Any

from fhir_server.fhir.validation.primitives import check_code
from fhir_server.fhir.validation.problem import Check, Problem, Problems, quote

_NAMED = 15

FORMATS: Mapping[str, tuple[re.Pattern[str], str]] = {
    "http://hl7.org/fhir/ValueSet/currencies": (re.compile("[A-Z]{3}"), "a currency code of ISO 4217, such as EUR"),
}
"""Value sets of codes that others publish, of which only the form can be checked."""


def code_check(codes: frozenset[str], value_set: str) -> Check:
    """Return the check of a code that has to be one of `codes`."""

    def check(value: Any, owner: dict[str, Any]) -> Problems | None:
        if type(value) is str and value in codes:
            return None
        problems = check_code(value, owner)
        return problems or [Problem("code-invalid", f"{quote(value)} is not {_one_of(codes)} ({value_set}).")]

    return check


def format_check(value_set: str) -> Check:
    """Return the check of a code from one of the FORMATS."""
    pattern, description = FORMATS[value_set]

    def check(value: Any, owner: dict[str, Any]) -> Problems | None:
        if type(value) is str and pattern.fullmatch(value):
            return None
        return check_code(value, owner) or [Problem("code-invalid", f"{quote(value)} is not {description} ({value_set}).")]

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
        given = ", ".join(quote(f"{coding.get('system', '')}|{coding.get('code', '')}") for coding in codings)
        allowed = _one_of([f"{system}|{code}" for system, members in systems.items() for code in members])
        text = f"{given} is not {allowed}" if given else f"There has to be a coding that is {allowed}"
        return [Problem("code-invalid", f"{text} ({value_set}).")]

    return check


def _one_of(codes: frozenset[str] | list[str]) -> str:
    named = sorted(codes)
    return f"one of {', '.join(named)}" if len(named) <= _NAMED else f"one of the {len(named)} codes of the value set"
