"""Requests of every kind, at random, against the clinic of `authz_world`."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from authz_world import IDS, LOINC, PATIENTS, some_resource

TYPES = tuple(IDS)


@dataclass(frozen=True)
class Request:
    """One request; `path` is relative to the base."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """Return the body as bytes."""
        return json.dumps(self.body).encode() if self.body is not None else b""

    def __str__(self) -> str:
        return f"{self.method} {self.path} {dict(self.headers)} {json.dumps(self.body)}"


PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "Patient": (
        "name=smith",
        "name:contains=mit",
        "family:exact=Jones",
        "gender=female",
        "birthdate=ge1970",
        "identifier=urn:mrn|m1",
        "general-practitioner=Practitioner/d1",
        "general-practitioner.name=House",
        "link=Patient/p2",
        "_has:Observation:patient:code=718-7",
        "_has:Condition:subject:code:text=flu",
        "_has:Encounter:patient:participant:Practitioner.name=Grey",
        "_has:Observation:subject:encounter.status=finished",
        "link:missing=true",
        "_filter=not (gender eq male)",
        "_filter=name co mit or birthdate ge 1990",
        "_content=face",
    ),
    "Observation": (
        "code=718-7",
        "code:not=718-7",
        "code:text=Hb",
        "category=laboratory",
        "patient=p1",
        "subject=Patient/p2",
        "subject:Patient.name=smith",
        "patient.gender=male",
        "patient.general-practitioner.name=House",
        "encounter.status=finished",
        "encounter:Encounter.subject:Patient.family=Jones",
        "performer=Practitioner/d1",
        "performer:Practitioner.name=House",
        "date=ge2024-05",
        "value-quantity=gt50",
        "encounter:missing=true",
        "_list=i1",
        "_has:List:item:status=current",
        "_has:Provenance:target:agent=Practitioner/d1",
        f"_filter=code eq {LOINC}|718-7 and not (patient re Patient/p2)",
        "status=final,preliminary",
        "code-value-quantity=718-7$gt50",
    ),
    "Condition": ("code:text=flu", "subject=Patient/p1", "asserter=Patient/p2", "patient.name=smith", "asserter:missing=false"),
    "Encounter": (
        "status=finished",
        "patient=p1",
        "participant=Practitioner/d2",
        "participant:Practitioner.name=Grey",
        "patient.gender=female",
    ),
    "DocumentReference": ("patient=p2", "author=Practitioner/d1", "location=Binary/b1", "author:Patient.gender=male"),
    "List": ("patient=p1", "item=Observation/o1", "item:Observation.code=718-7"),
    "Communication": ("recipient=Patient/p2", "subject=Patient/p1", "subject:Patient.name=smith"),
    "Appointment": ("patient=p1", "actor=Practitioner/d1", "actor:Practitioner.name=House", "status=booked"),
    "Group": ("member=Patient/p1", "type=person", "member:Patient.name=jones"),
    "Provenance": ("target=Patient/p1", "agent=Practitioner/d1", "target:Observation.code=718-7", "patient=p2"),
    "Consent": ("patient=p1", "status=active"),
    "Practitioner": ("name=House", "_has:Observation:performer:code=718-7", "_has:Patient:general-practitioner:gender=male"),
    "Organization": ("name=north", "_has:Location:organization:name=Room"),
    "Location": ("name=room", "organization.name=South"),
}
EVERYWHERE = (
    "_id=o1,p1,p2,e1,c1",
    "_lastUpdated=gt2020-01-01",
    "_security=R",
    "_security:not=V",
    "_security:missing=true",
)
RESULTS = (
    "_sort=_lastUpdated",
    "_sort=-_id",
    "_count=2",
    "_count=3",
    "_count=0",
    "_total=accurate",
    "_total=estimate",
    "_summary=count",
    "_summary=true",
    "_elements=subject",
    "_include=*",
    "_include:iterate=*",
    "_revinclude=*",
    "_include=Observation:subject",
    "_include=Observation:encounter",
    "_include:iterate=Encounter:participant",
    "_include=List:item",
    "_include:iterate=Patient:general-practitioner",
    "_revinclude=Observation:subject",
    "_revinclude=Provenance:target",
    "_revinclude:iterate=Observation:encounter",
    "_revinclude=Condition:patient",
)
SORTS: Mapping[str, tuple[str, ...]] = {
    "Patient": ("birthdate", "-family", "gender", "given"),
    "Observation": ("date", "-date", "code", "-value-quantity", "subject"),
}


class Dice(random.Random):
    """Random numbers, and the types that are mostly asked about."""

    types: tuple[str, ...] = TYPES


def _types(rng: random.Random) -> tuple[str, ...]:
    return rng.types if isinstance(rng, Dice) and rng.types and rng.random() < 0.8 else TYPES


def _id(rng: random.Random, type_: str) -> str:
    return rng.choice([*IDS[type_], "nobody"])


def _query(rng: random.Random, type_: str) -> str:
    chosen = rng.sample(PARAMETERS[type_], k=min(rng.choice([0, 1, 1, 1, 2]), len(PARAMETERS[type_])))
    if rng.random() < 0.2:
        chosen.append(rng.choice(EVERYWHERE))
    chosen += rng.sample(RESULTS, k=rng.choice([0, 0, 1, 1, 2]))
    if type_ in SORTS and rng.random() < 0.25:
        chosen.append("_sort=" + rng.choice(SORTS[type_]))
    return "&".join(f"{name}={quote(value, safe=',|:/$')}" for name, _, value in (one.partition("=") for one in chosen))


def read(rng: random.Random) -> Request:
    type_ = rng.choice(_types(rng))
    headers = {"If-None-Match": f'W/"{rng.randint(1, 3)}"'} if rng.random() < 0.2 else {}
    query = rng.choice(["", "", "", "?_summary=true", "?_elements=status,name"])
    return Request(rng.choice(["GET", "GET", "GET", "HEAD"]), f"{type_}/{_id(rng, type_)}{query}", headers=headers)


def vread(rng: random.Random) -> Request:
    type_ = rng.choice(_types(rng))
    return Request("GET", f"{type_}/{_id(rng, type_)}/_history/{rng.randint(1, 4)}")


def history(rng: random.Random) -> Request:
    type_ = rng.choice(_types(rng))
    path = rng.choice(["_history", f"{type_}/_history", *[f"{type_}/{_id(rng, type_)}/_history"] * 6])
    query = rng.choice(["", "?_count=2", "?_count=0", "?_since=2020-01-01", "?_count=5", "?_type=Observation,Patient"])
    return Request("GET", path + query)


def search(rng: random.Random) -> Request:
    type_ = rng.choice(["Observation", "Patient", *_types(rng)])
    return Request("GET", f"{type_}?{_query(rng, type_)}")


def wide_search(rng: random.Random) -> Request:
    type_ = rng.choice(_types(rng))
    query = rng.choice(["_id=p1,o1", "_lastUpdated=gt2020&_count=3", "_security=V", "_count=4&_sort=-_lastUpdated", "patient=p1"])
    types = rng.choice(["&_type=Observation,Encounter", "&_type=Patient", "&_type=Observation,Consent"])
    path = rng.choice([f"?{query}{types}", f"Patient/{rng.choice(PATIENTS)}/{type_}?{_query(rng, type_)}"])
    if rng.random() < 0.1:
        path = rng.choice(
            [f"Patient/p1/*?{query}{types}", "Patient/p2/*?_count=5", "Encounter/e1/*?_count=5", "?_id=p1&_count=9"]
        )
    return Request("GET", path)


def everything(rng: random.Random) -> Request:
    path = rng.choice([f"Patient/{_id(rng, 'Patient')}/$everything", "Patient/$everything", "Encounter/e1/$everything"])
    return Request("GET", path + rng.choice(["", "?_count=3", "?_type=Observation", "?start=2024-03-01"]))


def operation(rng: random.Random) -> Request:
    type_ = rng.choice(_types(rng))
    return rng.choice(
        [
            Request("GET", f"{type_}/{_id(rng, type_)}/$validate"),
            Request("POST", f"{type_}/$validate", some_resource(rng, type_, "x")),
            Request("GET", f"{type_}?_explain=true"),
            Request("POST", f"{type_}/{_id(rng, type_)}/$validate?mode=delete"),
            Request("POST", "Patient/$match", {"resourceType": "Parameters", "parameter": [_somebody(rng)]}),
        ]
    )


def _somebody(rng: random.Random) -> Any:
    return {"name": "resource", "resource": some_resource(rng, "Patient", rng.choice(IDS["Patient"]))}


def create(rng: random.Random) -> Request:
    type_ = rng.choice(_types(rng))
    resource = some_resource(rng, type_, "x")
    del resource["id"]
    headers = {}
    if rng.random() < 0.4:
        headers["If-None-Exist"] = rng.choice(PARAMETERS[type_])
    return Request("POST", type_, resource, headers)


def update(rng: random.Random) -> Request:
    type_ = rng.choice(_types(rng))
    id_ = _id(rng, type_)
    headers = {"If-Match": f'W/"{rng.randint(1, 4)}"'} if rng.random() < 0.3 else {}
    if rng.random() < 0.3:
        resource = some_resource(rng, type_, id_)
        if rng.random() < 0.7:
            del resource["id"]
        return Request("PUT", f"{type_}?{_criterion(rng, type_)}", resource, headers)
    return Request("PUT", f"{type_}/{id_}", some_resource(rng, type_, id_), headers)


def _criterion(rng: random.Random, type_: str) -> str:
    name, _, value = rng.choice(PARAMETERS[type_]).partition("=")
    return f"{name}={quote(value, safe=',|:/$')}"


def patch(rng: random.Random) -> Request:
    type_ = rng.choice(_types(rng))
    id_ = _id(rng, type_)
    where = f"{type_}/{id_}" if rng.random() < 0.7 else f"{type_}?{_criterion(rng, type_)}"
    operations = rng.choice(
        [
            [{"op": "add", "path": "/language", "value": "en"}],
            [{"op": "test", "path": "/photo/0/title", "value": "face"}, {"op": "add", "path": "/language", "value": "de"}],
            [{"op": "replace", "path": "/subject/reference", "value": f"Patient/{rng.choice(PATIENTS)}"}],
        ]
    )
    return Request("PATCH", where, operations, {"Content-Type": "application/json-patch+json"})


def delete(rng: random.Random) -> Request:
    type_ = rng.choice(_types(rng))
    where = f"{type_}/{_id(rng, type_)}" if rng.random() < 0.7 else f"{type_}?{_criterion(rng, type_)}"
    return Request("DELETE", where)


READS: tuple[Callable[[random.Random], Request], ...] = (*[read] * 3, *[vread] * 2, history, *[search] * 6)
DEAR: tuple[Callable[[random.Random], Request], ...] = (wide_search, everything)
WRITES: tuple[Callable[[random.Random], Request], ...] = (create, update, patch, delete)


def bundle(rng: random.Random) -> Request:
    """Return a batch or a transaction of some of the others."""
    kind = rng.choice(["batch", "batch", "transaction"])
    makers = [rng.choice([*READS, *WRITES, read, search]) for _ in range(rng.randint(2, 8))]
    if kind == "transaction":
        makers = [rng.choice([read, search, create, update, delete]) for _ in range(rng.randint(1, 3))]
    return Request("POST", "", {"resourceType": "Bundle", "type": kind, "entry": [_entry(make(rng)) for make in makers]})


def _entry(request: Request) -> Any:
    asked: dict[str, Any] = {"method": request.method, "url": request.path}
    for header, member in (("If-None-Match", "ifNoneMatch"), ("If-Match", "ifMatch"), ("If-None-Exist", "ifNoneExist")):
        if header in request.headers:
            asked[member] = request.headers[header]
    found: dict[str, Any] = {"request": asked}
    if request.method == "PATCH":
        found["resource"] = {"resourceType": "Parameters", "parameter": []}
    elif request.body is not None:
        found["resource"] = request.body
    return found


TRAIL: tuple[str, ...] = (
    "AuditEvent?patient=p1",
    "AuditEvent?patient=Patient/p2&_total=accurate",
    "AuditEvent?entity=Observation/o1,Condition/c1",
    "AuditEvent?outcome=4&_summary=count",
    "AuditEvent?patient.name=smith",
    "AuditEvent?patient.gender=female&_total=accurate",
    "AuditEvent?entity:Observation.code=718-7",
    "AuditEvent?_include=AuditEvent:patient&_count=3",
    "AuditEvent?_include=AuditEvent:entity&_sort=-date&_count=5",
    "AuditEvent?_id=log-00000000000-00000000-00000000-0000",
    "AuditEvent/log-00000000000-00000000-00000000-0000",
    "AuditEvent/_history",
    "Patient?_has:AuditEvent:patient:action=R",
    "Patient?_revinclude=AuditEvent:patient",
    "Observation?_has:AuditEvent:entity:outcome=0",
    "Patient/p2/AuditEvent",
    "Patient/p1/AuditEvent?_count=2",
)
"""Questions to the audit trail, and by way of it to other resources."""


def trail_request(rng: random.Random) -> Request:
    """Return a request that could learn something from the audit trail."""
    return Request("GET", rng.choice(TRAIL))


def some_request(rng: random.Random) -> Request:
    """Return a request of any kind."""
    return rng.choice([*READS, *READS, *DEAR, *WRITES, *WRITES, operation, bundle])(rng)
