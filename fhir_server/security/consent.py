"""Consents that deny sharing with an app.

https://hl7.org/fhir/R4/consent.html

What a patient shares with an app (`patient/` scopes) is bounded by the active Consents of scope `patient-privacy` whose
provision, or a provision within it, is of type `deny`. A provision is about the app when it names no actor, or one whose
identifier is the client id; about certain data by `class` (resource types), `securityLabel` and `data`. Exceptions within
a denial are not evaluated: it then denies more than it says, never less. Consents about other purposes (such as not to be
written to) are no concern.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from fhir_server.exchange import Context, Principal, Resource
from fhir_server.fhir import dates
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.security.permissions import Denial

_SCOPE: Final = "patient-privacy"
_PURPOSE: Final = "PATRQT"
_ACTIONS: Final = frozenset({"access", "disclose", "use"})
_TYPES: Final = "http://hl7.org/fhir/resource-types"


async def denials_of(ctx: Context, principal: Principal) -> tuple[Denial, ...]:
    """Return what the patient in context does not share with the client."""
    if not principal.patient:
        return ()
    condition = {"t": ctx.tenant, "s.patient": f"Patient/{principal.patient}", "d": None}
    documents = ctx.repo.database.collection("Consent").find(condition, {"r": 1}).sort("_id", 1)
    found: list[Denial] = []
    async for document in documents:
        found += _denials(document["r"], principal, ctx.now())
    return tuple(found)


def _denials(consent: Resource, principal: Principal, now: datetime) -> Iterator[Denial]:
    if consent.get("status") != "active" or _SCOPE not in _codes(consent.get("scope", {})):
        return
    provision = consent.get("provision")
    if isinstance(provision, dict):
        for one in _provisions(provision, ""):
            if _concerns(one, principal, now):
                yield _denial(one)


def _provisions(provision: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    """Yield those that deny."""
    kind = provision.get("type", kind)
    if kind == "deny":
        yield provision
    for inner in provision.get("provision", ()):
        yield from _provisions(inner, kind)


def _concerns(provision: Mapping[str, Any], principal: Principal, now: datetime) -> bool:
    purposes = {coding.get("code") for coding in provision.get("purpose", ())}
    if purposes and _PURPOSE not in purposes:
        return False
    actions = {code for concept in provision.get("action", ()) for code in _codes(concept)}
    if actions and actions.isdisjoint(_ACTIONS):
        return False
    actors = provision.get("actor", ())
    if actors and not any(_is_client(actor.get("reference", {}), principal) for actor in actors):
        return False
    period = provision.get("period", {})
    begun = "start" not in period or dates.interval(period["start"])[0] <= now
    return begun and ("end" not in period or now < dates.interval(period["end"])[1])


def _is_client(reference: Mapping[str, Any], principal: Principal) -> bool:
    named = {reference.get("identifier", {}).get("value"), reference.get("reference", "").rpartition("/")[2]}
    return bool(principal.client) and principal.client in named


def _denial(provision: Mapping[str, Any]) -> Denial:
    classes = provision.get("class", ())
    types = {coding.get("code", "") for coding in classes if coding.get("system", _TYPES) == _TYPES} & RESOURCE_TYPES
    labels = {f"{coding['code']}|{coding.get('system', '')}" for coding in provision.get("securityLabel", ()) if "code" in coding}
    references = {data.get("reference", {}).get("reference", "") for data in provision.get("data", ())}
    # A class that is no resource type is not understood: then all is denied.
    return Denial(frozenset(types if len(types) == len(classes) else ()), frozenset(labels), frozenset(references - {""}))


def _codes(concept: Mapping[str, Any]) -> set[str]:
    return {coding.get("code", "") for coding in concept.get("coding", ())}
