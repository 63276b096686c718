"""$docref of DocumentReference: the documents of a patient.

https://hl7.org/fhir/us/core/STU6.1/OperationDefinition-docref.html
"""

import uuid
from typing import Any, Final

from fhir_server.exchange import Call, Context, Params, Reply, Resource
from fhir_server.fhir import dates
from fhir_server.fhir.outcome import Issue, bad_request, operation_outcome
from fhir_server.operations.parameters import given
from fhir_server.store.versions import instant

_KNOWN: Final = {
    "patient": "valueId",
    "start": "valueDate",
    "end": "valueDate",
    "type": "valueCodeableConcept",
    "on-demand": "valueBoolean",
    "profile": "valueCanonical",
}
_REPEATS: Final = ("type", "profile")


async def docref(ctx: Context, call: Call) -> Reply:
    """Answer the current documents of a patient: those about the time from `start` to `end`, or the latest of each type.

    Raises:
        FhirError: 400 for the parameters.
    """
    asked = given(call, _KNOWN, repeats=_REPEATS)
    patient = str(asked.get("patient", "")).removeprefix("Patient/")
    if not patient:
        raise bad_request("$docref needs the parameter patient, the id of a Patient.", code="required")
    common: Params = (
        ("patient", f"Patient/{patient}"),
        ("status", "current"),
        ("_sort", "-date"),
        *_types(asked.get("type", [])),
    )
    bounds = _bounds(asked)
    found = await _search(ctx, (*common, *(("period", bound) for bound in bounds)))
    if bounds:
        # A document that does not say what time it is about is about the time when it was made.
        found += await _search(ctx, (*common, ("period:missing", "true"), *(("date", bound) for bound in bounds)))
    else:
        found = _latest(found)
    issues = []
    if str(asked.get("on-demand", "")).lower() == "true":
        text = "This server makes no documents on demand; those that are stored are shown."
        issues.append(Issue("not-supported", text, severity="information"))
    return Reply(200, _bundle(ctx, found, issues))


def _bounds(asked: dict[str, Any]) -> list[str]:
    found = []
    for name, prefix in (("start", "ge"), ("end", "le")):
        value = asked.get(name)
        if value is None:
            continue
        try:
            dates.interval(str(value))
        except ValueError:
            raise bad_request(f"{name}: {value!r} is not a date.", code="value") from None
        found.append(f"{prefix}{value}")
    return found


def _types(asked: list[Any]) -> Params:
    codes = []
    for one in asked:
        if isinstance(one, str):
            codes.append(one)
        else:
            codes += [f"{coding.get('system', '')}|{coding['code']}" for coding in one.get("coding", ()) if "code" in coding]
    return (("type", ",".join(codes)),) if codes else ()


async def _search(ctx: Context, params: Params) -> list[Resource]:
    call = Call("search-type", "DocumentReference", params=(*params, ("_count", str(ctx.settings.max_count))))
    reply = await ctx.dispatch(ctx, call)
    return [entry["resource"] for entry in (reply.resource or {}).get("entry", ()) if entry["search"]["mode"] == "match"]


def _latest(documents: list[Resource]) -> list[Resource]:
    """Return the first of each type."""
    found: dict[str, Resource] = {}
    for document in documents:
        codings = document.get("type", {}).get("coding") or [{}]
        found.setdefault(f"{codings[0].get('system', '')}|{codings[0].get('code', '')}", document)
    return list(found.values())


def _bundle(ctx: Context, documents: list[Resource], issues: list[Issue]) -> Resource:
    entries: list[dict[str, Any]] = [
        {
            "fullUrl": f"{ctx.base_url}/DocumentReference/{document['id']}",
            "resource": document,
            "search": {"mode": "match"},
        }
        for document in documents
    ]
    if issues:
        entries.append({"resource": operation_outcome(issues), "search": {"mode": "outcome"}})
    return {
        "resourceType": "Bundle",
        "id": str(uuid.uuid4()),
        "meta": {"lastUpdated": instant(ctx.now())},
        "type": "searchset",
        "total": len(documents),
        **({"entry": entries} if entries else {}),
    }
