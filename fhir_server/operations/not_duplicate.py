"""$not-duplicate of Patient: two patients that look like one person are two, and nobody shall be asked again.

docs/matching.md
"""

from typing import Any, Final

from fhir_server.exchange import Call, Context, Reply
from fhir_server.fhir.outcome import bad_request
from fhir_server.interactions.reading import living
from fhir_server.resources.duplicates import decide_not_duplicate
from fhir_server.resources.reviews import pair_of

_TWO: Final = 2


async def not_duplicate(ctx: Context, call: Call) -> Reply:
    """Answer the Task that holds the decision; 200.

    In: `patient`, twice, a Reference; `reason`, a string that goes into the Task's notes.

    Raises:
        FhirError: 400 for the parameters, 404 or 410 for the patients.
    """
    ids, reason = _parameters(ctx, call)
    for id_ in ids:
        await living(ctx, "Patient", id_)
    version = await decide_not_duplicate(ctx, pair_of(*ids), reason)
    return Reply(200, version.resource, str(version.number), version.last_updated, version.location)


def _parameters(ctx: Context, call: Call) -> tuple[tuple[str, str], str]:
    body = call.resource
    parameters = body.get("parameter") if isinstance(body, dict) and body.get("resourceType") == "Parameters" else None
    if not isinstance(parameters, list):
        raise bad_request("Send Parameters: `patient`, twice, and perhaps a `reason`.", "Parameters.parameter", "required")
    ids: list[str] = []
    reason = ""
    for place, one in enumerate(parameters):
        path = f"Parameters.parameter[{place}]"
        name = one.get("name") if isinstance(one, dict) else None
        if name == "patient":
            ids.append(_id(ctx, one, path))
        elif name == "reason" and isinstance(one.get("valueString"), str):
            reason = one["valueString"]
        else:
            raise bad_request(f"{name!r} is not a parameter here; these are `patient` (Reference) and `reason` (string).", path)
    if len(ids) != _TWO or ids[0] == ids[1]:
        raise bad_request("Name two different patients: the parameter `patient`, twice.", "Parameters.parameter", "required")
    return (ids[0], ids[1]), reason


def _id(ctx: Context, parameter: dict[str, Any], path: str) -> str:
    reference = parameter.get("valueReference")
    text = reference.get("reference") if isinstance(reference, dict) else None
    local = text.removeprefix(f"{ctx.base_url}/") if isinstance(text, str) else ""
    type_, _, id_ = local.partition("/")
    if type_ != "Patient" or not id_ or "/" in id_:
        raise bad_request(f"{text!r} is not a reference to a Patient here, such as Patient/123.", f"{path}.valueReference")
    return id_
