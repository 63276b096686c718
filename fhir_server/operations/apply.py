"""$apply: a definition becomes a request for somebody.

https://hl7.org/fhir/R4/activitydefinition-operation-apply.html,
https://hl7.org/fhir/R4/plandefinition-operation-apply.html. Beside their parameters there are `about`, what a message is
about, such as `Appointment/1`, and `variable`, a value as `name=value`.
"""

from dataclasses import replace
from typing import Any, Final

from fhir_server.exchange import Call, Context, Reply, Resource
from fhir_server.fhir.outcome import bad_request, invalid_resource
from fhir_server.fhir.reference import parse
from fhir_server.fhir.validate import validate
from fhir_server.interactions.reading import living
from fhir_server.operations.apply_activity import Inputs, applied, read_inputs
from fhir_server.operations.apply_plan import plan_of
from fhir_server.operations.parameters import given
from fhir_server.security.views import shown

_REFERENCES: Final = ("subject", "encounter", "practitioner", "organization", "about")
_CONCEPTS: Final = ("userType", "userLanguage", "userTaskContext", "setting", "settingContext")
_KNOWN: Final = {
    **dict.fromkeys((*_REFERENCES, "variable"), "valueString"),
    **dict.fromkeys(_CONCEPTS, "valueCodeableConcept"),
    "activityDefinition": "resource",
    "planDefinition": "resource",
}


async def apply(ctx: Context, call: Call) -> Reply:
    """Answer the request, or the CarePlan, that a definition describes for somebody; nothing is stored.

    Raises:
        FhirError: 400 for the parameters, 404 or 410 for the definition, 422 where it can not be applied.
    """
    name = call.type[0].lower() + call.type[1:]
    asked = given(_tolerant(call, name), _KNOWN, repeats=("subject", "about", "variable"))
    definition = await _definition(ctx, call, asked, name)
    inputs = _inputs(ctx, asked)
    inputs = replace(inputs, resources=await read_inputs(ctx, inputs))
    if call.type == "PlanDefinition":
        return Reply(200, await plan_of(ctx, definition, inputs))
    return Reply(200, await applied(ctx, definition, inputs))


def _tolerant(call: Call, name: str) -> Call:
    """Return a call whose body is Parameters, in which references are texts, as R4 has them."""
    body = call.resource
    if isinstance(body, dict) and body.get("resourceType") == call.type:
        body = {"resourceType": "Parameters", "parameter": [{"name": name, "resource": body}]}
    if isinstance(body, dict) and isinstance(body.get("parameter"), list):
        body = body | {"parameter": [_as_text(one) if isinstance(one, dict) else one for one in body["parameter"]]}
    return replace(call, resource=body)


def _as_text(parameter: dict[str, Any]) -> dict[str, Any]:
    reference = parameter.get("valueReference")
    if isinstance(reference, dict) and parameter.get("name") in _REFERENCES:
        return {"name": parameter["name"], "valueString": str(reference.get("reference", ""))}
    return parameter


async def _definition(ctx: Context, call: Call, asked: dict[str, Any], name: str) -> Resource:
    sent = asked.get(name)
    if call.id:
        if sent is not None:
            raise bad_request(f"The parameter {name!r} is for {call.type}/$apply, without an id.")
        found = (await living(ctx, call.type, call.id)).resource or {}
        return found if ctx.access is None else shown(ctx.access, found)
    if not isinstance(sent, dict) or sent.get("resourceType") != call.type:
        raise bad_request(f"{call.type}/$apply needs the parameter {name!r}, a {call.type}.", code="required")
    issues = validate(sent, max_depth=ctx.settings.max_depth)
    if issues:
        raise invalid_resource(issues)
    return sent


def _inputs(ctx: Context, asked: dict[str, Any]) -> Inputs:
    subjects = tuple(_reference(ctx, "subject", one) for one in asked.get("subject", ()))
    if not subjects:
        raise bad_request("$apply needs the parameter 'subject', such as Patient/1.", code="required")

    def single(name: str) -> str:
        return _reference(ctx, name, asked[name]) if name in asked else ""

    language = asked.get("userLanguage")
    if isinstance(language, dict):
        language = next((one.get("code", "") for one in language.get("coding", ())), "")
    return Inputs(
        subjects=subjects,
        about=tuple(_reference(ctx, "about", one) for one in asked.get("about", ())),
        language=str(language or "").rpartition("|")[2],
        values=dict(_pair(str(one)) for one in asked.get("variable", ())),
        encounter=single("encounter"),
        practitioner=single("practitioner"),
        organization=single("organization"),
    )


def _reference(ctx: Context, name: str, value: Any) -> str:
    found = parse(str(value), ctx.base_url)
    if found.target is None:
        raise bad_request(f"{name}: {value!r} is not a reference such as Patient/1.", code="value")
    return f"{found.type}/{found.id}"


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise bad_request(f"variable: {text!r} is not of the form name=value.", code="value")
    return name.strip(), value
