"""A record as FHIR: https://hl7.org/fhir/R4/auditevent.html, in the patterns of https://profiles.ihe.net/ITI/BALP/."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from fhir_server.exchange import Resource
from fhir_server.security.audit.codings import DICOM, coding, coding_of
from fhir_server.security.audit.disclosure import agents_of, kind_of
from fhir_server.security.audit.record import COMMAND, DISCLOSURE, Place, Record, is_own
from fhir_server.store.versions import instant

_REST: Final = "http://hl7.org/fhir/restful-interaction"
_EXPORTS: Final = frozenset({"$everything", "$export", "$docref"})
_ACTIONS: Final[Mapping[str, str]] = {
    "create": "C",
    "read": "R",
    "vread": "R",
    "update": "U",
    "patch": "U",
    "delete": "D",
}
_COMMANDS: Final = "urn:prm:CodeSystem:command"
_COMMAND_TYPES: Final[Mapping[str, tuple[str, str]]] = {
    "tenants export": ("110106", "Export"),
    "tenants restore": ("110107", "Import"),
    "load": ("110107", "Import"),
    "demo": ("110107", "Import"),
    "audit prune": ("110101", "Audit Log Used"),
}
_ACCOUNT: Final[Mapping[str, tuple[str, str]]] = {
    "consent": ("110136", "Security Roles Changed"),
    "revoke": ("110136", "Security Roles Changed"),
    "password": ("110137", "User Security Attributes Changed"),
}
_VERBS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("create", "add", "load", "demo", "restore"), "C"),
    "export": "R",
    **dict.fromkeys(("set", "password", "totp", "secret", "suspend", "resume", "rotate", "rewrap", "apply", "reindex"), "U"),
    **dict.fromkeys(("delete", "remove", "prune", "gc"), "D"),
}
_SERVER_FAILED: Final = 500
_REFUSED: Final = 400


def audit_event(record: Record, place: Place, index: int, base_url: str) -> Resource:
    """Return the AuditEvent of a record."""
    found: Resource = {
        "resourceType": "AuditEvent",
        "id": place.id(index),
        "meta": {"versionId": "1", "lastUpdated": instant(place.moment)},
        **_what(record),
        "action": _action(record),
        "period": {"start": _moment(record.at)},
        "recorded": instant(place.moment),
        "outcome": _outcome(record.status),
    }
    if record.status >= _REFUSED or record.missed or record.detail:
        found["outcomeDesc"] = _description(record)
    if record.reason:
        found["purposeOfEvent"] = [
            {"coding": [coding("v3-ActReason", "BTG", "break the glass")], "text": record.reason},
        ]
    return found | {
        "agent": agents_of(record, base_url) if record.kind == DISCLOSURE else _agents(record),
        "source": {"observer": {"display": base_url}, "type": [coding("security-source-type", "4", "Application Server")]},
        "entity": _entities(record),
    }


def _moment(ms: int) -> str:
    return instant(datetime.fromtimestamp(ms / 1000, UTC))


def _what(record: Record) -> Resource:
    if record.kind == DISCLOSURE:
        return kind_of(record)
    if record.kind in ("login", "logout"):
        code, display = ("110122", "Login") if record.kind == "login" else ("110123", "Logout")
        type_ = coding_of(DICOM, "110114", "User Authentication")
        return {"type": type_, "subtype": [coding_of(DICOM, code, display)]}
    if record.kind == "account":
        return {
            "type": coding_of(DICOM, "110113", "Security Alert"),
            "subtype": [coding_of(DICOM, *_ACCOUNT[record.code])],
        }
    if record.kind == COMMAND:
        return {
            "type": coding_of(DICOM, *_COMMAND_TYPES.get(record.code, ("110100", "Application Activity"))),
            "subtype": [coding_of(_COMMANDS, record.code.replace(" ", "-"), record.code)],
        }
    if record.kind == "refused":
        return {
            "type": coding_of(DICOM, "110113", "Security Alert"),
            "subtype": [coding_of(DICOM, "110126", "Node Authentication")],
        }
    if record.kind == "download" or record.code in _EXPORTS:
        subtype = coding_of(_REST, "operation", "operation") if record.code.startswith("$") else None
        type_ = coding_of(DICOM, "110106", "Export")
        return {"type": type_, **({"subtype": [subtype]} if subtype else {})}
    code = "operation" if record.code.startswith("$") else record.code
    return {"type": coding("audit-event-type", "rest", "RESTful Operation"), "subtype": [coding_of(_REST, code, code)]}


def _action(record: Record) -> str:
    if record.kind in ("download", DISCLOSURE):
        return "R"
    if record.kind == "account":
        return {"consent": "C", "revoke": "D"}.get(record.code, "U")
    if record.kind == COMMAND:
        return next((letter for verb, letter in _VERBS.items() if verb in record.code.split()), "E")
    return _ACTIONS.get(record.code, "E")


def _outcome(status: int) -> str:
    return "8" if status >= _SERVER_FAILED else "4" if status >= _REFUSED else "0"


def _description(record: Record) -> str:
    if record.kind in (COMMAND, DISCLOSURE, "account") or (is_own(record) and record.status < _REFUSED):
        return record.detail
    text = f"HTTP {record.status}" + (f" {record.detail}" if record.detail else "")
    return f"{text}; {record.missed} more before it were not recorded one by one" if record.missed else text


def _agents(record: Record) -> list[dict[str, Any]]:
    network = {"network": {"address": record.address, "type": _network(record)}} if record.address else {}
    person = {
        "type": {"coding": [_role(record)]},
        "who": _who(record),
        **({"altId": record.principal} if record.principal else {}),
        "requestor": True,
        **network,
    }
    if not record.client or record.client == record.principal:
        return [person]
    changing = _action(record) in "CUD"
    role = ("110153", "Source Role ID") if changing else ("110152", "Destination Role ID")
    app = {
        "type": {"coding": [coding_of(DICOM, *role)]},
        "who": {"identifier": {"value": record.client}},
        "altId": record.client,
        "requestor": False,
    }
    return [person, app]


def _network(record: Record) -> str:
    """https://hl7.org/fhir/R4/valueset-network-type.html: a machine's name, or an address."""
    return "1" if record.kind == COMMAND else "2"


