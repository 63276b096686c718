"""A clinic: its organisation, rooms, people, their roles and hours."""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from random import Random

from fhir_server.demo.build import DEMO, SNOMED, THO, Element, Resource, coding, concept, later_workdays, link, make_id, moment
from fhir_server.demo.names import CULTURES
from fhir_server.demo.places import CITIES, CLINICS, INSURERS, STREETS, City

PATIENTS_PER_CLINIC = 40
SLOT_MINUTES = 30
_FREE_HOURS = ((14, 0), (14, 30), (15, 0), (16, 0))
"""When there are open slots. Booked appointments lie in the mornings, so the two never meet."""
_FREE_DAYS = 4

_STAFF = (
    ("doctor", "Physician", "59058001", "General physician", "394814009", "General practice"),
    ("doctor", "Physician", "59058001", "General physician", "419192003", "Internal medicine"),
    ("doctor", "Physician", "82296001", "Pediatrician", "394537008", "Pediatric specialty"),
    ("nurse", "Registered nurse", "224535009", "Registered nurse", "408443003", "General medical practice"),
    ("", "Care coordinator", "768820003", "Care coordinator", "408443003", "General medical practice"),
)


@dataclass(frozen=True, slots=True)
class Staff:
    """Someone who works at a clinic; ids of the resources that say so."""

    id: str
    name: str
    role: str
    schedule: str
    specialty: Element

    @property
    def reference(self) -> Element:
        """A Reference to the Practitioner."""
        return link("Practitioner", self.id, self.name)


@dataclass(frozen=True, slots=True)
class Clinic:
    """What patients need to know of their clinic."""

    seed: int
    number: int
    city: City
    name: str
    id: str
    location: str
    staff: tuple[Staff, ...]

    @property
    def reference(self) -> Element:
        """A Reference to the Organization."""
        return link("Organization", self.id, self.name)

    @property
    def site(self) -> Element:
        """A Reference to the Location."""
        return link("Location", self.location, self.name)

    def phone(self, rng: Random) -> str:
        """Return a telephone number of the range that is reserved for fiction."""
        return f"+1-{self.city.area_code}-555-01{rng.randint(0, 99):02d}"


def network(seed: int) -> list[Resource]:
    """Return what all clinics share: the organisation above them, and the insurers."""
    parent: Resource = {
        "resourceType": "Organization",
        "id": make_id(seed, "organization", "network"),
        "identifier": [{"system": DEMO + "organization", "value": f"NET-{seed}"}],
        "active": True,
        "type": [concept(THO + "organization-type", "prov", "Healthcare Provider")],
        "name": "Demonstration Health Network",
        "alias": ["DHN", "Réseau de santé «Démonstration»"],
        "telecom": [{"system": "url", "value": "https://demo.example.org"}],
    }
    return [parent, *(_insurer(seed, key, name) for key, name, _, _ in INSURERS)]


def _insurer(seed: int, key: str, name: str) -> Resource:
    return {
        "resourceType": "Organization",
        "id": make_id(seed, "organization", key),
        "identifier": [{"system": DEMO + "payer", "value": key.upper()}],
        "active": True,
        "type": [concept(THO + "organization-type", "ins", "Insurance Company")],
        "name": name,
    }


def open_clinic(seed: int, number: int, today: date) -> tuple[Clinic, list[Resource]]:
    """Return a clinic with the resources that describe it."""
    rng = Random(f"{seed}/clinic/{number}")
    city = CITIES[number % len(CITIES)]
    name = f"{city.name} {CLINICS[(number * 5 + seed) % len(CLINICS)]}"
    id_ = make_id(seed, "organization", number)
    people = [_hire(seed, number, index, rng) for index in range(len(_STAFF))]
    clinic = Clinic(seed, number, city, name, id_, make_id(seed, "location", number), tuple(member for member, _ in people))
    resources = [_organization(clinic, rng), *_locations(clinic, rng), *(practitioner for _, practitioner in people)]
    for index, member in enumerate(clinic.staff):
        resources.append(_role(clinic, member, index, rng))
        resources += _hours(clinic, member, index, today)
    return clinic, resources


def _hire(seed: int, number: int, index: int, rng: Random) -> tuple[Staff, Resource]:
    culture = rng.choices(CULTURES, [culture.weight for culture in CULTURES])[0]
    gender = rng.choice(("female", "male"))
    given = rng.choice(culture.female if gender == "female" else culture.male)[0]
    family = rng.choice(culture.families)[0]
    title = "Dr." if _STAFF[index][0] == "doctor" else ""
    suffix = {"doctor": "MD", "nurse": "RN"}.get(_STAFF[index][0], "")
    staff = Staff(
        make_id(seed, "practitioner", number, index),
        f"{title} {given} {family}".strip(),
        make_id(seed, "role", number, index),
        make_id(seed, "schedule", number, index),
        concept(SNOMED, _STAFF[index][4], _STAFF[index][5]),
    )
    name: Element = {"use": "official", "family": family, "given": [given]}
    if title:
        name["prefix"] = [title]
    if suffix:
        name["suffix"] = [suffix]
    practitioner: Resource = {
        "resourceType": "Practitioner",
        "id": staff.id,
        "identifier": [{"use": "official", "system": DEMO + "staff", "value": f"STF-{seed}-{number:04d}-{index}"}],
        "active": True,
        "name": [name],
        "telecom": [{"system": "email", "value": f"staff-{number}-{index}@clinic.example.org", "use": "work"}],
        "gender": gender,
        "birthDate": date(rng.randint(1960, 1995), rng.randint(1, 12), rng.randint(1, 28)).isoformat(),
        "communication": [{"coding": [coding("urn:ietf:bcp:47", culture.language[0], culture.language[1])]}],
    }
    if title:
        practitioner["qualification"] = [
            {
                "identifier": [{"system": DEMO + "license", "value": f"L{rng.randint(100000, 999999)}"}],
                "code": concept(THO + "v2-0360", "MD", "Doctor of Medicine"),
                "period": {"start": str(rng.randint(1990, 2020))},
            },
        ]
    return staff, practitioner


