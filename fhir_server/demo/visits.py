"""What a patient has, and when the clinic saw them for it: Condition, Encounter, and who was there."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from fhir_server.demo.build import DEMO, SNOMED, THO, Element, Resource, coding, concept, link, moment, reference, status, workday
from fhir_server.demo.clinic import Staff
from fhir_server.demo.codes import DISEASES, Disease
from fhir_server.demo.person import ADULT, Person

CHECK_UP = ("185349003", "Encounter for check up")
PROBLEM = ("185345009", "Encounter for symptom")
FOLLOW_UP = ("390906007", "Follow-up encounter")


@dataclass(frozen=True, slots=True)
class Problem:
    """A disease that the patient has, and its Condition."""

    disease: Disease
    condition: Resource
    onset: date

    @property
    def reference(self) -> Element:
        """A Reference to the Condition."""
        return reference(self.condition, self.disease.snomed[1])


@dataclass(frozen=True, slots=True)
class Visit:
    """One past encounter."""

    number: int
    start: datetime
    staff: Staff
    problem: Problem | None
    first: bool
    """Whether the problem was new."""
    encounter: Resource

    @property
    def reference(self) -> Element:
        """A Reference to the Encounter."""
        return reference(self.encounter)

    @property
    def at(self) -> str:
        """When it began, as FHIR writes it."""
        return self.start.isoformat()

    def minutes_in(self, minutes: int) -> str:
        """Return a time during or after the visit."""
        return (self.start + timedelta(minutes=minutes)).isoformat()


def problems_of(person: Person) -> list[Problem]:
    """Return what the patient has or had, by age and gender; at most six, oldest first."""
    rng = person.rng
    found = [
        disease
        for disease in DISEASES
        if disease.ages[0] <= person.age <= disease.ages[1]
        and disease.only in ("", person.gender)
        and rng.random() < disease.share
    ][:6]
    onsets = sorted((_onset(person, disease) for disease in found), reverse=False)
    return [
        Problem(disease, _condition(person, index, disease, onset), onset)
        for index, (disease, onset) in enumerate(zip(sorted(found, key=lambda disease: not disease.chronic), onsets, strict=True))
    ]


def _onset(person: Person, disease: Disease) -> date:
    longest = (person.last_day - person.birth).days - disease.ages[0] * 365
    most = max(30, min(longest, 3000 if disease.chronic else 900))
    return person.last_day - timedelta(days=person.rng.randint(15, most))


def _condition(person: Person, index: int, disease: Disease, onset: date) -> Resource:
    over = not disease.chronic
    condition: Resource = {
        "resourceType": "Condition",
        "id": person.new_id("condition", index),
        "clinicalStatus": status("condition-clinical", "resolved" if over else "active"),
        "verificationStatus": status("condition-ver-status", "confirmed"),
        "category": [concept(THO + "condition-category", "problem-list-item", "Problem List Item")],
        "code": {
            "coding": [
                coding(SNOMED, *disease.snomed),
                coding("http://hl7.org/fhir/sid/icd-10-cm", disease.icd10),
            ],
            "text": disease.snomed[1],
        },
        "subject": person.reference,
        "onsetDateTime": onset.isoformat(),
        "recordedDate": onset.isoformat(),
        "recorder": person.doctor.reference,
    }
    if over:
        condition["abatementDateTime"] = min(onset + timedelta(days=person.rng.randint(5, 21)), person.last_day).isoformat()
    return condition


def visits_of(person: Person, problems: list[Problem]) -> list[Visit]:
    """Return the past encounters, oldest first."""
    return [
        _visit(person, number, day, problem, first)
        for number, (day, problem, first) in enumerate(sorted(_plan(person, problems), key=_day))
    ]


def _day(plan: tuple[date, Problem | None, bool]) -> date:
    return plan[0]


def _plan(person: Person, problems: list[Problem]) -> Iterator[tuple[date, Problem | None, bool]]:
    rng, last = person.rng, workday(person.last_day - timedelta(days=4))
    earliest = max(person.birth + timedelta(days=7), last - timedelta(days=1100))
    for _ in range(1 if person.age < 40 else 2):
        yield workday(_between(person, earliest, last)), None, False
    for problem in problems:
        yield min(workday(problem.onset), last), problem, True
        if problem.disease.chronic and rng.random() < 0.35:
            yield workday(_between(person, max(problem.onset + timedelta(days=14), earliest), last)), problem, False


def _between(person: Person, first: date, last: date) -> date:
    days = (last - first).days
    return first + timedelta(days=person.rng.randint(0, days)) if days > 0 else last


def _visit(person: Person, number: int, day: date, problem: Problem | None, first: bool) -> Visit:
    rng = person.rng
    start = moment(person.clinic.city, min(day, person.last_day), rng.randint(9, 15), rng.choice((0, 15, 30, 45)))
    staff = person.doctor
    telephone = problem is not None and not first and rng.random() < 0.2
    encounter: Resource = {
        "resourceType": "Encounter",
        "id": person.new_id("encounter", number),
        "identifier": [{"system": DEMO + "encounter", "value": f"ENC{person.seed:02d}{person.number:07d}{number:03d}"}],
        "status": "finished",
        "class": coding(THO + "v3-ActCode", *(("VR", "virtual") if telephone else ("AMB", "ambulatory"))),
        "type": [concept(SNOMED, *(CHECK_UP if problem is None else PROBLEM if first else FOLLOW_UP))],
        "subject": person.reference,
        "participant": [
            {
                "type": [concept(THO + "v3-ParticipationType", "PPRF", "primary performer")],
                "individual": staff.reference,
            },
        ],
        "period": {"start": start.isoformat(), "end": (start + timedelta(minutes=rng.choice((15, 20, 30)))).isoformat()},
        "serviceProvider": person.clinic.reference,
    }
    if problem:
        encounter["reasonCode"] = [concept(SNOMED, *problem.disease.snomed)]
        encounter["diagnosis"] = [{"condition": problem.reference, "rank": 1}]
    elif person.age < ADULT:
        encounter["reasonCode"] = [concept(SNOMED, "410620009", "Well child visit")]
    if not telephone:
        encounter["location"] = [
            {"location": link("Location", person.clinic.location, person.clinic.name), "status": "completed"}
        ]
    return Visit(number, start, staff, problem, first, encounter)
