"""From a Call and what became of it to records.

Patients are found in what was answered or sent: the Patient itself, and every reference to one. Their ids are kept, no content.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from fhir_server.exchange import Call, Context, Reply
from fhir_server.fhir.codec import encode
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import FhirError
from fhir_server.security.audit.record import Record
from fhir_server.store.versions import Version, history_key

Outcome = Reply | FhirError | None
"""What became of a Call; None: it failed in a way that nobody foresaw."""

READS: Final = frozenset({"read", "vread"})
CHANGES: Final = frozenset({"create", "update", "patch", "delete", "transaction", "batch"})
SEARCHES: Final = frozenset(
    {"search-type", "search-system", "search-compartment", "history-type", "history-system", "history-instance"}
)
_REFERENCE: Final = re.compile(rb'"reference"\s*:\s*"(?:[^"]*/)?Patient/([A-Za-z0-9\-.]{1,64})[/"]')
_PATIENT: Final = re.compile(rb'"resourceType"\s*:\s*"Patient"')
_INTERACTIONS: Final[Mapping[tuple[str, bool], str]] = {
    ("GET", True): "read",
    ("HEAD", True): "read",
    ("GET", False): "search-type",
    ("HEAD", False): "search-type",
    ("POST", False): "create",
    ("PUT", True): "update",
    ("PUT", False): "update",
    ("PATCH", True): "patch",
    ("PATCH", False): "patch",
    ("DELETE", True): "delete",
    ("DELETE", False): "delete",
}
_FAILED: Final = 500
_REFUSED: Final = 400


def described(ctx: Context, call: Call, outcome: Outcome, began: float) -> list[Record]:
    """Return the records of a Call that began at a time (seconds since 1970): one, and one for each entry of a Bundle."""
    first = record_of(ctx, call, outcome, began)
    if call.interaction != "transaction" or not isinstance(outcome, Reply):
        return [first]
    return [first, *_entries(ctx, call, outcome, first)]


def record_of(ctx: Context, call: Call, outcome: Outcome, began: float) -> Record:
    """Return the record of one Call."""
    principal = ctx.principal
    status, detail = _status(outcome)
    type_, id_, version = call.type, call.id, call.version
    patients: Iterable[str] = ()
    count = -1
    if isinstance(outcome, Reply):
        if outcome.location:
            type_, id_, version = _located(outcome.location)
        elif outcome.version:
            version = version or outcome.version
        patients = _patients(call, outcome, type_, id_)
        count = _count(call, outcome)
    elif type_ == "Patient" and id_:
        patients = (id_,)
    compartment = call.compartment
    if compartment is not None:
        type_, id_ = type_ or compartment[0], id_ or compartment[1]
        patients = {*patients, compartment[1]} if compartment[0] == "Patient" else patients
    return Record(
        int(began * 1000),
        "rest",
        f"${call.operation}" if call.interaction == "operation" else call.interaction,
        status,
        type_,
        id_,
        version,
        principal.id,
        principal.issuer,
        principal.client,
        principal.fhir_user,
        ctx.address,
        ctx.request_id,
        tuple(patients),
        _names(call),
        count,
        principal.break_glass,
        detail,
    )


def _status(outcome: Outcome) -> tuple[int, str]:
    if isinstance(outcome, FhirError):
        return outcome.status, outcome.issues[0].code if outcome.issues else ""
    return (outcome.status, "") if outcome is not None else (_FAILED, "exception")


async def completed(ctx: Context, record: Record) -> Record:
    """Return the record of a deletion with the patients of the version before it."""
    if record.code != "delete" or record.status >= _REFUSED or not record.version.isdecimal() or record.type == "Patient":
        return record
    key = history_key(ctx.tenant, record.id, int(record.version) - 1)
    stored = await ctx.repo.history_collection(record.type).find_one({"_id": key})
    resource = Version.from_document(record.type, stored).resource if stored else None
    patients: dict[str, None] = {}
    if resource is not None:
        _seen(resource, patients)
    return msgspec.structs.replace(record, patients=tuple(patients))


def _names(call: Call) -> tuple[str, ...]:
    if not call.params and call.if_none_exist is None:
        return ()
    names = {name: None for name, _ in call.params}
    if call.if_none_exist is not None:
        names |= {part.partition("=")[0]: None for part in call.if_none_exist.lstrip("?").split("&")}
    return tuple(name[:100] for name in names)[:50]


def _located(location: str) -> tuple[str, str, str]:
    type_, id_, _, version = (*location.split("/"), "", "", "", "")[:4]
    return type_, id_, version


def _count(call: Call, reply: Reply) -> int:
    if call.interaction not in SEARCHES or reply.resource is None:
        return -1
    return len(reply.resource.get("entry", ()))


def _patients(call: Call, reply: Reply, type_: str, id_: str) -> Iterable[str]:
    if type_ == "AuditEvent" or call.interaction == "transaction":
        # Else each look at the trail would be found in it under all patients, and so on. Entries have records of their own.
        return ()
    found: dict[str, None] = {id_: None} if type_ == "Patient" and id_ else {}
    if reply.encoded is not None:
        if type_ != "Patient":
            _mentioned(reply.encoded, found)
    elif reply.resource is not None:
        _seen(reply.resource, found)
    if isinstance(call.resource, dict):
        _mentioned(encode(call.resource), found)
    return found


def _seen(resource: Mapping[str, Any], found: dict[str, None]) -> None:
    """Collect the patients of a resource, or of a Bundle that may hold encoded resources."""
    if resource.get("resourceType") != "Bundle":
        if resource.get("resourceType") == "Patient" and "id" in resource:
            found[str(resource["id"])] = None
        else:
            _mentioned(encode(dict(resource)), found)
        return
    for entry in resource.get("entry", ()):
        inner = entry.get("resource")
        if isinstance(inner, msgspec.Raw):
            data = bytes(inner)
            name = str(entry.get("fullUrl", "")).rpartition("/Patient/")
            if name[1] and _PATIENT.search(data):
                found[name[2]] = None
            else:
                _mentioned(data, found)
        elif isinstance(inner, dict):
            _seen(inner, found)


def _mentioned(data: bytes, found: dict[str, None]) -> None:
    for match in _REFERENCE.finditer(data):
        found[match[1].decode()] = None


def _entries(ctx: Context, call: Call, reply: Reply, outer: Record) -> Iterator[Record]:
    asked = call.resource.get("entry", ()) if isinstance(call.resource, dict) else ()
    answered = (reply.resource or {}).get("entry", ())
    for one, answer in zip(asked, answered, strict=False):
        found = _entry(ctx, one, answer, outer)
        if found is not None:
            yield found


def _entry(ctx: Context, asked: Any, answer: Mapping[str, Any], outer: Record) -> Record | None:
    request = asked.get("request") if isinstance(asked, dict) else None
    if not isinstance(request, dict) or not isinstance(request.get("url"), str):
        return None
    response = answer.get("response", {})
    code, type_, id_, version = _asked(str(request.get("method", "")), request["url"].removeprefix(ctx.base_url))
    if response.get("location"):
        type_, id_, version = _located(response["location"].removeprefix(ctx.base_url).lstrip("/"))
    else:
        version = version or str(response.get("etag", "")).removeprefix("W/").strip('"')
    patients: dict[str, None] = {id_: None} if type_ == "Patient" and id_ else {}
    for resource in (asked.get("resource"), answer.get("resource")):
        if isinstance(resource, dict):
            _seen(resource, patients)
    status = int(response.get("status", "0")[:3])
    shown = answer.get("resource", {})
    names = tuple(part.partition("=")[0][:100] for part in request["url"].partition("?")[2].split("&") if part)
    return msgspec.structs.replace(
        outer,
        code=code,
        status=status,
        type=type_,
        id=id_,
        version=version,
        patients=tuple(patients),
        parameters=names[:50],
        count=len(shown.get("entry", ())) if code == "search-type" and isinstance(shown, dict) else -1,
        detail=_issue(response) if status >= _REFUSED else "",
    )


def _issue(response: Mapping[str, Any]) -> str:
    issues = response.get("outcome", {}).get("issue", ())
    return str(issues[0].get("code", "")) if issues else ""


def _asked(method: str, url: str) -> tuple[str, str, str, str]:
    """Return the interaction, type, id and version that an entry of a Bundle asks for."""
    parts = url.partition("?")[0].strip("/").split("/")
    if parts[-1].startswith("$"):
        type_, id_ = (*parts[:-1], "", "")[:2]
        return parts[-1], type_, id_, ""
    type_, id_, history, version = (*parts, "", "", "", "")[:4]
    if type_ not in RESOURCE_TYPES:
        return "search-system", "", "", ""
    if history == "_history" or id_ == "_history":
        return ("vread" if version else "history-instance" if history else "history-type"), type_, id_.strip("_"), version
    return _INTERACTIONS.get((method, bool(id_)), method.lower()), type_, id_, ""


def changes(call: Call) -> bool:
    """Tell whether a Call may change something."""
    return call.interaction in CHANGES or (call.interaction == "operation" and call.affects_state)
