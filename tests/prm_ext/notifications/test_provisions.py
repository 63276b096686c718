"""What Consents say about being written to."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.validate import validate
from fhir_server.security.consent import _denials
from prm_ext.notifications.channels.channel import CHANNELS, Channel
from prm_ext.notifications.codes import KIND, KINDS, MODES, PARTICIPATION_MODE, medium
from prm_ext.notifications.directives import (
    OPT_OUT,
    Rule,
    address_consent,
    identifier_of,
    is_about,
    preferences_consent,
    rules_of,
    stamped,
    turned,
)
from prm_ext.notifications.provisions import ACTION, ADDRESS, MARKETING, SENDER, Contact, denies, plain

NOW = datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
PHONE, CLINIC, OTHER = "+14155550132", "+14155550100", "+14155550101"
MARKETING_PURPOSE = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HMARKT"}
TREATMENT = {**MARKETING_PURPOSE, "code": "TREAT"}
CONTACT = {"coding": [{"system": ACTION, "code": "contact"}]}


def mode(channel: Channel) -> dict[str, Any]:
    return {"coding": [{"system": PARTICIPATION_MODE, "code": MODES[channel][0]}]}


def consent(provision: dict[str, Any] | None, rule: str = "OPTOUT", **more: Any) -> dict[str, Any]:
    found = {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "57016-8"}]}],
        "patient": {"reference": "Patient/1"},
        "policyRule": {"coding": [{"code": rule}]},
        **more,
    }
    return found if provision is None else {**found, "provision": provision}


def stopped(found: dict[str, Any], *kinds: str, people: tuple[str, ...] = ("Patient/1",), **more: Any) -> set[tuple[str, str]]:
    """Return what a Consent denies, as channel and kind."""
    return {
        (channel, kind)
        for channel in CHANNELS
        for kind in (kinds or KINDS)
        if denies(found, Contact(channel, kind, people, more.get("address", PHONE), more.get("sender", CLINIC)), NOW)
    }


EVERYTHING = {(channel, kind) for channel in CHANNELS for kind in KINDS}


def test_marketing_over_one_channel_is_denied_as_ehrs_write_it():
    found = consent({"type": "deny", "purpose": [MARKETING_PURPOSE], "code": [mode("sms")]})
    assert stopped(found) == {("sms", kind) for kind in MARKETING}


def test_marketing_is_denied_over_all_channels_where_none_is_named():
    assert stopped(consent({"type": "deny", "purpose": [MARKETING_PURPOSE]})) == {
        (channel, kind) for channel in CHANNELS for kind in MARKETING
    }


def test_all_messages_over_a_channel_are_denied_by_the_channel_alone():
    assert stopped(consent({"type": "deny", "code": [mode("email"), mode("voice")]})) == {
        (channel, kind) for channel in ("email", "voice") for kind in KINDS
    }


def test_care_and_marketing_are_denied_apart():
    found = consent({"type": "deny", "purpose": [TREATMENT], "code": [mode("sms")]})
    assert stopped(found) == {("sms", kind) for kind in set(KINDS) - MARKETING}


def test_one_kind_is_denied_by_its_code():
    found = consent({"type": "deny", "purpose": [{"system": KIND, "code": "lab-results"}]})
    assert stopped(found) == {(channel, "lab-results") for channel in CHANNELS}
    assert stopped(found, "of-tomorrow") == set()


def test_to_be_contacted_can_be_denied_altogether():
    assert stopped(consent({"type": "deny", "action": [CONTACT]})) == EVERYTHING
    ours = [{"coding": [{"system": "urn:prm:consent-category", "code": "notifications"}]}]
    assert stopped(consent(None, category=ours)) == EVERYTHING
    assert stopped(consent({}, category=ours)) == EVERYTHING
    assert stopped(consent({}, "OPTIN", category=ours)) == set()


@pytest.mark.parametrize(
    "found",
    [
        consent({"type": "permit", "purpose": [TREATMENT]}, "OPTIN"),
        consent({"type": "deny", "purpose": [TREATMENT]}),
        consent({"type": "deny"}),
        consent(None),
        consent({"type": "deny", "class": [{"code": "Observation"}]}),
        consent({"type": "deny", "purpose": [MARKETING_PURPOSE], "class": [{"code": "Observation"}]}),
        consent({"type": "deny", "code": [{"coding": [{"system": "http://loinc.org", "code": "11502-2"}]}]}),
        consent({"type": "deny", "action": [CONTACT]}, status="inactive"),
        consent({"type": "deny", "action": [CONTACT]}, status="proposed"),
        consent({"type": "deny", "action": [CONTACT]}, scope={"coding": [{"code": "research"}]}),
        consent({"type": "deny", "action": [CONTACT], "period": {"end": "2026-11-23"}}),
        consent({"type": "deny", "action": [CONTACT], "period": {"start": "2026-11-25"}}),
        consent({"type": "permit", "action": [CONTACT]}),
    ],
)
def test_consents_about_data_or_not_in_force_stop_no_message(found: dict[str, Any]):
    assert stopped(found) == set()


def test_a_period_that_is_on_counts():
    period = {"start": "2026-11-24", "end": "2026-11-24"}
    assert stopped(consent({"type": "deny", "action": [CONTACT], "period": period})) == EVERYTHING


def test_exceptions_of_a_denial_are_permitted_and_those_of_a_permission_denied():
    allowed = {"type": "permit", "purpose": [{"system": KIND, "code": "alert"}]}
    found = consent({"type": "deny", "code": [mode("sms")], "provision": [allowed]})
    assert stopped(found) == {("sms", kind) for kind in KINDS if kind != "alert"}
    denied = {"type": "deny", "purpose": [MARKETING_PURPOSE], "code": [mode("email")]}
    found = consent({"type": "permit", "provision": [denied]}, "OPTIN")
    assert stopped(found) == {("email", kind) for kind in MARKETING}


def test_the_type_of_a_provision_is_that_of_the_one_around_it_or_of_the_policy():
    assert stopped(consent({"action": [CONTACT]})) == EVERYTHING
    assert stopped(consent({"action": [CONTACT]}, "OPTIN")) == set()
    assert stopped(consent({"type": "deny", "provision": [{"code": [mode("sms")]}]})) == {("sms", kind) for kind in KINDS}


def actor(system: str, value: str, role: str = "AUT") -> dict[str, Any]:
    return {"role": {"coding": [{"code": role}]}, "reference": {"identifier": {"system": system, "value": value}}}


def test_senders_addresses_and_recipients_narrow_a_denial():
    base = {"type": "deny", "action": [CONTACT]}
    sender = consent(base | {"actor": [actor(SENDER, CLINIC)]})
    assert stopped(sender) == EVERYTHING
    assert stopped(sender, sender=OTHER) == set()
    address = consent(base | {"actor": [actor(ADDRESS, PHONE, "IRCP")]})
    assert stopped(address) == EVERYTHING
    assert stopped(address, address=OTHER) == set()
    role = {"coding": [{"code": "IRCP"}]}
    person = consent(base | {"actor": [{"role": role, "reference": {"reference": "RelatedPerson/7"}}]})
    assert stopped(person) == set()
    assert stopped(person, people=("RelatedPerson/7", "Patient/1")) == EVERYTHING
    other = consent(base | {"actor": [{"role": {"coding": [{"code": "CST"}]}, "reference": {"reference": "Organization/1"}}]})
    assert stopped(other) == EVERYTHING


def test_without_an_address_or_a_sender_those_of_a_denial_do_not_matter():
    found = address_consent(person="", channel="sms", sender=CLINIC, address=PHONE, kind="")
    assert denies(found, Contact("sms", "alert"), NOW)
    assert not denies(found, Contact("email", "alert"), NOW)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("whatsapp:+14155550132", PHONE),
        (" +14155550132 ", PHONE),
        ("Bay Clinic <No-Reply@Example.org>", "no-reply@example.org"),
        ("a@b.example", "a@b.example"),
        ("MG123", "MG123"),
        ("", ""),
    ],
)
def test_addresses_are_compared_without_what_surrounds_them(text: str, found: str):
    assert plain(text) == found


# Those of ours

OURS = [
    address_consent(person="Patient/1", channel="sms", sender=CLINIC, address=PHONE, kind=""),
    address_consent(person="", channel="whatsapp", sender="", address=PHONE, kind="health-tips"),
    preferences_consent("1", {channel: Rule(denied=True) for channel in CHANNELS}),
    preferences_consent("1", {channel: Rule() for channel in CHANNELS}),
    preferences_consent("1", {"sms": Rule(denied=True, exceptions=frozenset({"alert"})), "email": Rule(exceptions=MARKETING)}),
    preferences_consent("1", {channel: Rule(denied=True, exceptions=frozenset({"alert"})) for channel in CHANNELS}),
]


@pytest.mark.parametrize("found", [*OURS, *(turned(one, denied=False) for one in OURS[:2])])
def test_consents_of_ours_are_valid_and_hide_nothing_from_apps(found: dict[str, Any]):
    found = stamped(found, now=NOW, source="keyword", message="Communication/1")
    assert [issue for issue in validate(found) if issue.severity == "error"] == []
    assert found["dateTime"] == "2026-11-24T14:30:00.000Z"

    class App:
        client = "app"

    assert list(_denials(found, App(), NOW)) == []


def test_what_came_from_an_address_stops_what_goes_back_to_it():
    found = OURS[0]
    assert stopped(found) == {("sms", kind) for kind in KINDS}
    assert stopped(found, people=()) == {("sms", kind) for kind in KINDS}
    assert stopped(found, address=OTHER) == set()
    assert stopped(found, sender=OTHER) == set()
    assert stopped(turned(found, denied=False)) == set()
    assert stopped(turned(turned(found, denied=False), denied=True)) == stopped(found)
    assert stopped(OURS[1], sender=OTHER) == {("whatsapp", "health-tips")}


def test_what_came_from_an_address_is_known_by_what_it_is_about():
    found = OURS[0]
    assert is_about(found, channel="sms", sender=CLINIC, kind="")
    assert is_about(found, channel="sms", sender="", kind="")
    assert not is_about(found, channel="sms", sender=OTHER, kind="")
    assert not is_about(found, channel="whatsapp", sender=CLINIC, kind="")
    assert not is_about(found, channel="sms", sender=CLINIC, kind="alert")
    assert is_about(OURS[1], channel="whatsapp", sender=CLINIC, kind="health-tips")
    assert not is_about(consent({"type": "deny", "code": [medium("sms")]}), channel="sms", sender=CLINIC, kind="")


def test_a_messaging_service_sends_from_any_number_that_it_has():
    number = address_consent(person="", channel="sms", sender=CLINIC, address=PHONE, kind="")
    service = address_consent(person="", channel="sms", sender="MG1", address=PHONE, kind="")
    assert stopped(number, sender="MG1") == stopped(service, sender=CLINIC) == {("sms", kind) for kind in KINDS}
    assert stopped(service, sender="MG2") == set()
    assert is_about(service, channel="sms", sender=CLINIC, kind="")
    assert is_about(number, channel="sms", sender="MG1", kind="")
    assert not is_about(service, channel="sms", sender="MG2", kind="")


def test_what_it_is_about_can_not_be_read_from_its_identifier():
    keys = {identifier_of(one, OPT_OUT) for one in OURS[:2]}
    assert len(keys) == 2
    assert all(PHONE not in key and len(key) == 40 for key in keys)


def test_how_it_came_about_is_kept_once():
    found = stamped(stamped(OURS[0], now=NOW, source="keyword", message="Communication/1"), now=NOW, source="api", message="")
    assert [one["extension"] for one in found["extension"]] == [[{"url": "how", "valueCode": "api"}]]


RULES = st.fixed_dictionaries(
    {
        channel: st.builds(Rule, denied=st.booleans(), exceptions=st.frozensets(st.sampled_from([*KINDS, "of-tomorrow"])))
        for channel in CHANNELS
    }
)


@given(rules=RULES)
def test_preferences_deny_what_they_are_made_of_and_are_read_back(rules: dict[Channel, Rule]):
    found = preferences_consent("1", rules)
    kinds = (*KINDS, "of-tomorrow")
    assert stopped(found, *kinds) == {(channel, kind) for channel in CHANNELS for kind in kinds if rules[channel].denies(kind)}
    read = rules_of([found], NOW)
    assert {(channel, kind) for channel in CHANNELS for kind in kinds if read[channel].denies(kind)} == stopped(found, *kinds)
    assert preferences_consent("1", rules_of([preferences_consent("1", read)], NOW)) == preferences_consent("1", read)


@given(rule=st.builds(Rule, denied=st.booleans(), exceptions=st.frozensets(st.sampled_from([*KINDS]))), denied=st.booleans())
def test_a_rule_changes_in_what_is_asked_and_in_nothing_else(rule: Rule, denied: bool):
    for kind in KINDS:
        changed = rule.changed(kind, denied=denied)
        assert changed.denies(kind) == denied
        assert all(changed.denies(other) == rule.denies(other) for other in KINDS if other != kind)
    assert {rule.changed("", denied=denied).denies(kind) for kind in KINDS} == {denied}
