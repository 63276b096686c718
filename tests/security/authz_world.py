"""A small clinic, and a model of who may see what of it that reads resources by hand and knows no index, filter or query."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

PATIENTS = ("p1", "p2", "p3")
CONFIDENTIAL = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
CATEGORIES = "http://terminology.hl7.org/CodeSystem/observation-category"
LOINC = "http://loinc.org"
Resource = dict[str, Any]
Allows = Callable[[str, str, Resource], bool]
LINKS: Mapping[str, tuple[str, ...]] = {
    "Observation": ("subject", "performer"),
    "Condition": ("subject", "asserter"),
    "Encounter": ("subject",),
    "DocumentReference": ("subject", "author"),
    "List": ("subject", "source"),
    "Consent": ("patient",),
    "Communication": ("subject", "recipient", "sender"),
    "Appointment": ("participant.actor",),
    "Group": ("member.entity",),
    "Provenance": ("target",),
}
"""Elements by which R4's CompartmentDefinition puts these types into the record of a patient."""
SHARED = ("Practitioner", "Organization", "Location", "Medication")


def in_record(resource: Resource, patient: str) -> bool:
    """Tell whether a resource belongs to the record of a patient."""
    type_ = resource["resourceType"]
    if type_ == "Patient":
        linked = any(link["other"]["reference"] == f"Patient/{patient}" for link in resource.get("link", ()))
        return resource["id"] == patient or linked
    return any(f"Patient/{patient}" == text for path in LINKS.get(type_, ()) for text in _references(resource, path.split(".")))


def _references(node: Any, path: list[str]) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _references(item, path)
    elif not path:
        yield node.get("reference", "")
    elif path[0] in node:
        yield from _references(node[path[0]], path[1:])


def labels(resource: Resource) -> set[str]:
    """Return the confidentiality labels of a resource."""
    return {coding["code"] for coding in resource.get("meta", {}).get("security", ()) if coding.get("system") == CONFIDENTIAL}


def category(resource: Resource) -> set[str]:
    """Return the codes of the categories of an Observation."""
    return {coding["code"] for concept in resource.get("category", ()) for coding in concept["coding"]}


@dataclass(frozen=True)
class Actor:
    """Somebody, the claims of their token, and what the model says they may do."""

    name: str
    claims: Mapping[str, Any]
    allows: Allows
    even: bool = True
    """Whether whatever may be read may be searched, and the other way round."""
    headers: Mapping[str, str] = field(default_factory=dict)


def record(patient: str, letters: str) -> Allows:
    """Return the rule of `patient/*.<letters>`."""

    def allows(type_: str, letter: str, resource: Resource) -> bool:
        if letter not in letters:
            return False
        return in_record(resource, patient) or (type_ in SHARED and letter in "rs")

    return allows


def of_types(letters: str, *types: str, unlabelled: str = "") -> Allows:
    """Return a rule for whole types, without resources that have certain labels."""

    def allows(type_: str, letter: str, resource: Resource) -> bool:
        return letter in letters and (type_ in types or "*" in types) and not labels(resource) & set(unlabelled)

    return allows


def either(*rules: Allows) -> Allows:
    """Return the rule that allows what one of these does."""
    return lambda type_, letter, resource: any(rule(type_, letter, resource) for rule in rules)


def both(*rules: Allows) -> Allows:
    """Return the rule that allows what each of these does."""
    return lambda type_, letter, resource: all(rule(type_, letter, resource) for rule in rules)


def laboratory(type_: str, _letter: str, resource: Resource) -> bool:
    """Tell whether it is a laboratory result."""
    return type_ == "Observation" and "laboratory" in category(resource)


def not_of(*types: str) -> Allows:
    """Return the rule that allows all but these types."""
    return lambda type_, _letter, _resource: type_ not in types


