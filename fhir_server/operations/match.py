"""$match of Patient: which stored patients may be the person that is described.

https://hl7.org/fhir/R4/patient-operation-match.html, docs/matching.md
"""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from fhir_server.exchange import Call, Context, Reply, Resource
from fhir_server.fhir.outcome import Issue, bad_request, invalid_resource, method_not_allowed, operation_outcome
from fhir_server.fhir.validate import validate
from fhir_server.resources.matches import Candidate, Matches, find_matches, sought
from fhir_server.store.versions import instant

GRADE_URL: Final = "http://hl7.org/fhir/StructureDefinition/match-grade"
EVIDENCE_URL: Final = "urn:prm:match-evidence"
DEFAULT_COUNT: Final = 20
_DIGITS: Final = Decimal("0.000001")
_KNOWN: Final = ("resource", "onlyCertainMatches", "count", "explain")
_TRUTH: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of the operation."""

    patient: Resource
    only_certain: bool
    count: int
    explain: bool
    issues: tuple[Issue, ...] = ()


async def match(ctx: Context, call: Call) -> Reply:
    """Answer a searchset of the patients that may be the one described, the best first.

    Raises:
        FhirError: 400 for the parameters, or where the Patient says too little to look for anybody; 405 for a GET.
    """
    asked = _asked(ctx, call)
    wanted = sought(ctx, asked.patient)
    if not wanted.is_enough:
        raise bad_request(
            "The Patient says too little to tell somebody from others: give an identifier with its system, a phone number or an"
            " email address, or two of name, whole birth date and address.",
            "Parameters.parameter[0].resource",
            code="required",
        )
    found = await find_matches(ctx, wanted)
    return Reply(200, _bundle(ctx, asked, found, _chosen(asked, found)))


def _chosen(asked: Asked, found: Matches) -> tuple[Candidate, ...]:
    if not asked.only_certain:
        return found.candidates[: asked.count]
    certain = found.at_least("certain")
    return certain if len(certain) == 1 and found.complete else ()


def _bundle(ctx: Context, asked: Asked, found: Matches, chosen: Iterable[Candidate]) -> Resource:
    matches = [_entry(ctx, one, explain=asked.explain) for one in chosen]
    issues = list(asked.issues)
    if not found.complete:
        text = "There were too many candidates to compare all of them: give more of the patient."
        issues.append(Issue("too-costly", text, severity="warning"))
    entries = [*matches, {"resource": operation_outcome(issues), "search": {"mode": "outcome"}}] if issues else matches
    return {
        "resourceType": "Bundle",
        "id": str(uuid.uuid4()),
        "meta": {"lastUpdated": instant(ctx.now())},
        "type": "searchset",
        "total": len(matches),
        **({"entry": entries} if entries else {}),
    }


def _entry(ctx: Context, one: Candidate, *, explain: bool) -> dict[str, Any]:
    extensions: list[dict[str, Any]] = [{"url": GRADE_URL, "valueCode": one.grade}]
    if explain:
        extensions += evidence(one)
    score = Decimal(str(one.assessment.score)).quantize(_DIGITS).normalize() + 0
    return {
        "fullUrl": f"{ctx.base_url}/{one.version.reference}",
        "resource": one.version.resource,
        "search": {"extension": extensions, "mode": "match", "score": score},
    }


def evidence(one: Candidate) -> Iterator[dict[str, Any]]:
    """Yield an extension for each field that was compared: its name, how it agrees, and what that is worth in bits."""
    for found in one.assessment.evidence:
        parts = [
            {"url": "field", "valueCode": found.field},
            {"url": "level", "valueString": found.level},
            {"url": "bits", "valueDecimal": Decimal(str(round(found.bits, 2)))},
        ]
        yield {"url": EVIDENCE_URL, "extension": parts}


def _asked(ctx: Context, call: Call) -> Asked:
    if not call.affects_state:
        raise method_not_allowed("GET", "$match", "POST")
    given, patient = _parameters(call)
    issues: tuple[Issue, ...] = ()
    if unknown := sorted(set(given) - set(_KNOWN)):
        text = f"{', '.join(unknown)}: not a parameter of Patient/$match; these are {', '.join(_KNOWN)}."
        if call.prefer.strict:
            raise bad_request(text, code="not-supported")
        issues = (Issue("not-supported", text + " It was ignored.", severity="warning"),)
    if not isinstance(patient, dict) or patient.get("resourceType") != "Patient":
        raise bad_request(
            "Send Parameters with a Patient as the parameter `resource`, which says who is looked for.", code="required"
        )
    if wrong := validate(patient, max_depth=ctx.settings.max_depth):
        raise invalid_resource(wrong)
    return Asked(
        patient,
        _truth("onlyCertainMatches", given.get("onlyCertainMatches", False)),
        _count(ctx, given.get("count", DEFAULT_COUNT)),
        _truth("explain", given.get("explain", False)),
        issues,
    )


def _parameters(call: Call) -> tuple[dict[str, Any], Any]:
    """Return the simple parameters, and the Patient: the body itself, or the parameter `resource` of a Parameters body."""
    given: dict[str, Any] = dict(call.params)
    body = call.resource
    if not isinstance(body, dict) or body.get("resourceType") != "Parameters":
        return given, body
    parameters = body.get("parameter", [])
    if not isinstance(parameters, list):
        raise bad_request("`parameter` of Parameters is an array.", "Parameters.parameter", code="structure")
    patient = None
    for place, one in enumerate(parameters):
        path = f"Parameters.parameter[{place}]"
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise bad_request("A parameter is an object with a `name`.", path, code="structure")
        name = one["name"]
        if name in given or (name == "resource" and patient is not None):
            raise bad_request(f"The parameter {name!r} is given twice.", path)
        if name == "resource":
            patient = one.get("resource")
        else:
            given[name] = next((value for key, value in one.items() if key.startswith("value")), None)
    return given, patient


def _truth(name: str, value: Any) -> bool:
    found = _TRUTH.get(value) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise bad_request(f"{name}={value!r} is not a boolean.", code="value")
    return found


def _count(ctx: Context, value: Any) -> int:
    number = (
        int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < DEFAULT_COUNT else value
    )
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise bad_request(f"count={value!r} is not a positive integer.", code="value")
    return min(number, ctx.settings.max_count)
