"""From an ActivityDefinition to the request that it describes: https://hl7.org/fhir/R4/activitydefinition.html#12.17.3.3."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fhir_server.exchange import Context, Resource
from fhir_server.fhir.definitions import TYPES, Element
from fhir_server.fhir.fhirpath import Budget, root
from fhir_server.fhir.json_patch import clone
from fhir_server.fhir.outcome import FhirError, Issue, unprocessable
from fhir_server.fhir.reference import parse
from fhir_server.fhir.validate import validate
from fhir_server.operations.dynamic_values import STEPS, Environment, apply_dynamic_values
from fhir_server.security.views import shown
from fhir_server.store.versions import instant

INSTANTIATES: Final = "http://hl7.org/fhir/StructureDefinition/workflow-instantiatesCanonical"
_STATUS: Final = {"Appointment": "proposed", "Contract": None, "ImmunizationRecommendation": None}
_DATES: Final = ("authoredOn", "created", "dateTime", "date", "dateWritten")
_SUBJECTS: Final = ("subject", "patient", "for", "candidate")
_REQUESTERS: Final = ("requester", "orderer", "prescriber", "author")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a definition is applied to, with the resources that were read."""

    subjects: tuple[str, ...]
    encounter: str = ""
    practitioner: str = ""
    organization: str = ""
    language: str = ""
    """Preferred by the user: BCP 47."""
    about: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, Resource] = field(default_factory=dict)
    """By reference."""

    def environment(self, budget: Budget | None = None) -> Environment:
        """Return what expressions see: the subject is where they start."""
        named = {
            "subject": self.subjects[0],
            "encounter": self.encounter,
            "practitioner": self.practitioner,
            "organization": self.organization,
        }
        variables: dict[str, Any] = {
            name: root(self.resources[reference]) if reference else None for name, reference in named.items()
        }
        variables["patient"] = variables["subject"] if self.subjects[0].startswith("Patient/") else None
        variables |= self.values
        return Environment(variables["subject"], variables, budget or Budget(STEPS))


async def read_inputs(ctx: Context, inputs: Inputs) -> dict[str, Resource]:
    """Return the resources that a definition is applied to, by reference.

    Raises:
        FhirError: 422, one of them is not there.
    """
    wanted = {
        name: parse(name, ctx.base_url).target
        for name in (*inputs.subjects, inputs.encounter, inputs.practitioner, inputs.organization, *inputs.about)
        if name
    }
    versions = await ctx.repo.currents({target for target in wanted.values() if target is not None})
    found = {one.reference: one.resource for one in versions if one.resource is not None}
    for name, target in wanted.items():
        if target is None or f"{target[0]}/{target[1]}" not in found:
            raise unprocessable(f"There is no {name!r} here to apply the definition to.", code="not-found")
    return found if ctx.access is None else {name: shown(ctx.access, resource) for name, resource in found.items()}


async def applied(ctx: Context, definition: Resource, inputs: Inputs) -> Resource:
    """Return the request, a draft, that an ActivityDefinition describes for these inputs; nothing is stored.

    Raises:
        FhirError: 422, the definition leaves out what the request needs, or has what can not be put into it.
    """
    behaviour = ctx.behaviours.get("ActivityDefinition")
    made = await behaviour.apply(ctx, definition, inputs) if behaviour is not None else None
    return made if made is not None else request_of(ctx, definition, inputs)


def request_of(ctx: Context, definition: Resource, inputs: Inputs) -> Resource:
    """Return what `applied` returns where no extension knows more of the definition."""
    kind = definition.get("kind")
    if not kind:
        raise unprocessable("The definition has no kind: it does not say what it describes.", "ActivityDefinition.kind")
    if definition.get("transform"):
        text = "Transformations by a StructureMap are not done here; use dynamicValue."
        raise unprocessable(text, "ActivityDefinition.transform", code="not-supported")
    made = _Request(ctx, str(kind), definition, inputs).made()
    apply_dynamic_values(made, definition.get("dynamicValue", ()), inputs.environment(), "ActivityDefinition")
    check(made, "The definition does not make a valid")
    return made


def check(made: Resource, what: str) -> None:
    """Refuse (422) what is no valid resource."""
    issues = validate(made)
    if issues:
        summary = Issue("business-rule", f"{what} {made['resourceType']}; it lacks, or has too much of, what follows.")
        raise FhirError(422, (summary, *issues))


def canonical_of(definition: Resource) -> str:
    """Return what stands for exactly this version of a definition; "" for one without a URL."""
    url, version = str(definition.get("url", "")), str(definition.get("version", ""))
    return f"{url}|{version}" if url and version else url


