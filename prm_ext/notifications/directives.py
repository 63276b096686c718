"""Consents of ours about being written to: one for each address that something came back from, one for what a patient prefers.

https://hl7.org/fhir/R4/consent.html, docs/notifications/consent.md has their form.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fhir_server.exchange import Resource
from fhir_server.store.versions import instant
from prm_ext.notifications.channels.channel import CHANNELS, Channel
from prm_ext.notifications.codes import KIND, KINDS, channels_of, medium
from prm_ext.notifications.provisions import (
    ACTION,
    ADDRESS,
    CATEGORY,
    RECIPIENT,
    SENDER,
    Contact,
    denies,
    is_same_sender,
)

_THO: Final = "http://terminology.hl7.org/CodeSystem/"
SCOPE: Final = _THO + "consentscope"
RULE: Final = _THO + "v3-ActCode"
ROLES: Final = _THO + "v3-ParticipationType"
OPT_OUT: Final = "urn:prm:notification-opt-out"
"""System of the identifier of a Consent of ours about one address: a digest of what it is about."""
PREFERENCES: Final = "urn:prm:notification-preferences"
"""System of the identifier of the Consent that holds what a patient prefers: the patient's id."""
SOURCE: Final = "urn:prm:StructureDefinition:notification-consent-source"
"""On a Consent, `valueCode`: how it came about; in it, `valueReference`, the message that said so."""

_AUTHOR: Final = "AUT"
_OTHER_KIND: Final = "urn:any-other"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is denied over one channel: all kinds or none, but for exceptions."""

    denied: bool = False
    exceptions: frozenset[str] = frozenset()

    def denies(self, kind: str) -> bool:
        """Tell whether messages of a kind are not wanted."""
        return self.denied != (kind in self.exceptions)

    def changed(self, kind: str, *, denied: bool) -> "Rule":
        """Return the rule with one kind denied or allowed, or, without a kind, all of them."""
        if not kind:
            return Rule(denied)
        return Rule(self.denied, self.exceptions | {kind} if denied != self.denied else self.exceptions - {kind})


def digest(*parts: str) -> str:
    """Return a value that is the same for the same parts, and tells nothing of them."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]


def is_about(consent: Resource, *, channel: Channel, sender: str, kind: str) -> bool:
    """Tell whether a Consent of ours about one address is about a channel, a sender and a kind (or all kinds)."""
    provision = consent.get("provision", {})
    purposes = {one.get("code") for one in provision.get("purpose", ())}
    identifiers = [one.get("reference", {}).get("identifier", {}) for one in provision.get("actor", ())]
    senders = {one.get("value", "") for one in identifiers if one.get("system") == SENDER}
    return (
        identifier_of(consent, OPT_OUT) != ""
        and channels_of(provision.get("code")) == (channel,)
        and (not sender or not senders or any(is_same_sender(one, sender) for one in senders))
        and purposes == ({kind} if kind else set())
    )


def identifier_of(consent: Resource, system: str) -> str:
    """Return the identifier that a Consent has in a system, or nothing."""
    return next((str(one.get("value", "")) for one in consent.get("identifier", ()) if one.get("system") == system), "")


def address_consent(*, person: str, channel: Channel, sender: str, address: str, kind: str) -> Resource:
    """Return the Consent that nothing is sent to an address, over a channel, from a sender (or any) and of a kind (or any).

    `person` is a reference to the patient whose address it is; empty where that is nobody that is known.
    """
    at = {"system": ADDRESS, "value": address}
    actors = [_actor(RECIPIENT, "information recipient", at)]
    if sender:
        actors.append(_actor(_AUTHOR, "author (originator)", {"system": SENDER, "value": sender}))
    key = {"system": OPT_OUT, "value": digest(person, channel, sender, address, kind)}
    patient = {"reference": person} if person else {"type": "Patient", "identifier": at}
    return {
        **_consent(patient),
        "identifier": [key, at],
        "policyRule": _rule("OPTOUT"),
        "provision": {
            "type": "deny",
            "actor": actors,
            "action": [_contact()],
            **({"purpose": [{"system": KIND, "code": kind}]} if kind else {}),
            "code": [medium(channel)],
        },
    }


