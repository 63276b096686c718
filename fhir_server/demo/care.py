"""What is done for a patient: prescriptions, vaccines, allergies on record, procedures, care plans, notes."""

import base64
import hashlib
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from fhir_server.demo.build import (
    LOINC,
    SNOMED,
    THO,
    US_CORE,
    Element,
    Resource,
    coding,
    concept,
    generated,
    moment,
    quantity,
    reference,
    status,
)
from fhir_server.demo.codes import ALLERGIES, PROCEDURES, VACCINES, Medication
from fhir_server.demo.person import Person
from fhir_server.demo.visits import Problem, Visit

_RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
_CVX = "http://hl7.org/fhir/sid/cvx"


def prescriptions_of(person: Person, visit: Visit) -> Iterator[Resource]:
    """Return what was prescribed at the first visit for a problem."""
    if visit.problem and visit.first:
        for index, medication in enumerate(visit.problem.disease.medications):
            if index == 0 or person.rng.random() < 0.4:
                yield _prescription(person, visit, visit.problem, index, medication)


def _prescription(person: Person, visit: Visit, problem: Problem, index: int, medication: Medication) -> Resource:
    chronic = problem.disease.chronic and person.deceased is None
    doses = {"value": medication.per_day * 30, "unit": medication.form}
    return {
        "resourceType": "MedicationRequest",
        "id": person.new_id("medication", visit.number, index),
        "status": "active" if chronic else "completed",
        "intent": "order",
        "medicationCodeableConcept": concept(_RXNORM, medication.code, medication.name),
        "subject": person.reference,
        "encounter": visit.reference,
        "authoredOn": visit.minutes_in(15),
        "requester": visit.staff.reference,
        "reasonReference": [problem.reference],
        "dosageInstruction": [
            {
                "sequence": 1,
                "text": medication.instruction,
                "timing": {"repeat": {"frequency": medication.per_day, "period": 1, "periodUnit": "d"}},
                "asNeededBoolean": medication.as_needed,
                "doseAndRate": [{"doseQuantity": {"value": 1, "unit": medication.form}}],
            },
        ],
        "dispenseRequest": {
            "numberOfRepeatsAllowed": 11 if chronic else 0,
            "quantity": doses,
            "expectedSupplyDuration": quantity(30, "days", "d"),
        },
    }


def vaccines_of(person: Person, visits: list[Visit]) -> Iterator[Resource]:
    """Return up to four immunizations that suit the age, each given at a visit."""
    suitable = [vaccine for vaccine in VACCINES if vaccine[2] <= person.age <= vaccine[3]]
    for index, (code, display, _, _) in enumerate(person.rng.sample(suitable, min(len(suitable), person.rng.randint(1, 4)))):
        visit = person.rng.choice(visits)
        yield {
            "resourceType": "Immunization",
            "id": person.new_id("immunization", index),
            "status": "completed",
            "vaccineCode": concept(_CVX, code, display),
            "patient": person.reference,
            "encounter": visit.reference,
            "occurrenceDateTime": visit.minutes_in(12),
            "primarySource": True,
            "location": person.clinic.site,
            "lotNumber": f"LOT{person.rng.randint(10000, 99999)}",
            "expirationDate": (visit.start.date() + timedelta(days=200)).isoformat(),
            "site": concept(THO + "v3-ActSite", "LA", "left arm"),
            "route": concept(THO + "v3-RouteOfAdministration", "IM", "Injection, intramuscular"),
            "doseQuantity": quantity(Decimal("0.5"), "mL"),
            "performer": [{"actor": person.clinic.staff[3].reference}],
        }


def allergies_of(person: Person) -> Iterator[Resource]:
    """Return the allergies, or the statement that none is known."""
    rng = person.rng
    chosen = rng.sample(ALLERGIES, rng.choices((0, 1, 2), (60, 30, 10))[0])
    base = {
        "resourceType": "AllergyIntolerance",
        "clinicalStatus": status("allergyintolerance-clinical", "active"),
        "verificationStatus": status("allergyintolerance-verification", "confirmed"),
    }
    about = {"patient": person.reference, "recorder": person.doctor.reference}
    if not chosen:
        yield {**base, "id": person.new_id("allergy", 0), "code": concept(SNOMED, "716186003", "No known allergy"), **about}
    for index, (code, display, category, criticality, manifestation) in enumerate(chosen):
        yield {
            **base,
            "id": person.new_id("allergy", index),
            "type": "allergy",
            "category": [category],
            "criticality": criticality,
            "code": concept(SNOMED, code, display),
            **about,
            "reaction": [
                {"manifestation": [concept(SNOMED, *manifestation)], "severity": rng.choice(("mild", "moderate", "severe"))},
            ],
        }


def procedures_of(person: Person, visits: list[Visit]) -> Iterator[Resource]:
    """Return up to two procedures that suit the age."""
    suitable = [procedure for procedure in PROCEDURES if procedure[2] <= person.age]
    for index, (code, display, _) in enumerate(person.rng.sample(suitable, min(len(suitable), person.rng.choice((0, 1, 1, 2))))):
        visit = person.rng.choice(visits)
        procedure: Resource = {
            "resourceType": "Procedure",
            "id": person.new_id("procedure", index),
            "status": "completed",
            "code": concept(SNOMED, code, display),
            "subject": person.reference,
            "encounter": visit.reference,
            "performedPeriod": {"start": visit.minutes_in(10), "end": visit.minutes_in(25)},
            "performer": [{"actor": visit.staff.reference, "onBehalfOf": person.clinic.reference}],
            "location": person.clinic.site,
        }
        if visit.problem:
            procedure["reasonReference"] = [visit.problem.reference]
        yield procedure