def _role(record: Record) -> dict[str, str]:
    if record.kind == COMMAND:
        return coding("extra-security-role-type", "humanuser", "human user")
    if is_own(record):
        return coding("extra-security-role-type", "dataprocessor", "data processor")
    return coding("v3-ParticipationType", "IRCP", "information recipient")


def _who(record: Record) -> dict[str, Any]:
    if record.user:
        return {"reference": record.user}
    if not record.principal:
        return {"display": "unknown"}
    identifier = {"value": record.principal, **({"system": record.issuer} if record.issuer.startswith("http") else {})}
    return {"identifier": identifier}


def _entities(record: Record) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    own = f"{record.type}/{record.id}" if record.type and record.id else ""
    if own and own.removeprefix("Patient/") not in record.patients:
        text = own + (f"/_history/{record.version}" if record.version else "")
        found.append(_entity(text, "2", "System Object", "4", "Domain Resource"))
    for one in record.patients:
        text = f"Patient/{one}"
        if text == own and record.version:
            text += f"/_history/{record.version}"
        found.append(_entity(text, "1", "Person", "1", "Patient"))
    if record.count >= 0 or record.parameters:
        found.append(_query(record))
    if record.about and record.kind == DISCLOSURE:
        found.append(_entity(record.about, "2", "System Object", "4", "Domain Resource"))
    elif record.about:
        found.append({"what": {"identifier": {"value": record.about}}, "type": coding("audit-entity-type", "4", "Other")})
    if record.request_id:
        found.append(
            {
                "what": {"identifier": {"value": record.request_id}},
                "type": coding("audit-entity-type", "4", "Other"),
                "detail": [{"type": "X-Request-Id", "valueString": record.request_id}],
            }
        )
    return found


def _query(record: Record) -> dict[str, Any]:
    details = [("type", record.type), ("count", str(record.count) if record.count >= 0 else "")]
    details += [("parameter", name) for name in record.parameters if name.strip()]
    shown = [{"type": name, "valueString": value} for name, value in details if value]
    found: dict[str, Any] = {
        "type": coding("audit-entity-type", "2", "System Object"),
        "role": coding("object-role", "24", "Query"),
    }
    return found | ({"detail": shown} if shown else {})


def _entity(reference: str, kind: str, kind_display: str, role: str, role_display: str) -> dict[str, Any]:
    return {
        "what": {"reference": reference},
        "type": coding("audit-entity-type", kind, kind_display),
        "role": coding("object-role", role, role_display),
    }