FRONT_DESK = ("Patient", "Appointment", "Communication", "Coverage")
ACTORS = (
    Actor("an app with the record of p1", {"scope": "patient/*.cruds", "patient": "p1"}, record("p1", "cruds")),
    Actor(
        "an app with the laboratory results of p1",
        {"scope": "patient/Observation.rs?category=laboratory patient/Patient.r patient/Encounter.rs", "patient": "p1"},
        either(
            both(record("p1", "rs"), laboratory),
            both(record("p1", "r"), of_types("r", "Patient")),
            both(record("p1", "rs"), of_types("rs", "Encounter")),
        ),
        even=False,
    ),
    Actor(
        "an app with version 1 scopes for p2",
        {"scope": "patient/Observation.read patient/Patient.* patient/Condition.write", "patient": "p2"},
        either(
            both(record("p2", "rs"), of_types("rs", "Observation")),
            both(record("p2", "cruds"), of_types("cruds", "Patient")),
            both(record("p2", "cud"), of_types("cud", "Condition")),
        ),
        even=False,
    ),
    Actor(
        "an app of a clinician with the record of p2",
        {"scope": "patient/*.rs user/Practitioner.rs", "patient": "p2", "roles": ["clinician"], "fhirUser": "Practitioner/d1"},
        both(
            either(record("p2", "rs"), of_types("rs", "Practitioner")),
            of_types("rs", "*", unlabelled="V"),
            not_of("AuditEvent"),
        ),
    ),
    Actor(
        "a clinician",
        {"scope": "user/*.cruds", "roles": ["clinician"], "fhirUser": "Practitioner/d1"},
        either(
            both(of_types("cruds", "*", unlabelled="V"), not_of("AuditEvent", "Consent", "SearchParameter")),
            of_types("rs", "Consent", unlabelled="V"),
        ),
    ),
    Actor(
        "a clinician who breaks the glass",
        {"scope": "user/*.rs", "roles": ["clinician"]},
        both(of_types("rs", "*"), not_of("AuditEvent")),
        headers={"X-Break-Glass": "unconscious in the emergency room"},
    ),
    Actor(
        "somebody who only reads",
        {"scope": "user/*.cruds", "roles": ["read_only"]},
        both(of_types("rs", "*", unlabelled="RV"), not_of("AuditEvent")),
    ),
    Actor(
        "the front desk",
        {"scope": "user/*.cruds", "roles": ["front_desk"]},
        either(
            of_types("crus", *FRONT_DESK, unlabelled="RV"),
            of_types("rs", "Organization", "Location", "Practitioner", unlabelled="RV"),
        ),
        even=False,
    ),
    Actor(
        "a clinician with an app for one code",
        {"scope": f"user/Observation.rs?code={LOINC}|718-7 user/Practitioner.s", "roles": ["clinician"]},
        both(
            either(
                lambda type_, letter, one: (
                    type_ == "Observation"
                    and letter in "rs"
                    and one.get("code", {}).get("coding", [{}])[0].get("code") == "718-7"
                ),
                of_types("s", "Practitioner"),
            ),
            of_types("rs", "*", unlabelled="V"),
        ),
        even=False,
    ),
    Actor(
        "a service that reads observations and searches nothing else",
        {"scope": "system/Observation.rs system/Patient.r", "client_id": "svc", "sub": "svc"},
        either(of_types("rs", "Observation"), of_types("r", "Patient")),
        even=False,
    ),
    Actor(
        "a patient in person",
        {"scope": "user/*.rs", "roles": ["patient"], "fhirUser": "Patient/p3"},
        both(record("p3", "rs"), not_of("AuditEvent")),
    ),
    Actor(
        "an app that p1 does not share conditions with",
        {"scope": "patient/*.rs", "patient": "p1", "client_id": "nosy"},
        both(record("p1", "rs"), not_of("Condition")),
    ),
    Actor("an app without a patient", {"scope": "patient/*.cruds"}, lambda *_: False),
    Actor("a person without a role", {"scope": "user/*.cruds"}, lambda *_: False),
)


def some_resource(rng: random.Random, type_: str, id_: str) -> Resource:
    """Return a resource of a type with random content."""
    patient = {"reference": f"Patient/{rng.choice(PATIENTS)}"}
    found: Resource = {"resourceType": type_, "id": id_}
    if rng.random() < 0.25:
        found["meta"] = {"security": [{"system": CONFIDENTIAL, "code": rng.choice(["R", "V", "N"])}]}
    return found | _CONTENT[type_](rng, patient)


def _observation(rng: random.Random, patient: Resource) -> Resource:
    found: Resource = {
        "status": rng.choice(["final", "preliminary"]),
        "category": [{"coding": [{"system": CATEGORIES, "code": rng.choice(["laboratory", "vital-signs"])}]}],
        "code": {"coding": [{"system": LOINC, "code": rng.choice(["718-7", "8867-4"])}], "text": rng.choice(["Hb", "Pulse"])},
        "subject": patient,
        "effectiveDateTime": f"2024-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}",
        "valueQuantity": {"value": rng.randint(1, 99), "unit": "g/dL"},
    }
    if rng.random() < 0.3:
        found["performer"] = [{"reference": rng.choice(["Patient/p1", "Patient/p2", "Practitioner/d1"])}]
    if rng.random() < 0.5:
        found["encounter"] = {"reference": f"Encounter/e{rng.randint(1, 4)}"}
    return found


def _patient(rng: random.Random, _: Resource) -> Resource:
    found: Resource = {
        "name": [{"family": rng.choice(["Smith", "Smithers", "Jones"]), "given": [rng.choice(["Ann", "Bob"])]}],
        "gender": rng.choice(["male", "female"]),
        "birthDate": f"19{rng.randint(40, 99)}-01-01",
        "identifier": [{"system": "urn:mrn", "value": f"m{rng.randint(1, 6)}"}],
        "generalPractitioner": [{"reference": f"Practitioner/d{rng.randint(1, 2)}"}],
        "photo": [{"title": rng.choice(["face", "side"])}],
    }
    if rng.random() < 0.2:
        found["link"] = [{"other": {"reference": f"Patient/{rng.choice(PATIENTS)}"}, "type": "seealso"}]
    return found


