"""The events of patients: PATIENT_CREATED and its like instead of `org.fhir.patient.created` (docs/events.md)."""

from collections.abc import Mapping
from typing import Any, Final

from fhir_server.events.event import Named, Naming
from fhir_server.store.changes import Change

LIFECYCLE: Final = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
MERGES: Final = {"merge": "PATIENTS_MERGED", "unmerge": "PATIENTS_UNMERGED"}


def patient_event(change: Change) -> Named:
    """Return what a new version of a Patient means.

    A patient that was deleted, or `active=false`, and is neither now, is reactivated.
    """
    if change.deleted:
        return Named("PATIENT_DELETED")
    if change.version == 1:
        return Named("PATIENT_CREATED")
    was_inactive = change.previous is None or change.previous.get("active") is False
    if was_inactive and change.elements.get("active") is not False:
        return Named("PATIENT_REACTIVATED")
    return Named("PATIENT_UPDATED")


def merge_event(change: Change) -> Named | None:
    """Return what a Provenance says of a merge, or its undoing, that has come to its end; None of all others.

    The one that stands for the whole names the survivor and the source first, and what was asked for as its entity.
    """
    if change.version != 1 or change.deleted or not change.elements.get("entity"):
        return None
    type_ = next((MERGES[code] for code in _codes(change.elements.get("activity")) if code in MERGES), "")
    patients = [text for text in _references(change.elements.get("target")) if text.startswith("Patient/")]
    if not type_ or len(patients) < len(("survivor", "source")):
        return None
    survivor, source = (text.split("/")[1] for text in patients[:2])
    return Named(type_, {"primary_id": survivor, "duplicate_id": source}, f"Patient/{survivor}")


def _codes(concept: Any) -> list[str]:
    codings = concept.get("coding", ()) if isinstance(concept, Mapping) else ()
    return [coding.get("code", "") for coding in codings if coding.get("system") == LIFECYCLE]


def _references(targets: Any) -> list[str]:
    return [target.get("reference", "") for target in targets or () if isinstance(target, Mapping)]


PATIENTS = Naming(patient_event, elements=frozenset({"active"}), previous=True)
PROVENANCES = Naming(merge_event, elements=frozenset({"activity", "entity", "target"}))