def turned(consent: Resource, *, denied: bool) -> Resource:
    """Return a Consent of ours about one address that denies what it has permitted, or permits what it has denied."""
    provision = {**consent["provision"], "type": "deny" if denied else "permit"}
    return {**consent, "policyRule": _rule("OPTOUT" if denied else "OPTIN"), "provision": provision}


def preferences_consent(patient: str, rules: Mapping[Channel, Rule]) -> Resource:
    """Return the Consent that holds what a patient, by id, does not want over which channel."""
    provision, code = _provision_of(rules)
    return {
        **_consent({"reference": f"Patient/{patient}"}),
        "identifier": [{"system": PREFERENCES, "value": patient}],
        "policyRule": _rule(code),
        "provision": provision,
    }


def rules_of(consents: Collection[Resource], now: datetime) -> dict[Channel, Rule]:
    """Return what Consents of a patient deny, by channel, whatever the address."""
    kinds = {*KINDS, *(kind for consent in consents for kind in _kinds(consent.get("provision", {})))}
    found: dict[Channel, Rule] = {}
    for channel in CHANNELS:

        def denied(kind: str, channel: Channel = channel) -> bool:
            return any(denies(consent, Contact(channel, kind), now) for consent in consents)

        base = denied(_OTHER_KIND)
        found[channel] = Rule(base, frozenset(kind for kind in kinds if denied(kind) != base))
    return found


def _kinds(provision: Mapping[str, Any]) -> set[str]:
    found = {str(one.get("code")) for one in provision.get("purpose", ()) if one.get("system") == KIND}
    return found.union(*(_kinds(one) for one in provision.get("provision", ())))


def _provision_of(rules: Mapping[Channel, Rule]) -> tuple[Resource, str]:
    """Return what denies as rules do, and the base policy that it is an exception of."""
    groups: dict[Rule, list[Channel]] = {}
    for channel, rule in rules.items():
        if rule.denied or rule.exceptions:
            groups.setdefault(rule, []).append(channel)
    if not groups:
        return {"type": "permit", "action": [_contact()]}, "OPTIN"
    parts = [_part(rule, channels) for rule, channels in groups.items()]
    if len(parts) == 1 and "code" not in parts[0] and "purpose" not in parts[0]:
        return parts[0], "OPTOUTE" if "provision" in parts[0] else "OPTOUT"
    return {"type": "permit", "action": [_contact()], "provision": parts}, "OPTINR"


def _part(rule: Rule, channels: Collection[Channel]) -> Resource:
    purposes = {"purpose": [{"system": KIND, "code": kind} for kind in sorted(rule.exceptions)]} if rule.exceptions else {}
    part: Resource = {"type": "deny", "action": [_contact()]}
    if not rule.denied:
        part |= purposes
    if len(channels) < len(CHANNELS):
        part["code"] = [medium(channel) for channel in channels]
    if rule.denied and rule.exceptions:
        part["provision"] = [{"type": "permit", "action": [_contact()], **purposes}]
    return part


def stamped(consent: Resource, *, now: datetime, source: str, message: str) -> Resource:
    """Return a Consent with when and how it came about: a code, and a reference to the message that said so."""
    said = {"extension": [{"url": "message", "valueReference": {"reference": message}}]} if message else {}
    how = {"url": SOURCE, "extension": [{"url": "how", "valueCode": source}, *said.get("extension", ())]}
    others = [one for one in consent.get("extension", ()) if one.get("url") != SOURCE]
    return {**consent, "dateTime": instant(now), "extension": [*others, how]}


def _consent(patient: Resource) -> Resource:
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [{"system": SCOPE, "code": "patient-privacy", "display": "Privacy Consent"}]},
        "category": [{"coding": [{"system": CATEGORY, "code": "notifications"}]}],
        "patient": patient,
    }


def _rule(code: str) -> Resource:
    return {"coding": [{"system": RULE, "code": code}]}


def _contact() -> Resource:
    return {"coding": [{"system": ACTION, "code": "contact"}]}


def _actor(code: str, display: str, identifier: Resource) -> Resource:
    return {
        "role": {"coding": [{"system": ROLES, "code": code, "display": display}]},
        "reference": {"identifier": identifier},
    }