def _consent(rng: random.Random, patient: Resource) -> Resource:
    return {
        "status": rng.choice(["active", "rejected"]),
        "scope": {"coding": [{"code": "research"}]},
        "category": [{"text": "any"}],
        "patient": patient,
        "policyRule": {"text": "any"},
    }


_CONTENT: Mapping[str, Callable[[random.Random, Resource], Resource]] = {
    "Patient": _patient,
    "Observation": _observation,
    "Condition": lambda rng, patient: {
        "subject": patient,
        "code": {"text": rng.choice(["flu", "gout"])},
        **({"asserter": {"reference": f"Patient/{rng.choice(PATIENTS)}"}} if rng.random() < 0.3 else {}),
    },
    "Encounter": lambda rng, patient: {
        "status": rng.choice(["finished", "planned"]),
        "class": {"code": "AMB"},
        "subject": patient,
        "participant": [{"individual": {"reference": f"Practitioner/d{rng.randint(1, 2)}"}}],
    },
    "DocumentReference": lambda rng, patient: {
        "status": "current",
        "subject": patient,
        "author": [{"reference": rng.choice(["Practitioner/d1", "Patient/p3"])}],
        "content": [{"attachment": {"url": f"Binary/b{rng.randint(1, 3)}"}}],
    },
    "List": lambda rng, patient: {
        "status": "current",
        "mode": "working",
        "subject": patient,
        "entry": [{"item": {"reference": f"Observation/o{rng.randint(1, 9)}"}} for _ in range(3)],
    },
    "Communication": lambda rng, patient: {
        "status": "completed",
        "subject": patient,
        "recipient": [{"reference": f"Patient/{rng.choice(PATIENTS)}"}],
    },
    "Appointment": lambda _, patient: {
        "status": "booked",
        "participant": [
            {"actor": patient, "status": "accepted"},
            {"actor": {"reference": "Practitioner/d1"}, "status": "accepted"},
        ],
    },
    "Group": lambda _, patient: {"type": "person", "actual": True, "member": [{"entity": patient}]},
    "Provenance": lambda rng, patient: {
        "target": [patient, {"reference": f"Observation/o{rng.randint(1, 9)}"}],
        "recorded": "2024-01-01T00:00:00Z",
        "agent": [{"who": {"reference": "Practitioner/d1"}}],
    },
    "Consent": _consent,
    "Practitioner": lambda rng, _: {"name": [{"family": rng.choice(["House", "Grey"])}]},
    "Organization": lambda rng, _: {"name": rng.choice(["North", "South"])},
    "Location": lambda rng, _: {
        "name": rng.choice(["Room 1", "Room 2"]),
        "managingOrganization": {"reference": "Organization/g1"},
    },
}
IDS: Mapping[str, tuple[str, ...]] = {
    "Patient": ("p1", "p2", "p3", "p4"),
    "Practitioner": ("d1", "d2"),
    "Organization": ("g1",),
    "Location": ("l1", "l2"),
    "Encounter": ("e1", "e2", "e3", "e4"),
    "Observation": tuple(f"o{number}" for number in range(1, 13)),
    "Condition": ("c1", "c2", "c3", "c4"),
    "DocumentReference": ("r1", "r2", "r3"),
    "List": ("i1", "i2"),
    "Communication": ("m1", "m2", "m3"),
    "Appointment": ("a1", "a2"),
    "Group": ("u1", "u2"),
    "Provenance": ("v1", "v2", "v3"),
    "Consent": ("s1", "s2"),
}


def story(rng: random.Random) -> Iterator[tuple[str, str, str, Resource | None]]:
    """Yield what happens in the clinic: method, type, id and resource; some resources change hands, some are deleted."""
    for type_, ids in IDS.items():
        for id_ in ids:
            yield "PUT", type_, id_, some_resource(rng, type_, id_)
            while rng.random() < 0.35:
                if rng.random() < 0.3 and type_ not in ("Patient", "Practitioner"):
                    yield "DELETE", type_, id_, None
                    if rng.random() < 0.5:
                        break
                yield "PUT", type_, id_, some_resource(rng, type_, id_)
    provision = {
        "type": "deny",
        "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Condition"}],
        "actor": [{"role": {"text": "recipient"}, "reference": {"identifier": {"value": "nosy"}}}],
    }
    scope = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]}
    consent = _consent(rng, {"reference": "Patient/p1"}) | {"status": "active", "scope": scope, "provision": provision}
    yield "PUT", "Consent", "s9", {"resourceType": "Consent", "id": "s9"} | consent
