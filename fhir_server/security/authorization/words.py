"""Scopes in words that a patient understands, for the consent screen.

https://hl7.org/fhir/smart-app-launch/best-practices.html, and the plain-language rules of 45 CFR 170.315(g)(10)
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fhir_server.security.authorization.grantable import IDENTITY, LAUNCH
from fhir_server.security.scopes import ALL, Scope, parse

THINGS: Final = {
    "AllergyIntolerance": "allergies and intolerances",
    "Appointment": "appointments",
    "AuditEvent": "the log of who looked at the record",
    "Binary": "files",
    "CarePlan": "care plans",
    "CareTeam": "the care team",
    "Claim": "bills to insurers",
    "Communication": "messages that were sent or received",
    "CommunicationRequest": "messages that are to be sent",
    "Condition": "health problems and diagnoses",
    "Consent": "what was agreed to",
    "Coverage": "insurance",
    "Device": "medical devices",
    "DiagnosticReport": "test reports",
    "DocumentReference": "documents and clinical notes",
    "Encounter": "visits",
    "EpisodeOfCare": "periods of care",
    "ExplanationOfBenefit": "what the insurance paid",
    "FamilyMemberHistory": "the health of family members",
    "Goal": "health goals",
    "Group": "groups of people",
    "HealthcareService": "services that are offered",
    "ImagingStudy": "X-rays and other images",
    "Immunization": "vaccinations",
    "Invoice": "invoices",
    "List": "lists",
    "Location": "places",
    "Media": "photos, videos and recordings",
    "Medication": "medicines",
    "MedicationAdministration": "medicines that were given",
    "MedicationDispense": "medicines from the pharmacy",
    "MedicationRequest": "prescriptions",
    "MedicationStatement": "medicines that are taken",
    "NutritionOrder": "diets",
    "Observation": "lab results, vital signs and other measurements",
    "Organization": "hospitals, practices and other organisations",
    "Patient": "name, birth date, address and other personal details",
    "Person": "personal details",
    "Practitioner": "doctors, nurses and other staff",
    "PractitionerRole": "where staff work",
    "Procedure": "operations and other procedures",
    "Provenance": "where the information comes from",
    "Questionnaire": "questionnaires",
    "QuestionnaireResponse": "answers to questionnaires",
    "RelatedPerson": "family and other contacts",
    "Schedule": "calendars",
    "ServiceRequest": "referrals and orders",
    "Slot": "free appointments",
    "Specimen": "samples",
    "Task": "tasks",
}
CATEGORIES: Final = {
    "laboratory": "laboratory results",
    "vital-signs": "vital signs",
    "social-history": "social history, such as smoking",
    "survey": "answers to surveys",
    "imaging": "imaging results",
    "exam": "findings of examinations",
    "procedure": "findings of procedures",
    "therapy": "findings of therapies",
    "activity": "physical activity",
    "sdoh": "living conditions",
    "problem-list-item": "the problem list",
    "encounter-diagnosis": "diagnoses of visits",
    "health-concern": "health concerns",
    "clinical-note": "clinical notes",
}
PLAIN: Final = {
    "offline_access": "Keep this access when you are not using the app, until you take it away",
    "online_access": "Keep this access for as long as you are logged in here",
}
_WRITES: Final = {"c": "add", "u": "change", "d": "delete"}


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a person can allow or not."""

    scope: str
    text: str
    detail: str = ""
    writes: bool = False
    """Whether the app could change the record."""


def items(scopes: Iterable[str]) -> list[Item]:
    """Return what a person is asked about, reading first; scopes that only say who and which patient are not asked about."""
    asked = [scope for scope in scopes if scope not in (*IDENTITY, *LAUNCH)]
    found = [_item(scope) for scope in asked]
    return sorted(found, key=lambda item: (item.scope in PLAIN, item.writes))


def _item(scope: str) -> Item:
    parsed = parse(scope)
    if parsed is None:
        return Item(scope, PLAIN.get(scope, scope))
    text = f"{_verbs(parsed.letters)} {_things(parsed)}"
    return Item(scope, text[0].upper() + text[1:], _whose(parsed), bool(_WRITES.keys() & set(parsed.letters)))


def _verbs(letters: str) -> str:
    verbs = (["see"] if set("rs") & set(letters) else []) + [verb for letter, verb in _WRITES.items() if letter in letters]
    return verbs[0] if len(verbs) == 1 else f"{', '.join(verbs[:-1])} and {verbs[-1]}"


def _things(scope: Scope) -> str:
    if scope.type == ALL:
        return "everything in the record" if scope.context == "patient" else "everything that you can see"
    for name, value in scope.criteria:
        code = value.rpartition("|")[2]
        if name == "category" and code in CATEGORIES:
            return CATEGORIES[code]
    things = THINGS.get(scope.type) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", scope.type).lower()
    if scope.criteria:
        return f"{things}, where " + " and ".join(f"{name} is {value.rpartition('|')[2]}" for name, value in scope.criteria)
    return things


def _whose(scope: Scope) -> str:
    return {"patient": "", "user": "Of all patients that you have access to", "system": "Of the whole organisation"}[
        scope.context
    ]
