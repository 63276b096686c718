"""From a PlanDefinition to a CarePlan: https://hl7.org/fhir/R4/plandefinition.html#12.18.3.2.

The CarePlan contains a RequestGroup with the actions that apply, the requests that they lead to, and the goals.
"""

from typing import Any, Final

from fhir_server.exchange import Call, Context, Resource
from fhir_server.fhir.json_patch import clone
from fhir_server.fhir.outcome import unprocessable
from fhir_server.fhir.reference import parse
from fhir_server.operations.apply_activity import Inputs, applied, canonical_of, check
from fhir_server.operations.dynamic_values import Environment, apply_dynamic_values, is_true
from fhir_server.store.versions import instant

MOST_REQUESTS: Final = 200
MOST_NESTING: Final = 8
_COPIED: Final = (
    "id",
    "prefix",
    "title",
    "description",
    "textEquivalent",
    "priority",
    "code",
    "documentation",
    "relatedAction",
    "timingDateTime",
    "timingAge",
    "timingPeriod",
    "timingDuration",
    "timingRange",
    "timingTiming",
    "type",
    "groupingBehavior",
    "selectionBehavior",
    "requiredBehavior",
    "precheckBehavior",
    "cardinalityBehavior",
)


async def plan_of(ctx: Context, definition: Resource, inputs: Inputs) -> Resource:
    """Return the CarePlan, a draft, that a PlanDefinition describes for these inputs; nothing is stored.

    Raises:
        FhirError: 422, it can not be applied: a definition is missing, an expression fails, or a request would be invalid.
    """
    return await _Plan(ctx, inputs).made(definition)


