"""What surrounds a patient: relatives, who pays, and what was consented to."""

from collections.abc import Iterator
from datetime import date, timedelta

from fhir_server.demo.build import DEMO, LOINC, THO, Element, Resource, coding, concept, link, make_id, moment
from fhir_server.demo.patient import patient_of
from fhir_server.demo.person import ADULT, Person
from fhir_server.demo.places import INSURERS

_TREATMENT = coding(THO + "v3-ActReason", "TREAT", "treatment")
_MARKETING = coding(THO + "v3-ActReason", "HMARKT", "healthcare marketing")


def describe(person: Person) -> Iterator[Resource]:
    """Return the patient with relatives, coverage and consents."""
    relatives = list(_relatives(person))
    yield patient_of(person, relatives)
    yield from relatives
    yield _coverage(person, relatives)
    yield from _consents(person)


def _relatives(person: Person) -> Iterator[Resource]:
    rng = person.rng
    if person.age < ADULT:
        kinds = [("MTH", "mother", "female"), ("FTH", "father", "male")][: rng.randint(1, 2)]
    elif rng.random() < 0.45:
        kinds = [
            rng.choice(
                (("SPS", "spouse", ""), ("DAUC", "daughter", "female"), ("SONC", "son", "male"), ("SIS", "sister", "female"))
            )
        ]
    else:
        kinds = []
    for index, (code, display, gender) in enumerate(kinds):
        sex = gender or rng.choice(("female", "male"))
        given = rng.choice(person.culture.female if sex == "female" else person.culture.male)[0]
        yield {
            "resourceType": "RelatedPerson",
            "id": person.new_id("related", index),
            "active": True,
            "patient": person.reference,
            "relationship": [concept(THO + "v3-RoleCode", code, display)],
            "name": [{"use": "official", "family": person.family, "given": [given]}],
            "telecom": [{"system": "phone", "value": person.clinic.phone(rng), "use": "mobile"}],
            "gender": sex,
        }


def _coverage(person: Person, relatives: list[Resource]) -> Resource:
    rng = person.rng
    key, payer, code, display = INSURERS[rng.randrange(len(INSURERS))]
    own = person.age >= ADULT
    subscriber = person.reference if own else link("RelatedPerson", relatives[0]["id"])
    relationship = ("self", "Self") if own else ("child", "Child")
    return {
        "resourceType": "Coverage",
        "id": person.new_id("coverage"),
        "identifier": [{"system": DEMO + "member", "value": f"{key[:3].upper()}{person.number:08d}"}],
        "status": "active" if person.deceased is None else "cancelled",
        "type": concept(THO + "v3-ActCode", code, display),
        "subscriber": subscriber,
        "subscriberId": f"{key[:3].upper()}{person.number:08d}",
        "beneficiary": person.reference,
        "relationship": concept(THO + "subscriber-relationship", *relationship),
        "period": {"start": f"{person.last_day.year}-01-01", "end": f"{person.last_day.year}-12-31"},
        "payor": [link("Organization", make_id(person.seed, "organization", key), payer)],
        "class": [
            {
                "type": concept(THO + "coverage-class", "plan", "Plan"),
                "value": f"P{rng.randint(10, 99)}",
                "name": rng.choice(("Bronze", "Silver", "Gold")),
            },
        ],
    }


def _consents(person: Person) -> Iterator[Resource]:
    signed = person.last_day - timedelta(days=person.rng.randint(10, 900))
    yield _consent(person, "privacy", signed, {"type": "permit", "purpose": [_TREATMENT]}, "OPTIN")
    if person.rng.random() < 0.12:
        later = signed + timedelta(days=person.rng.randint(1, 9))
        channel = concept(THO + "v3-ParticipationMode", "SMSWRIT", "SMS message")
        yield _consent(person, "sms", later, {"type": "deny", "purpose": [_MARKETING], "code": [channel]}, "OPTOUT")


def _consent(person: Person, key: str, signed: date, provision: Element, rule: str) -> Resource:
    return {
        "resourceType": "Consent",
        "id": person.new_id("consent", key),
        "status": "active",
        "scope": concept(THO + "consentscope", "patient-privacy", "Privacy Consent"),
        "category": [concept(LOINC, "57016-8", "Privacy policy acknowledgement Document")],
        "patient": person.reference,
        "dateTime": moment(person.clinic.city, signed, 10, 15).isoformat(),
        "organization": [person.clinic.reference],
        "policyRule": {"coding": [coding(THO + "v3-ActCode", rule)]},
        "provision": provision,
    }