def _organization(clinic: Clinic, rng: Random) -> Resource:
    return {
        "resourceType": "Organization",
        "id": clinic.id,
        "identifier": [{"system": DEMO + "organization", "value": f"ORG-{clinic.seed}-{clinic.number:04d}"}],
        "active": True,
        "type": [concept(THO + "organization-type", "prov", "Healthcare Provider")],
        "name": clinic.name,
        "telecom": [
            {"system": "phone", "value": clinic.phone(rng), "use": "work", "rank": 1},
            {"system": "email", "value": f"desk-{clinic.number}@clinic.example.org", "use": "work"},
        ],
        "address": [_address(clinic, rng)],
        "partOf": link("Organization", make_id(clinic.seed, "organization", "network")),
    }


def _address(clinic: Clinic, rng: Random) -> Element:
    return {
        "use": "work",
        "type": "both",
        "line": [f"{rng.randint(1, 999)} {rng.choice(STREETS)}"],
        "city": clinic.city.name,
        "state": clinic.city.state,
        "postalCode": f"{clinic.city.zip}{rng.randint(1, 60):02d}",
        "country": "US",
    }


def _locations(clinic: Clinic, rng: Random) -> list[Resource]:
    site: Resource = {
        "resourceType": "Location",
        "id": clinic.location,
        "identifier": [{"system": DEMO + "location", "value": f"LOC-{clinic.seed}-{clinic.number:04d}"}],
        "status": "active",
        "name": clinic.name,
        "mode": "instance",
        "type": [concept(THO + "v3-RoleCode", "OF", "outpatient facility")],
        "telecom": [{"system": "phone", "value": clinic.phone(rng), "use": "work"}],
        "address": _address(clinic, rng),
        "physicalType": concept(THO + "location-physical-type", "si", "Site"),
        "position": _position(clinic.city),
        "managingOrganization": clinic.reference,
        "hoursOfOperation": [
            {"daysOfWeek": ["mon", "tue", "wed", "thu", "fri"], "openingTime": "08:30:00", "closingTime": "17:30:00"}
        ],
    }
    rooms: list[Resource] = [
        {
            "resourceType": "Location",
            "id": make_id(clinic.seed, "room", clinic.number, room),
            "status": "active",
            "name": f"Room {room}",
            "mode": "instance",
            "physicalType": concept(THO + "location-physical-type", "ro", "Room"),
            "managingOrganization": clinic.reference,
            "partOf": clinic.site,
        }
        for room in (1, 2)
    ]
    return [site, *rooms]


def _position(city: City) -> Element:
    return {"longitude": Decimal(city.longitude), "latitude": Decimal(city.latitude)}


def _role(clinic: Clinic, member: Staff, index: int, rng: Random) -> Resource:
    kind, title, code, display, _, _ = _STAFF[index]
    return {
        "resourceType": "PractitionerRole",
        "id": member.role,
        "active": True,
        "period": {"start": date(rng.randint(2012, 2023), rng.randint(1, 12), 1).isoformat()},
        "practitioner": member.reference,
        "organization": clinic.reference,
        "code": [
            {
                "coding": [*([coding(THO + "practitioner-role", kind)] if kind else []), coding(SNOMED, code, display)],
                "text": title,
            },
        ],
        "specialty": [member.specialty],
        "location": [clinic.site],
        "availableTime": [
            {"daysOfWeek": ["mon", "tue", "wed", "thu", "fri"], "availableStartTime": "09:00:00", "availableEndTime": "17:00:00"},
        ],
        "notAvailable": [{"description": "Public holidays"}],
    }


def _hours(clinic: Clinic, member: Staff, index: int, today: date) -> list[Resource]:
    days = list(later_workdays(today, _FREE_DAYS))
    schedule: Resource = {
        "resourceType": "Schedule",
        "id": member.schedule,
        "active": True,
        "serviceType": [concept(THO + "service-type", "124", "General Practice")],
        "specialty": [member.specialty],
        "actor": [member.reference, clinic.site],
        "planningHorizon": {
            "start": moment(clinic.city, today, 0).isoformat(),
            "end": moment(clinic.city, today + timedelta(days=60), 0).isoformat(),
        },
        "comment": "Afternoons are kept open for urgent visits.",
    }
    slots = [
        slot(clinic, member, f"{clinic.number}-{index}-{day:%Y%m%d}-{hour:02d}{minute:02d}", (day, hour, minute))
        for day in days
        for hour, minute in _FREE_HOURS
    ]
    return [schedule, *slots]


def slot(clinic: Clinic, member: Staff, number: str, when: tuple[date, int, int], status: str = "free") -> Resource:
    """Return a Slot of a member's schedule."""
    start = moment(clinic.city, *when)
    return {
        "resourceType": "Slot",
        "id": make_id(clinic.seed, "slot", number),
        "serviceType": [concept(THO + "service-type", "124", "General Practice")],
        "specialty": [member.specialty],
        "schedule": link("Schedule", member.schedule),
        "status": status,
        "start": start.isoformat(),
        "end": (start + timedelta(minutes=SLOT_MINUTES)).isoformat(),
    }