class _Plan:
    """A CarePlan that is being made."""

    def __init__(self, ctx: Context, inputs: Inputs) -> None:
        self._ctx = ctx
        self._inputs = inputs
        self._environment: Environment = inputs.environment()
        self._contained: list[Resource] = []
        self._goals: list[Resource] = []

    async def made(self, definition: Resource) -> Resource:
        """Return it."""
        if len(self._inputs.subjects) > 1:
            raise unprocessable("A CarePlan is about one subject; apply the definition to each alone.", code="too-many")
        self._add_goals(definition)
        actions = await self._actions(definition, "PlanDefinition", (canonical_of(definition),))
        now, subject = instant(self._ctx.now()), {"reference": self._inputs.subjects[0]}
        common = {"status": "draft", "intent": "proposal", "subject": subject} | self._links()
        canonical = canonical_of(definition)
        if canonical:
            common["instantiatesCanonical"] = [canonical]
        author = {"author": common["requester"]} if "requester" in common else {}
        common.pop("requester", None)
        plan: Resource = {"resourceType": "CarePlan", **common, "created": now, **author}
        for name in ("title", "description"):
            if definition.get(name):
                plan[name] = definition[name]
        if actions:
            group = {"resourceType": "RequestGroup", "id": "actions", **common, "authoredOn": now, **author, "action": actions}
            self._contained.insert(0, group)
            plan["activity"] = [{"reference": {"reference": "#actions"}}]
        if self._goals:
            plan["goal"] = [{"reference": f"#{goal['id']}"} for goal in self._goals]
        if self._contained or self._goals:
            plan["contained"] = [*self._contained, *self._goals]
        check(plan, "The definition does not make a valid")
        return plan

    def _links(self) -> Resource:
        found: Resource = {}
        if self._inputs.encounter:
            found["encounter"] = {"reference": self._inputs.encounter}
        requester = self._inputs.practitioner or self._inputs.organization
        if requester:
            found["requester"] = {"reference": requester}
        return found

    def _add_goals(self, definition: Resource) -> None:
        for goal in definition.get("goal", ()):
            made: Resource = {
                "resourceType": "Goal",
                "id": f"goal-{len(self._goals) + 1}",
                "lifecycleStatus": "proposed",
                "subject": {"reference": self._inputs.subjects[0]},
                "description": clone(goal["description"]),
            }
            if "category" in goal:
                made["category"] = [clone(goal["category"])]
            if "priority" in goal:
                made["priority"] = clone(goal["priority"])
            if "start" in goal:
                made["startCodeableConcept"] = clone(goal["start"])
            targets = [
                {("dueDuration" if name == "due" else name): clone(part) for name, part in one.items()}
                for one in goal.get("target", ())
            ]
            if targets:
                made["target"] = targets
            self._goals.append(made)

    async def _actions(self, parent: Resource, where: str, above: tuple[str, ...]) -> list[Resource]:
        found = []
        for place, action in enumerate(parent.get("action", ())):
            made = await self._action(action, f"{where}.action[{place}]", above)
            if made is not None:
                found.append(made)
        return found

    async def _action(self, action: Resource, where: str, above: tuple[str, ...]) -> Resource | None:
        """Return an action of the RequestGroup; None where a condition says that it does not apply."""
        for place, condition in enumerate(action.get("condition", ())):
            at = f"{where}.condition[{place}]"
            asks = condition["kind"] == "applicability" and "expression" in condition
            if asks and not is_true(condition["expression"], self._environment, at):
                return None
        made: Resource = {name: clone(action[name]) for name in _COPIED if name in action}
        later = [clone(one) for one in action.get("condition", ()) if one["kind"] != "applicability"]
        if later:
            made["condition"] = later
        below = await self._actions(action, where, above)
        canonical = action.get("definitionCanonical", "")
        if canonical:
            below += await self._defined(made, action, canonical, where, above)
        elif action.get("action") and not below:
            return None
        elif not below:
            self._add_request(made, self._task(action), action, where)
        if below:
            # An action has a request or actions, not both.
            own = [{"resource": made.pop("resource")}] if "resource" in made else []
            made["action"] = [*own, *below]
        return made

    async def _defined(
        self, made: Resource, action: Resource, canonical: str, where: str, above: tuple[str, ...]
    ) -> list[Resource]:
        """Put the request that an action leads to among the contained; return the actions of the plan that it leads to."""
        definition = await self._find(canonical, where)
        if definition["resourceType"] == "Questionnaire":
            task = self._task(action) | {"focus": {"reference": f"Questionnaire/{definition['id']}"}}
            self._add_request(made, task, action, where)
            return []
        if definition["resourceType"] == "PlanDefinition":
            own = canonical_of(definition) or canonical
            if own in above or len(above) >= MOST_NESTING:
                text = f"The definition {canonical!r} leads to itself, or {MOST_NESTING} definitions deep."
                raise unprocessable(text, f"{where}.definitionCanonical", code="too-costly")
            self._add_goals(definition)
            return await self._actions(definition, f"{where}.{definition['resourceType']}", (*above, own))
        self._add_request(made, await applied(self._ctx, definition, self._inputs), action, where)
        return []

    def _task(self, action: Resource) -> Resource:
        """Return a request to do what an action says in words: a RequestGroup has no actions that ask for nothing."""
        now = instant(self._ctx.now())
        links = self._links()
        text = action.get("description") or action.get("textEquivalent") or action.get("title")
        return {
            "resourceType": "Task",
            "status": "draft",
            "intent": "proposal",
            **({"description": text} if text else {}),
            **links,
            "for": {"reference": self._inputs.subjects[0]},
            "authoredOn": now,
        }

    def _add_request(self, made: Resource, request: Resource, action: Resource, where: str) -> None:
        apply_dynamic_values(request, action.get("dynamicValue", ()), self._environment, where)
        check(request, f"{where} does not make a valid")
        if len(self._contained) >= MOST_REQUESTS:
            raise unprocessable(f"The plan leads to more than {MOST_REQUESTS} requests.", code="too-costly")
        request["id"] = f"request-{len(self._contained) + 1}"
        self._contained.append(request)
        made["resource"] = {"reference": f"#{request['id']}"}

    async def _find(self, canonical: str, where: str) -> Resource:
        url, _, version = canonical.partition("|")
        local = parse(url, self._ctx.base_url).target
        types = (local[0],) if local is not None else ("ActivityDefinition", "PlanDefinition", "Questionnaire")
        for type_ in types:
            asked: Any = [("_id", local[1])] if local is not None else [("url", url)]
            asked += [("version", version)] if version else []
            params = (*asked, ("_sort", "-_lastUpdated"), ("_count", "20"))
            bundle = (await self._ctx.dispatch(self._ctx, Call("search-type", type_, params=params))).resource or {}
            found = [one["resource"] for one in bundle.get("entry", ()) if one["search"]["mode"] == "match"]
            active = next((one for one in found if one.get("status") == "active"), None)
            if found:
                return active or dict(found[0])
        text = f"The definition {canonical!r} is not on this server."
        raise unprocessable(text, f"{where}.definitionCanonical", code="not-found")
