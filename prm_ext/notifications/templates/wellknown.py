"""Variables that need not be declared, since they are filled from the resources that a message is about."""

from collections.abc import Mapping
from typing import Final

from prm_ext.notifications.templates.values import Type, Variable


def _known(name: str, description: str, sample: str, type_: Type = "text") -> Variable:
    # What a sender writes in place of a date, such as `tomorrow`, is shown as it is.
    return Variable(name, type_, description=description, sample=sample, strict=False)


WELL_KNOWN: Final[Mapping[str, Variable]] = {
    variable.name: variable
    for variable in (
        _known("patient_name", "Name of the patient, the preferred one first.", "Elena García"),
        _known("patient_first_name", "First name of the patient, the preferred one first.", "Elena"),
        _known("patient_last_name", "Family name of the patient.", "García"),
        _known("recipient_name", "Name of who gets the message.", "Elena García"),
        _known("appointment_date", "When the appointment begins.", "2026-11-25T14:30:00Z", "date"),
        _known("appointment_time", "When the appointment begins.", "2026-11-25T14:30:00Z", "time"),
        _known("appointment_datetime", "When the appointment begins.", "2026-11-25T14:30:00Z", "datetime"),
        _known("appointment_end_time", "When the appointment ends.", "2026-11-25T15:00:00Z", "time"),
        _known("practitioner_name", "Name of the practitioner, without the title of a doctor.", "Anna Smith"),
        _known("location_name", "Name of the place; without one that of the service or organisation.", "Mission Street Clinic"),
        _known("location_address", "Its address, on one line; without one its name.", "1200 Mission Street, San Francisco"),
        _known("location_phone", "Its phone number.", "+1 415 555 0132"),
        _known("organisation_name", "Name of the organisation: `PRM_NOTIFY_ORGANISATION`, or the resources' own.", "Bay Clinic"),
        _known("organization_name", "The same.", "Bay Clinic"),
        _known("service_type", "What the appointment is for.", "Physiotherapy"),
        _known("medication_name", "Medication of the MedicationRequest that it is about.", "Metformin 500 mg"),
        _known("test_name", "What the DiagnosticReport that it is about is of.", "Lipid panel"),
        _known("care_plan_title", "Title of the CarePlan that it is about.", "Recovery after surgery"),
    )
}
