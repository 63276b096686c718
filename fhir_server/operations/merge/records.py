"""What a merge leaves behind beside the change itself: Provenance, AuditEvent, Task, and the answer.

https://hl7.org/fhir/R4/provenance.html, https://hl7.org/fhir/R4/auditevent.html, https://hl7.org/fhir/R4/task.html,
https://profiles.ihe.net/ITI/BALP/
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from fhir_server.exchange import Principal, Resource
from fhir_server.fhir.outcome import Issue, operation_outcome
from fhir_server.store.merges import Merge
from fhir_server.store.versions import instant

_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem/"
LIFECYCLE: Final = f"{_TERMINOLOGY}iso-21089-lifecycle"
_ACTIVITIES: Final = {"merge": ("merge", "Merge Record Lifecycle Event"), "undo": ("unmerge", "Unmerge Record Lifecycle Event")}
_OPERATIONS: Final = {"merge": "$merge", "undo": "$undo-merge"}
INPUT: Final = "input"
"""The id of the contained Parameters."""


def who(principal: Principal) -> dict[str, Any]:
    """Return the Reference to a principal."""
    if principal.fhir_user:
        return {"reference": principal.fhir_user}
    return {"identifier": {"value": principal.id}, "display": principal.id}


def provenance(merge: Merge, targets: Iterable[str], now: datetime, *, whole: bool) -> Resource:
    """Return the Provenance of a merge or its undoing.

    `targets` are versioned references. Where it stands for the `whole` (survivor and source come first) it contains the
    input; others are about references that were moved in batches.
    """
    code, display = _ACTIVITIES[merge.kind]
    found: Resource = {"resourceType": "Provenance"}
    if whole:
        found["contained"] = [{**merge.input, "id": INPUT}]
    found |= {
        "target": [{"reference": text} for text in targets],
        "occurredDateTime": instant(now),
        "recorded": instant(now),
        "reason": [
            {"coding": [{"system": f"{_TERMINOLOGY}v3-ActReason", "code": "PATADMIN", "display": "patient administration"}]}
        ],
        "activity": {"coding": [{"system": LIFECYCLE, "code": code, "display": display}]},
        "agent": [
            {
                "type": {"coding": [{"system": f"{_TERMINOLOGY}provenance-participant-type", "code": "performer"}]},
                "who": merge.who,
            }
        ],
    }
    if whole:
        found["entity"] = [{"role": "source", "what": {"reference": f"#{INPUT}"}}]
    return found


def audit_event(merge: Merge, base_url: str, request_id: str, now: datetime) -> Resource:
    """Return the AuditEvent of a merge or its undoing: the operation on two patients, in the manner of IHE BALP."""
    detail = [{"type": "X-Request-Id", "valueString": request_id}] if request_id else []
    entities: list[dict[str, Any]] = [
        _entity("Patient", f"Patient/{merge.target}/_history/{merge.target_version}", "1"),
        _entity("Patient", f"Patient/{merge.source}/_history/{merge.source_version}", "1"),
    ]
    if detail:
        entities.append(
            {"what": {"identifier": {"value": request_id}}, "type": _coding("audit-entity-type", "4", "Other"), "detail": detail}
        )
    return {
        "resourceType": "AuditEvent",
        "type": _coding("audit-event-type", "rest", "RESTful Operation"),
        "subtype": [
            {"system": "http://hl7.org/fhir/restful-interaction", "code": "operation", "display": "operation"},
            {"system": LIFECYCLE, "code": _ACTIVITIES[merge.kind][0]},
        ],
        "action": "E",
        "recorded": instant(now),
        "outcome": "0",
        "outcomeDesc": f"Patient/{_OPERATIONS[merge.kind]}",
        "purposeOfEvent": [{"coding": [_coding("v3-ActReason", "PATADMIN", "patient administration")]}],
        "agent": [{"who": merge.who, "requestor": True}],
        "source": {"observer": {"display": base_url}, "type": [_coding("security-source-type", "4", "Application Server")]},
        "entity": entities,
    }


def _entity(what: str, reference: str, role: str) -> dict[str, Any]:
    return {
        "what": {"reference": reference},
        "type": _coding("audit-entity-type", "1", "Person"),
        "role": _coding("object-role", role, what),
    }


def _coding(system: str, code: str, display: str) -> dict[str, str]:
    return {"system": f"{_TERMINOLOGY}{system}", "code": code, "display": display}


def task(merge: Merge, now: datetime, *, problem: str = "") -> Resource:
    """Return the Task that shows how far a merge is, or what of it is left for a person.

    It names the source as text: a reference would be moved with all others.
    """
    operation = f"Patient/{_OPERATIONS[merge.kind]}"
    finished = merge.state != "running"
    status = "failed" if problem else "in-progress" if not finished else "requested" if merge.left else "completed"
    found: Resource = {
        "resourceType": "Task",
        "status": status,
        "intent": "order",
        "code": {"coding": [{"system": LIFECYCLE, "code": _ACTIVITIES[merge.kind][0]}], "text": operation},
        "description": f"{operation} of Patient/{merge.source} and Patient/{merge.target}",
        "for": {"reference": f"Patient/{merge.target}"},
        "authoredOn": instant(merge.began),
        "lastModified": instant(now),
        "requester": merge.who,
        "input": [
            {"type": {"text": "source-patient"}, "valueString": f"Patient/{merge.source}"},
            {"type": {"text": "target-patient"}, "valueString": f"Patient/{merge.target}"},
        ],
        "output": [
            {"type": {"text": "changed"}, "valueUnsignedInt": merge.done},
            {"type": {"text": "total"}, "valueUnsignedInt": max(merge.total, merge.done)},
        ],
    }
    if problem:
        found["statusReason"] = {"text": problem}
    elif status == "requested":
        found["statusReason"] = {"text": f"{len(merge.left)} resources could not be changed by themselves; decide on each."}
    found["output"] += [_left(one) for one in merge.left]
    return found


def _left(one: Mapping[str, str]) -> dict[str, Any]:
    display = {"display": one["path"]} if one["path"] else {}
    return {"type": {"text": one["text"]}, "valueReference": {"reference": one["reference"], **display}}


def answer(
    body: Resource,
    issues: Sequence[Issue],
    *,
    result: Resource | None = None,
    task: Resource | None = None,
    more: Sequence[Mapping[str, Any]] = (),
) -> Resource:
    """Return the Parameters of an answer: https://build.fhir.org/patient-operation-merge.html."""
    parameters: list[Mapping[str, Any]] = [
        {"name": "input", "resource": body},
        {"name": "outcome", "resource": operation_outcome(issues)},
    ]
    if result is not None:
        parameters.append({"name": "result", "resource": result})
    if task is not None:
        parameters.append({"name": "task", "resource": task})
    return {"resourceType": "Parameters", "parameter": [*parameters, *more]}
