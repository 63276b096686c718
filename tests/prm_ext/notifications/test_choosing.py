"""How somebody is reached: channels, addresses, language, members."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm_ext.notifications.channels.channel import CHANNELS, Channel
from prm_ext.notifications.choosing import PREFERRED, Choice, choices, language_of, members_of, unreachable
from prm_ext.patients.fields.contact import PREFERRED as FIELD

NOW = datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
ORDER: tuple[Channel, ...] = ("whatsapp", "sms", "email")
MOBILE, OTHER, HOME = "+14155550132", "+14155550178", "+14155550190"
EMAIL = "elena.garcia@example.org"


def point(system: str, value: str, **more: Any) -> dict[str, Any]:
    return {"system": system, "value": value, **more}


def person(*telecom: dict[str, Any], type_: str = "Patient", **more: Any) -> dict[str, Any]:
    return {"resourceType": type_, "id": "1", "telecom": list(telecom), **more}


def chosen(recipient: dict[str, Any] | None, *explicit: Channel, off: str = "", region: str = "US") -> list[tuple[str, str]]:
    found = choices(
        recipient,
        explicit=explicit,
        order=ORDER,
        available=lambda channel: channel != off,
        now=NOW,
        region=region,
    )
    return [(one.channel, one.address) for one in found]


def preferring(method: str) -> dict[str, Any]:
    return {"extension": [{"url": PREFERRED, "valueCode": method}]}


def test_the_preferred_method_is_that_of_the_patient_api():
    assert PREFERRED == FIELD


def test_without_a_preference_channels_come_in_the_order_of_the_tenant():
    assert chosen(person(point("phone", MOBILE), point("email", EMAIL))) == [
        ("whatsapp", MOBILE),
        ("sms", MOBILE),
        ("email", EMAIL),
    ]


def test_channels_without_an_address_or_a_provider_are_left_out():
    assert chosen(person(point("email", EMAIL))) == [("email", EMAIL)]
    assert chosen(person(point("phone", MOBILE), point("email", EMAIL)), off="whatsapp") == [("sms", MOBILE), ("email", EMAIL)]


@pytest.mark.parametrize(
    ("method", "order"),
    [
        ("email", ["email", "whatsapp", "sms"]),
        ("sms", ["sms", "whatsapp", "email"]),
        ("whatsapp", ["whatsapp", "sms", "email"]),
        ("phone", ["voice", "whatsapp", "sms", "email"]),
        ("pigeon", ["whatsapp", "sms", "email"]),
    ],
)
def test_the_preferred_method_comes_first_and_the_others_follow(method: str, order: list[str]):
    found = chosen(person(point("phone", MOBILE), point("email", EMAIL), **preferring(method)))
    assert [channel for channel, _ in found] == order


def test_channels_that_the_request_names_are_the_only_ones():
    recipient = person(point("phone", MOBILE), point("email", EMAIL), **preferring("email"))
    assert chosen(recipient, "sms") == [("sms", MOBILE)]
    assert chosen(recipient, "email", "voice", "email") == [("email", EMAIL), ("voice", MOBILE)]
    assert chosen(person(point("email", EMAIL)), "sms") == []


def test_ranks_of_addresses_order_channels_where_no_method_is_preferred():
    recipient = person(point("phone", MOBILE, rank=2), point("email", EMAIL, rank=1))
    assert [channel for channel, _ in chosen(recipient)] == ["email", "whatsapp", "sms"]
    recipient = person(point("phone", MOBILE, rank=1), point("email", EMAIL))
    assert [channel for channel, _ in chosen(recipient)] == ["whatsapp", "sms", "email"]


def test_texts_go_to_the_mobile_phone_and_calls_to_the_first_one():
    recipient = person(
        point("phone", HOME, use="home", rank=1), point("phone", OTHER, use="work"), point("phone", MOBILE, use="mobile", rank=2)
    )
    assert chosen(recipient, "sms", "whatsapp", "voice") == [("sms", MOBILE), ("whatsapp", MOBILE), ("voice", HOME)]


def test_phones_without_a_use_go_by_rank_and_then_by_place():
    ranked = person(point("phone", HOME, rank=2), point("phone", MOBILE, rank=1), point("phone", OTHER))
    assert chosen(ranked, "sms") == [("sms", MOBILE)]
    assert chosen(person(point("phone", OTHER), point("phone", MOBILE)), "sms") == [("sms", OTHER)]


def test_private_addresses_come_before_those_of_the_place_of_work():
    recipient = person(
        point("email", "e@work.example", use="work"), point("email", EMAIL, use="home"), point("phone", OTHER, use="work")
    )
    assert chosen(recipient, "email", "voice") == [("email", EMAIL), ("voice", OTHER)]


def test_a_point_for_sms_or_whatsapp_comes_before_phones():
    recipient = person(point("phone", MOBILE, use="mobile"), point("sms", OTHER), point("other", "whatsapp:+1 415-555-0190"))
    assert chosen(recipient) == [("whatsapp", HOME), ("sms", OTHER)]
    assert chosen(person(point("url", "https://wa.me/14155550132")), "whatsapp") == [("whatsapp", MOBILE)]
    link = "https://api.whatsapp.com/send?phone=14155550132&text=hi"
    assert chosen(person(point("url", link)), "whatsapp") == [("whatsapp", MOBILE)]
    assert chosen(person(point("url", "https://example.org"), point("other", "Signal 555")), "whatsapp") == []


def test_a_landline_gets_texts_only_where_there_is_nothing_else():
    landline, mobile = "+493012345678", "+4915123456789"
    recipient = person(point("phone", landline, rank=1), point("phone", mobile, use="work", rank=9))
    assert chosen(recipient, "sms", "voice") == [("sms", mobile), ("voice", landline)]
    assert chosen(person(point("phone", landline)), "sms") == [("sms", landline)]


def test_fax_pager_old_and_ended_points_are_never_used():
    over = {"period": {"end": "2026-11-23"}}
    recipient = person(
        point("fax", MOBILE),
        point("pager", MOBILE),
        point("phone", MOBILE, use="old"),
        point("email", EMAIL, period={"start": "2026-11-25"}),
        point("phone", OTHER, **over),
        {"system": "phone"},
        {"system": "phone", "value": "call my mother"},
        point("email", "not an address"),
    )
    assert chosen(recipient) == []
    assert chosen(recipient, "voice") == []


def test_points_within_their_period_are_used():
    assert chosen(person(point("email", EMAIL, period={"start": "2026-11-24", "end": "2026-11-24"}))) == [("email", EMAIL)]
    assert chosen(person(point("email", EMAIL, period={"start": "some day"}))) == [("email", EMAIL)]


def test_numbers_are_written_in_full_by_the_region_and_emails_in_lower_case():
    assert chosen(person(point("phone", "(415) 555-0132"), point("email", " Elena.Garcia@Example.org"))) == [
        ("whatsapp", MOBILE),
        ("sms", MOBILE),
        ("email", EMAIL),
    ]
    assert chosen(person(point("phone", "0151 23456789")), "sms", region="DE") == [("sms", "+4915123456789")]


def test_the_dead_are_not_written_to():
    for sign in ({"deceasedBoolean": True}, {"deceasedDateTime": "2026-11-01"}):
        recipient = person(point("phone", MOBILE), **sign)
        assert chosen(recipient) == []
        assert chosen(recipient, "sms") == []
        assert unreachable(recipient, ["sms"], now=NOW) == ("deceased", "The recipient has died.")
    assert chosen(person(point("phone", MOBILE), deceasedBoolean=False), "sms") == [("sms", MOBILE)]


def test_a_patient_whose_record_is_inactive_is_written_to_all_the_same():
    assert chosen(person(point("phone", MOBILE), active=False), "sms") == [("sms", MOBILE)]


def test_a_relation_that_has_ended_is_no_reason_to_write():
    guardian = person(point("phone", MOBILE), type_="RelatedPerson")
    assert chosen(guardian, "sms") == [("sms", MOBILE)]
    for over in ({"period": {"end": "2026-01-01"}}, {"active": False}):
        assert chosen(guardian | over, "sms") == []
        assert unreachable(guardian | over, [], now=NOW)[0] == "no-address"
        assert "has ended" in unreachable(guardian | over, [], now=NOW)[1]


@pytest.mark.parametrize("type_", ["RelatedPerson", "Practitioner", "PractitionerRole", "Organization", "HealthcareService"])
def test_whoever_has_a_telecom_can_be_reached(type_: str):
    assert chosen(person(point("email", EMAIL), type_=type_)) == [("email", EMAIL)]


def test_contacts_of_a_patient_are_other_people_and_those_of_a_device_are_its_own():
    contact = [{"telecom": [point("phone", MOBILE)]}]
    assert chosen({"resourceType": "Patient", "contact": contact}) == []
    assert chosen({"resourceType": "Device", "contact": [point("email", EMAIL)]}) == [("email", EMAIL)]


@pytest.mark.parametrize(
    ("recipient", "explicit", "text"),
    [
        (None, [], "not known here"),
        (person(), [], "has no telecom that is in use, so that nothing can be sent."),
        (person(), ["sms", "email"], "nothing can be sent over sms, email."),
        (person(point("email", EMAIL)), ["sms"], "has no number or address that can be used over sms."),
        (person(point("phone", "12")), [], "has no number or address that can be used."),
    ],
)
def test_why_nobody_can_be_reached_is_said(recipient: Any, explicit: list[Channel], text: str):
    failure, found = unreachable(recipient, explicit, now=NOW)
    assert failure == "no-address"
    assert text in found


def test_an_unknown_recipient_has_no_choices():
    assert chosen(None) == []


POINTS = st.fixed_dictionaries(
    {},
    optional={
        "system": st.sampled_from(["phone", "sms", "email", "fax", "pager", "url", "other", "x"]),
        "value": st.sampled_from([MOBILE, "(415) 555-0178", EMAIL, "whatsapp:+14155550190", "x", "", "+493012345678"]),
        "use": st.sampled_from(["home", "work", "temp", "old", "mobile", "x"]),
        "rank": st.integers(1, 9),
        "period": st.sampled_from([{}, {"end": "2020"}, {"start": "x"}]),
    },
)


@given(
    points=st.lists(POINTS, max_size=6),
    explicit=st.lists(st.sampled_from(CHANNELS), unique=True),
    method=st.sampled_from(["", "phone", "email", "whatsapp", "sms"]),
)
def test_every_choice_is_an_address_of_the_recipient_for_its_channel(
    points: list[dict[str, Any]], explicit: list[Channel], method: str
):
    found = choices(
        {"resourceType": "Patient", "telecom": points, **preferring(method)},
        explicit=explicit,
        order=ORDER,
        available=lambda _: True,
        now=NOW,
        region="US",
    )
    allowed = explicit or (*ORDER, *(["voice"] if method == "phone" else []))
    assert {one.channel for one in found} <= set(allowed)
    assert len({one.channel for one in found}) == len(found)
    if explicit:
        assert [one.channel for one in found] == [one for one in explicit if one in {choice.channel for choice in found}]
    for one in found:
        assert isinstance(one, Choice)
        assert ("@" in one.address) == (one.channel == "email")
        assert one.address.startswith("+") == (one.channel != "email")


@pytest.mark.parametrize(
    ("communication", "language"),
    [
        ([], "en"),
        ([{"language": {"coding": [{"code": "es"}]}}], "es"),
        ([{"language": {"coding": [{"code": "fr"}]}}, {"language": {"coding": [{"code": "es"}]}, "preferred": True}], "es"),
        ([{"language": {"coding": [{"code": "fr"}]}}, {"language": {"coding": [{"code": "es"}]}}], "fr"),
        ([{"language": {"coding": [{"code": "fr"}]}, "preferred": False}], "en"),
        ([{"language": {"coding": [{"code": "pt_BR"}]}, "preferred": True}], "pt-BR"),
        ([{"language": {"text": "vi"}}], "vi"),
        ([{"language": {"text": "Klingon, a bit"}, "preferred": True}], "en"),
        ([{"coding": [{"system": "urn:ietf:bcp:47", "code": "zh-Hant"}]}], "zh-Hant"),
    ],
)
def test_the_language_is_the_preferred_one(communication: list[dict[str, Any]], language: str):
    assert language_of({"resourceType": "Patient", "communication": communication}, "en") == language


def test_the_language_of_nobody_is_the_default():
    assert language_of(None, "de") == "de"


def test_members_of_a_group_are_those_who_are_in_it_now():
    group = {
        "resourceType": "Group",
        "actual": True,
        "member": [
            {"entity": {"reference": "Patient/1"}},
            {"entity": {"reference": "Patient/2"}, "inactive": True},
            {"entity": {"reference": "Patient/3"}, "period": {"end": "2026-01-01"}},
            {"entity": {"reference": "Group/2"}, "inactive": False},
            {"entity": {"reference": "Patient/1"}},
            {"entity": {"display": "somebody"}},
        ],
    }
    assert members_of(group, NOW) == ["Patient/1", "Group/2"]
    assert members_of(group) == ["Patient/1", "Patient/3", "Group/2"]
    assert members_of(group | {"actual": False}) == []
    assert members_of({"resourceType": "Group", "actual": True}) == []


def test_members_of_a_care_team_are_its_participants():
    team = {
        "resourceType": "CareTeam",
        "participant": [
            {"member": {"reference": "Practitioner/1"}},
            {"member": {"reference": "RelatedPerson/1"}, "period": {"end": "2025"}},
            {"role": [{"text": "none yet"}]},
        ],
    }
    assert members_of(team, NOW) == ["Practitioner/1"]