class _Request:
    """A request that is being made."""

    def __init__(self, ctx: Context, kind: str, definition: Resource, inputs: Inputs) -> None:
        self._ctx = ctx
        self._definition = definition
        self._inputs = inputs
        self._elements: Mapping[str, Element] = TYPES[kind].elements
        self._made: Resource = {"resourceType": kind}

    def made(self) -> Resource:
        """Return it."""
        kind = self._made["resourceType"]
        if self._definition.get("profile"):
            self._made["meta"] = {"profile": [self._definition["profile"]]}
        self._set_source()
        status = _STATUS.get(kind, "draft")
        if status:
            self._set("status", status)
        self._set("intent", self._definition.get("intent", "proposal"))
        self._set_who()
        self._set_what()
        self._set_when()
        if kind == "CommunicationRequest":
            self._add_documents()
        return self._made

    def _set(self, name: str, value: Any) -> bool:
        """Set an element where the kind has it; tell whether it has."""
        element = self._elements.get(name)
        if element is None or value in (None, "", [], {}):
            return False
        self._made[name] = [clone(value)] if element.max != 1 and not isinstance(value, list) else clone(value)
        return True

    def _set_first(self, names: Iterable[str], value: Any) -> bool:
        return any(self._set(name, value) for name in names)

    def _set_source(self) -> None:
        canonical = canonical_of(self._definition)
        if canonical and not self._set("instantiatesCanonical", canonical):
            self._made.setdefault("extension", []).append({"url": INSTANTIATES, "valueCanonical": canonical})

    def _set_who(self) -> None:
        inputs, kind = self._inputs, self._made["resourceType"]
        subjects = [{"reference": one} for one in inputs.subjects]
        if len(subjects) > 1 and kind != "CommunicationRequest":
            raise unprocessable(f"A {kind} is about one subject; apply the definition to each alone.", code="too-many")
        if kind == "Appointment":
            actors = [*subjects, *({"reference": one} for one in (inputs.practitioner,) if one)]
            self._set("participant", [{"actor": one, "status": "needs-action"} for one in actors])
        elif kind == "CommunicationRequest":
            self._set("recipient", subjects)
            self._set("about", [{"reference": one} for one in inputs.about])
            if _may_be(self._elements["subject"], inputs.subjects[0]):
                self._set("subject", subjects[0])
        elif not self._set_first(_SUBJECTS, subjects[0]):
            self._set("deliverTo", subjects[0] if _may_be(self._elements.get("deliverTo"), inputs.subjects[0]) else None)
        if inputs.encounter:
            self._set("encounter", {"reference": inputs.encounter})
        requester = inputs.practitioner or inputs.organization
        if requester:
            self._set_first(_REQUESTERS, {"reference": requester})
        roles = [one["role"] for one in self._definition.get("participant", ()) if "role" in one]
        if roles:
            many = self._elements.get("performerType")
            self._set("performerType", roles if many is not None and many.max != 1 else roles[0])

    def _set_what(self) -> None:
        given = self._definition
        if not self._set_first(("code", "codeCodeableConcept", "serviceType", "category"), given.get("code")):
            self._set("reasonCode", given.get("code"))
        if self._elements.get("priority") is not None and self._elements["priority"].type == "code":
            self._set("priority", given.get("priority"))
        if given.get("doNotPerform") and not self._set("doNotPerform", True):
            text = f"A {self._made['resourceType']} can not say that something is not to be done."
            raise unprocessable(text, "ActivityDefinition.doNotPerform", code="not-supported")
        for suffix in ("CodeableConcept", "Reference"):
            self._set_first((f"medication{suffix}", f"item{suffix}"), given.get(f"product{suffix}"))
        self._set("description", given.get("description"))
        self._set("title", given.get("title"))
        self._set("dosageInstruction", given.get("dosage"))
        if not self._set_first(("quantityQuantity", "quantity"), given.get("quantity")) and given.get("quantity"):
            self._set("dispenseRequest", {"quantity": given["quantity"]})
        self._set("bodySite", given.get("bodySite"))
        if self._made["resourceType"] == "Appointment" and given.get("location"):
            self._made["participant"].append({"actor": given["location"], "status": "needs-action"})
        self._set_first(("locationReference", "location"), given.get("location"))

    def _set_when(self) -> None:
        given, now = self._definition, instant(self._ctx.now())
        for name in _DATES:
            self._set(name, now)
        for suffix in ("DateTime", "Period", "Timing"):
            value = given.get(f"timing{suffix}")
            if value and not self._set(f"occurrence{suffix}", value):
                self._set_otherwise(suffix, value)

    def _set_otherwise(self, suffix: str, value: Any) -> None:
        if suffix == "Period":
            self._set_first(("executionPeriod", "requestedPeriod", "period"), value)
        elif suffix == "Timing" and "dosageInstruction" in self._elements and "dosageInstruction" not in self._made:
            self._set("dosageInstruction", [{"timing": value}])

    def _add_documents(self) -> None:
        artifacts = self._definition.get("relatedArtifact", ())
        documents = [one["document"] for one in artifacts if one.get("type") == "documentation" and "document" in one]
        self._set("payload", [{"contentAttachment": one} for one in documents])


def _may_be(element: Element | None, reference: str) -> bool:
    return element is not None and (not element.targets or reference.partition("/")[0] in element.targets)