def care_plans_of(person: Person, problems: list[Problem]) -> Iterator[Resource]:
    """Return a care plan for the chronic problems that have a goal."""
    aims = [problem for problem in problems if problem.disease.goal and problem.disease.chronic]
    if not aims or person.deceased:
        return
    goals = [_goal(person, index, problem) for index, problem in enumerate(aims)]
    yield from goals
    begin = max(problem.onset for problem in aims)
    yield {
        "resourceType": "CarePlan",
        "id": person.new_id("careplan"),
        "text": generated("Care plan: " + "; ".join(problem.disease.goal for problem in aims)),
        "status": "active",
        "intent": "plan",
        "category": [
            concept("http://hl7.org/fhir/us/core/CodeSystem/careplan-category", "assess-plan", "Assessment and Plan of Treatment")
        ],
        "title": f"Plan for {aims[0].disease.snomed[1].lower()}",
        "subject": person.reference,
        "period": {"start": begin.isoformat()},
        "created": begin.isoformat(),
        "author": person.doctor.reference,
        "addresses": [problem.reference for problem in aims],
        "goal": [reference(goal) for goal in goals],
        "activity": [
            {
                "detail": {
                    "kind": "Appointment",
                    "code": concept(SNOMED, "390906007", "Follow-up encounter"),
                    "status": "scheduled",
                    "description": "See the doctor every three months",
                },
            },
        ],
    }


def _goal(person: Person, index: int, problem: Problem) -> Resource:
    return {
        "resourceType": "Goal",
        "id": person.new_id("goal", index),
        "lifecycleStatus": "active",
        "achievementStatus": status("goal-achievement", person.rng.choice(("in-progress", "improving", "achieved"))),
        "description": {"text": problem.disease.goal},
        "subject": person.reference,
        "startDate": problem.onset.isoformat(),
        "addresses": [problem.reference],
    }


def notes_of(person: Person, visits: list[Visit]) -> Iterator[Resource]:
    """Return the notes of the last two visits: the text as a Binary, with the DocumentReference that describes it."""
    for visit in visits[-2:]:
        text = _note(person, visit).encode()
        binary: Resource = {
            "resourceType": "Binary",
            "id": person.new_id("note", visit.number),
            "contentType": "text/plain; charset=utf-8",
            "securityContext": person.reference,
            "data": base64.b64encode(text).decode(),
        }
        yield binary
        yield _document(person, visit, text, f"Binary/{binary['id']}")


def _note(person: Person, visit: Visit) -> str:
    reason = visit.problem.disease.snomed[1] if visit.problem else "Check-up"
    plan = ", ".join(m.name for m in visit.problem.disease.medications) if visit.problem else ""
    return (
        f"Progress note\n\nPatient: {person.name}{f' ({person.native})' if person.native else ''}\n"
        f"Visit: {visit.start:%Y-%m-%d %H:%M}, {person.clinic.name}\nReason: {reason}\n\n"
        f"Seen by {visit.staff.name}. History and findings were discussed with the patient"
        f"{' and the family' if person.age < 18 else ''}.\n"
        f"Plan: {plan or 'no new medication'}; follow up as needed.\n"
    )


def _document(person: Person, visit: Visit, text: bytes, url: str) -> Resource:
    digest = hashlib.sha1(text, usedforsecurity=False).digest()
    attachment: Element = {
        "contentType": "text/plain; charset=utf-8",
        "language": "en-US",
        "url": url,
        "size": len(text),
        "hash": base64.b64encode(digest).decode(),
        "title": f"Progress note of {visit.start:%d %B %Y}",
        "creation": visit.minutes_in(30),
    }
    category = concept(
        "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category", "clinical-note", "Clinical Note"
    )
    format_ = coding(
        "http://ihe.net/fhir/ValueSet/IHE.FormatCode.codesystem", "urn:ihe:iti:xds:2017:mimeTypeSufficient", "mimeType Sufficient"
    )
    return {
        "resourceType": "DocumentReference",
        "id": person.new_id("document", visit.number),
        "meta": {"profile": [US_CORE + "us-core-documentreference"]},
        "identifier": [{"system": "https://demo.example.org/document", "value": f"DOC{person.number:07d}{visit.number:03d}"}],
        "status": "current",
        "docStatus": "final",
        "type": concept(LOINC, "11506-3", "Progress note"),
        "category": [category],
        "subject": person.reference,
        "date": visit.minutes_in(30),
        "author": [visit.staff.reference],
        "custodian": person.clinic.reference,
        "content": [{"attachment": attachment, "format": format_}],
        "context": {"encounter": [visit.reference], "period": {"start": visit.at}},
    }


def card_photo(person: Person) -> Resource:
    """Return the description of a photo of the insurance card that the patient sent in, its bytes inline."""
    sent = moment(person.clinic.city, person.last_day - timedelta(days=6), 18, 20).isoformat()
    return {
        "resourceType": "DocumentReference",
        "id": person.new_id("document", "card"),
        "status": "current",
        "type": concept(LOINC, "64290-0", "Health insurance card"),
        "subject": person.reference,
        "date": sent,
        "author": [person.reference],
        "description": "Insurance card, sent by the patient",
        "content": [
            {"attachment": {"contentType": "image/png", "data": _PIXEL, "title": "card.png", "creation": sent}},
        ],
    }


_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
