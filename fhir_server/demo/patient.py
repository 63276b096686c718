"""The Patient resource, with all that a demographic record may hold."""

from datetime import timedelta
from random import Random

from fhir_server.demo.build import DEMO, THO, Element, Resource, coding, concept, extension
from fhir_server.demo.names import ETHNICITIES, RACES
from fhir_server.demo.person import ADULT, Person
from fhir_server.demo.places import STREETS

_CDC = "urn:oid:2.16.840.1.113883.6.238"


def patient_of(person: Person, relatives: list[Resource]) -> Resource:
    """Return the Patient; its relatives are its emergency contacts."""
    rng = person.rng
    patient: Resource = {
        "resourceType": "Patient",
        "id": person.id,
        "meta": {"profile": [extension("us-core-patient")["url"]]},
        "extension": [*_race_and_ethnicity(person), *_birth_sex(person)],
        "identifier": _identifiers(person),
        "active": person.deceased is None and rng.random() > 0.03,
        "name": _names(person),
        "telecom": _telecoms(person),
        "gender": person.gender,
        "birthDate": person.birth.isoformat(),
    }
    if person.deceased:
        patient["deceasedDateTime"] = person.deceased.isoformat()
    patient["address"] = _addresses(person)
    if person.age >= ADULT:
        code, display = rng.choice(
            (("M", "Married"), ("S", "Never Married"), ("D", "Divorced"), ("W", "Widowed"), ("T", "Domestic partner"))
        )
        patient["maritalStatus"] = concept(THO + "v3-MaritalStatus", code, display)
    elif rng.random() < 0.05:
        patient["multipleBirthInteger"] = rng.randint(1, 2)
    if contacts := [_contact(person, relative) for relative in relatives]:
        patient["contact"] = contacts
    patient["communication"] = _languages(person)
    patient["generalPractitioner"] = [person.doctor.reference]
    patient["managingOrganization"] = person.clinic.reference
    return patient


def _race_and_ethnicity(person: Person) -> list[Element]:
    race = (person.culture.race, RACES[person.culture.race])
    ethnicity = (person.culture.ethnicity, ETHNICITIES[person.culture.ethnicity])
    return [
        extension(
            name,
            extension=[
                {"url": "ombCategory", "valueCoding": coding(_CDC, code, display)},
                {"url": "text", "valueString": display},
            ],
        )
        for name, (code, display) in (("us-core-race", race), ("us-core-ethnicity", ethnicity))
    ]


def _birth_sex(person: Person) -> list[Element]:
    sex = {"female": "F", "male": "M"}.get(person.gender, "UNK")
    return [extension("us-core-birthsex", valueCode=sex)]


def _identifiers(person: Person) -> list[Element]:
    identifiers: list[Element] = [
        {
            "use": "usual",
            "type": concept(THO + "v2-0203", "MR", "Medical record number"),
            "system": DEMO + "mrn",
            "value": f"MRN{person.seed:02d}{person.number:07d}",
            "assigner": person.clinic.reference,
        },
    ]
    if person.age >= ADULT and person.rng.random() < 0.6:
        identifiers.append(
            {
                "use": "official",
                "type": concept(THO + "v2-0203", "DL", "Driver's license number"),
                "system": DEMO + "drivers-license",
                "value": f"{person.clinic.city.state}{person.rng.randint(1_000_000, 9_999_999)}",
            },
        )
    return identifiers


def _names(person: Person) -> list[Element]:
    rng = person.rng
    official: Element = {"use": "official", "family": person.family, "given": list(person.given)}
    if person.gender == "male" and rng.random() < 0.04:
        official["suffix"] = [rng.choice(("Jr.", "Sr.", "III"))]
    names = [official]
    if person.native:
        family, given = person.native.split(" ", 1)
        names.append({"use": "usual", "text": person.native, "family": family, "given": [given]})
    if person.gender == "female" and person.age > 25 and rng.random() < 0.3:
        maiden = rng.choice(person.culture.families)[0]
        names.append(
            {
                "use": "maiden",
                "family": maiden,
                "given": list(person.given),
                "period": {"end": str(person.birth.year + rng.randint(20, 25))},
            },
        )
    if rng.random() < 0.1:
        names.append({"use": "nickname", "given": [person.given[0][: rng.randint(2, 4)]]})
    return names


def _telecoms(person: Person) -> list[Element]:
    rng = person.rng
    telecoms: list[Element] = [{"system": "phone", "value": person.phone, "use": "mobile", "rank": 1}]
    if rng.random() < 0.4:
        telecoms.append({"system": "phone", "value": person.clinic.phone(rng), "use": "home"})
    if person.age >= ADULT and rng.random() < 0.8:
        telecoms.append({"system": "email", "value": person.email, "use": "home"})
    if rng.random() < 0.1:
        end = person.last_day - timedelta(days=rng.randint(100, 2000))
        telecoms.append({"system": "phone", "value": person.clinic.phone(rng), "use": "old", "period": {"end": end.isoformat()}})
    return telecoms


def _addresses(person: Person) -> list[Element]:
    home = Random(f"{person.seed}/address/{person.household}")
    addresses = [_address(person, home, "home")]
    if person.rng.random() < 0.12:
        old = _address(person, person.rng, "old")
        old["period"] = {"end": str(person.last_day.year - person.rng.randint(1, 9))}
        addresses.append(old)
    return addresses


def _address(person: Person, rng: Random, use: str) -> Element:
    city = person.clinic.city
    line = [f"{rng.randint(1, 2400)} {rng.choice(STREETS)}"]
    if rng.random() < 0.35:
        line.append(f"Apt {rng.randint(1, 40)}{rng.choice('ABCD')}")
    return {
        "use": use,
        "line": line,
        "city": city.name,
        "state": city.state,
        "postalCode": f"{city.zip}{rng.randint(1, 60):02d}",
        "country": "US",
    }


def _languages(person: Person) -> list[Element]:
    tag, display = person.culture.language
    english = tag.startswith("en")
    prefers_own = not english and person.rng.random() < 0.5
    spoken = [
        {"language": {"coding": [coding("urn:ietf:bcp:47", tag, display)], "text": display}, "preferred": english or prefers_own}
    ]
    if not english:
        text = "English (United States)"
        spoken.append(
            {"language": {"coding": [coding("urn:ietf:bcp:47", "en-US", text)], "text": text}, "preferred": not prefers_own}
        )
    return spoken


def _contact(person: Person, relative: Resource) -> Element:
    role = relative["relationship"][0]["coding"][0]
    emergency = coding(THO + "v2-0131", "C", "Emergency Contact")
    return {
        "relationship": [{"coding": [emergency, role], "text": f"Emergency contact ({role['display']})"}],
        "name": relative["name"][0],
        "telecom": relative["telecom"],
        "address": _address(person, Random(f"{person.seed}/address/{person.household}"), "home"),
        "gender": relative["gender"],
    }
