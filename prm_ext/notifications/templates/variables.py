"""The values of well-known variables, from the resources that a message is about.

Patient ← `subject`, else the recipient; Appointment, MedicationRequest, DiagnosticReport, CarePlan ← `about`; Practitioner,
Location and HealthcareService ← the participants of the Appointment. Each round of reads is one query a resource type.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fhir_server.exchange import Context
from fhir_server.fhir.reference import parse
from fhir_server.security.views import shown
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates import names
from prm_ext.notifications.templates.wellknown import WELL_KNOWN

Resource = dict[str, Any]
_NOTHING: Final[Resource] = {}
_GONE: Final = frozenset({"entered-in-error", "declined"})


@dataclass(frozen=True, slots=True)
class About:
    """What a message is about."""

    recipient: Resource | None = None
    subject: Resource | None = None
    """The patient, where it is not who gets the message."""
    resources: tuple[Resource, ...] = ()
    """Others, such as an Appointment."""
    references: tuple[str, ...] = ()
    """Those of which only the reference is known."""
    contained: Mapping[str, Resource] = field(default_factory=dict)

    @staticmethod
    def of_request(request: Resource, recipient: Resource | None) -> "About":
        """Return what a CommunicationRequest, or a Communication, is about."""
        nodes = [request.get("subject"), *request.get("about", ())]
        references = [node.get("reference", "") for node in nodes if node]
        if recipient is None:
            references += [node.get("reference", "") for node in request.get("recipient", ())[:1]]
        contained = {f"#{one.get('id', '')}": one for one in request.get("contained", ())}
        return About(recipient, references=tuple(references), contained=contained)


class _Found:
    """The resources of a message, read in rounds."""

    def __init__(self, ctx: Context, about: About) -> None:
        self._ctx = ctx
        self.by_reference: dict[str, Resource] = dict(about.contained)
        given = [one for one in (about.recipient, about.subject, *about.resources) if one]
        for one in given:
            self.by_reference[f"{one['resourceType']}/{one.get('id', '')}"] = one
        self.first = [*(self._name(reference) for reference in about.references), *map(_key, given)]

    def _name(self, reference: str) -> str:
        return parse(reference, self._ctx.base_url).text

    async def read(self, references: Iterable[str]) -> None:
        """Read what is not there yet."""
        wanted = set()
        for reference in references:
            target = parse(reference, self._ctx.base_url).target
            if target is not None and f"{target[0]}/{target[1]}" not in self.by_reference:
                wanted.add(target)
        for version in await self._ctx.repo.currents(wanted) if wanted else ():
            if version.resource is not None:
                access = self._ctx.access
                self.by_reference[version.reference] = version.resource if access is None else shown(access, version.resource)

    def get(self, node: Any) -> Resource:
        """Return what a reference leads to; nothing where it was not found."""
        reference = node.get("reference", "") if isinstance(node, Mapping) else ""
        return self.by_reference.get(self._name(reference), _NOTHING) if reference else _NOTHING

    def of_type(self, type_: str) -> Resource:
        """Return the first of a type among what the message names itself."""
        found = (self.by_reference.get(reference, _NOTHING) for reference in self.first)
        return next((one for one in found if one.get("resourceType") == type_), _NOTHING)


def _key(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource.get('id', '')}"


@dataclass(frozen=True, slots=True)
class _Facts:
    patient: Resource
    recipient: Resource
    appointment: Resource
    practitioner: str
    location: Resource
    location_name: str
    service: Resource
    organisation: str
    medication: str
    report: Resource
    plan: Resource


async def values_of(ctx: Context, settings: NotificationSettings, about: About, needed: Collection[str]) -> dict[str, str]:
    """Return the values of those well-known variables that are needed, as far as the resources have them.

    Times are instants, dates are dates: how they read is decided when they are rendered.
    """
    wanted = [name for name in needed if name in WELL_KNOWN]
    if not wanted:
        return {}
    facts = await _facts(ctx, settings, about)
    found = {name: _VALUES[name](facts) for name in wanted}
    return {name: value for name, value in found.items() if value}


async def _facts(ctx: Context, settings: NotificationSettings, about: About) -> _Facts:
    found = _Found(ctx, about)
    await found.read(found.first)
    appointment = found.of_type("Appointment")
    order = found.of_type("MedicationRequest")
    actors = _actors(appointment)
    own = [order.get("medicationReference"), found.of_type("HealthcareService").get("location")]
    await found.read(_references([*actors, *own]))
    roles = [one for one in map(found.get, actors) if one.get("resourceType") == "PractitionerRole"]
    place, place_name = _participant(found, actors, ("Location",))
    service, service_name = _participant(found, actors, ("HealthcareService",))
    place = place or found.of_type("Location")
    patient = found.of_type("Patient") or _participant(found, actors, ("Patient",))[0]
    owners = _owners(settings, patient, place, service)
    await found.read(_references([*(role.get("practitioner") for role in roles), *owners]))
    recipient = about.recipient or patient
    organisation = settings.organisation or next((str(one["name"]) for one in map(found.get, owners) if one.get("name")), "")
    return _Facts(
        patient=patient or (recipient if recipient.get("resourceType") == "Patient" else _NOTHING),
        recipient=recipient,
        appointment=appointment,
        practitioner=_practitioner(found, actors),
        location=place,
        location_name=str(place.get("name") or place_name or service.get("name") or service_name or organisation),
        service=service or ({"name": service_name} if service_name else _NOTHING),
        organisation=organisation,
        medication=names.concept(order.get("medicationCodeableConcept")) or _display(found, order.get("medicationReference")),
        report=found.of_type("DiagnosticReport"),
        plan=found.of_type("CarePlan"),
    )


def _actors(appointment: Resource) -> list[Any]:
    participants = [one for one in appointment.get("participant", ()) if one.get("status") not in _GONE]
    return [one["actor"] for one in participants if "actor" in one]


def _references(nodes: Iterable[Any]) -> list[str]:
    flat = [one for node in nodes for one in (node if isinstance(node, list) else [node]) if isinstance(one, Mapping)]
    return [str(one["reference"]) for one in flat if "reference" in one]


def _owners(settings: NotificationSettings, patient: Resource, place: Resource, service: Resource) -> list[Any]:
    """Return the references of the organisations that may be meant, the likeliest first."""
    if settings.organisation:
        return []
    return [place.get("managingOrganization"), service.get("providedBy"), patient.get("managingOrganization")]


def _participant(found: _Found, actors: list[Any], types: tuple[str, ...]) -> tuple[Resource, str]:
    """Return the first participant of a type, and how the Appointment calls it."""
    for actor in actors:
        type_ = actor.get("type") or str(actor.get("reference", "")).rpartition("/")[0].rpartition("/")[2]
        resource = found.get(actor)
        if (resource.get("resourceType") or type_) in types:
            return resource, str(actor.get("display", ""))
    return _NOTHING, ""


def _practitioner(found: _Found, actors: list[Any]) -> str:
    resource, display = _participant(found, actors, ("Practitioner",))
    if not resource and not display:
        role, display = _participant(found, actors, ("PractitionerRole",))
        person = role.get("practitioner") or {}
        resource, display = found.get(person), str(person.get("display") or display)
    name = _without_prefix(names.name_of(resource))
    return names.without_doctor(names.full(name) or display)


def _without_prefix(name: names.Node) -> names.Node:
    """Return a name without titles, where it is given in parts."""
    if not (name.get("family") and name.get("given")):
        return name
    return {key: value for key, value in name.items() if key not in ("prefix", "suffix", "text")}


def _display(found: _Found, node: Any) -> str:
    return names.concept(found.get(node).get("code")) or (str(node.get("display", "")) if isinstance(node, Mapping) else "")


def _service(facts: _Facts) -> str:
    concepts = names.concept(facts.appointment.get("serviceType")) or names.concept(facts.appointment.get("appointmentType"))
    return concepts or str(facts.service.get("name", "")) or str(facts.appointment.get("description", ""))


def _start(facts: _Facts) -> str:
    return str(facts.appointment.get("start", ""))


_VALUES: Final[Mapping[str, Callable[[_Facts], str]]] = {
    "patient_name": lambda facts: names.full(names.name_of(facts.patient)),
    "patient_first_name": lambda facts: names.first(names.name_of(facts.patient)),
    "patient_last_name": lambda facts: names.last(names.name_of(facts.patient)) or _family(facts.patient),
    "recipient_name": lambda facts: _called(facts.recipient),
    "appointment_date": _start,
    "appointment_time": _start,
    "appointment_datetime": _start,
    "appointment_end_time": lambda facts: str(facts.appointment.get("end", "")),
    "practitioner_name": lambda facts: facts.practitioner,
    "location_name": lambda facts: facts.location_name,
    "location_address": lambda facts: names.address(facts.location.get("address", {})) or facts.location_name,
    "location_phone": lambda facts: names.phone(facts.location),
    "organisation_name": lambda facts: facts.organisation,
    "organization_name": lambda facts: facts.organisation,
    "service_type": _service,
    "medication_name": lambda facts: facts.medication,
    "test_name": lambda facts: names.concept(facts.report.get("code")),
    "care_plan_title": lambda facts: str(facts.plan.get("title", "")),
}


def _called(resource: Resource) -> str:
    name = resource.get("name")
    return name if isinstance(name, str) else names.full(names.name_of(resource))


def _family(patient: Resource) -> str:
    """Return the family name of the first name that has one: the preferred one may be a given name alone."""
    found = (names.last(one) for one in patient.get("name", ()) if one.get("use") not in ("old", "maiden", "anonymous"))
    return next(filter(None, found), "")
