"""What was found, in the form of the interface."""

from collections.abc import Callable, Mapping
from typing import Any

from fhir_server.exchange import Context
from fhir_server.fhir.outcome import Issue
from fhir_server.resources.duplicates import Duplicate
from prm_ext.common.problems import problems
from prm_ext.patients import coverage, mapping
from prm_ext.patients.answers import Appointment, DuplicateOut, Evidence, Media, MergedField, MergeOut
from prm_ext.patients.fields.field import Resource, codings, objects
from prm_ext.patients.schemas import InsuranceOut, PatientOut
from prm_ext.patients.service import Patient, Patients


def patient_out(ctx: Context, patients: Patients, found: Patient, score: float | None = None) -> PatientOut:
    """Return a patient."""
    flat = mapping.to_flat(found.resource, patients.mrn_system)
    insurance = None if found.insurance is None else [InsuranceOut(**coverage.to_flat(one)) for one in found.insurance]
    warnings = list(problems(_told(found.issues), patients.field_of(found.resource)))
    return PatientOut(
        **flat,
        org_id=ctx.tenant,
        insurance=insurance,
        created_at=found.created_at,
        deleted_at=found.deleted_at,
        score=score,
        warnings=warnings or None,
    )


def _told(issues: tuple[Issue, ...]) -> list[Issue]:
    return [issue for issue in issues if issue.severity != "information"]


def appointment_out(patient: str) -> Callable[[Resource], Appointment]:
    """Return what shows an appointment of this patient (a reference)."""

    def shown(resource: Resource) -> Appointment:
        actors = [one.get("actor", {}).get("reference", "") for one in objects(resource, "participant")]
        return Appointment(
            id=resource["id"],
            status=resource["status"],
            start=resource.get("start"),
            end=resource.get("end"),
            description=resource.get("description"),
            appointment_type=_word(resource.get("appointmentType")),
            participants=[actor for actor in actors if actor and actor != patient],
        )

    return shown


def media_out(resource: Resource) -> Media:
    """Return a document."""
    attachment: Mapping[str, Any] = next(iter(objects(resource, "content")), {}).get("attachment", {})
    return Media(
        id=resource["id"],
        status=resource["status"],
        type=_word(resource.get("type")),
        description=resource.get("description"),
        content_type=attachment.get("contentType"),
        title=attachment.get("title"),
        size=attachment.get("size"),
        url=attachment.get("url"),
        created_at=resource.get("date") or resource["meta"]["lastUpdated"],
    )


def _word(concept: Any) -> str | None:
    if not isinstance(concept, dict):
        return None
    first = next(iter(codings(concept)), {})
    return concept.get("text") or first.get("display") or first.get("code")


def duplicate_out(shown: PatientOut, found: Duplicate) -> DuplicateOut:
    """Return a suspected duplicate."""
    evidence = [Evidence(field=one.field, level=one.level, bits=round(one.bits, 3)) for one in found.assessment.evidence]
    return DuplicateOut(
        patient=shown,
        score=round(found.assessment.score, 6),
        grade=found.assessment.grade,
        evidence=evidence,
        task_id=found.task.id if found.task else None,
    )


def merge_out(parameters: Resource, status: int, shown: PatientOut | None, *, preview: bool) -> MergeOut:
    """Return a merge by the Parameters that the operation answered."""
    parts = objects(parameters, "parameter")
    outcome: Resource = next((part["resource"] for part in parts if part.get("name") == "outcome"), {})
    task: Resource = next((part["resource"] for part in parts if part.get("name") == "task"), {})
    return MergeOut(
        status="preview" if preview else "in-progress" if status == 202 else "completed",  # noqa: PLR2004 -- accepted
        patient=shown,
        fields=[_merged_field(part) for part in parts if part.get("name") == "field"],
        task_id=task.get("id"),
        messages=[issue["diagnostics"] for issue in objects(outcome, "issue") if "diagnostics" in issue],
    )


def _merged_field(part: Resource) -> MergedField:
    values: dict[str, list[Any]] = {}
    for item in objects(part, "part"):
        value = next((value for name, value in item.items() if name.startswith("value")), None)
        values.setdefault(item["name"], []).append(value)
    return MergedField(
        element=values["element"][0],
        rule=values["rule"][0],
        primary=values.get("target", []),
        duplicate=values.get("source", []),
        result=values.get("result", []),
    )
