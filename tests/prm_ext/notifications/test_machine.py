"""What becomes of a delivery, whatever comes in whatever order."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm_ext.notifications import machine
from prm_ext.notifications.channels.channel import Accepted, Receipt, Refused, Unknown
from prm_ext.notifications.machine import Rules
from prm_ext.notifications.records import RANK
from prm_ext.notifications.settings import NotificationSettings

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SETTINGS = NotificationSettings(_env_file=None)
RULES = Rules(SETTINGS, NOW)
STATUSES = ["queued", "sending", "sent", "delivered", "read", "failed"]


def delivery(**values: Any) -> dict[str, Any]:
    """A delivery that a worker holds."""
    found = {
        "_id": "t/r",
        "t": "t",
        "rev": 1,
        "state": "sending",
        "token": "mine",
        "lease": NOW,
        "status": "queued",
        "channels": ["sms"],
        "expires": NOW + timedelta(hours=24),
        "due": NOW,
    }
    return found | values


def handed(found: dict[str, Any] | None = None, id_: str = "c1", channel: str = "sms") -> dict[str, Any]:
    """The same after it has been handed to a provider."""
    message = {"id": id_, "channel": channel, "to": "+14155550100", "provider": "twilio", "sender": "+1", "body": "Hi"}
    return machine.tried(found or delivery(), message, NOW)


def accepted(status: str = "queued") -> dict[str, Any]:
    """The same after the provider has taken it."""
    return machine.concluded(handed(), Accepted("SM1", status), RULES, reports=True, others=False)


def receipt(status: str, key: str = "", **values: Any) -> Receipt:
    return Receipt(key or status, status, NOW, reference="c1", provider_id="SM1", **values)


def test_a_try_is_unknown_until_something_is_known_of_it() -> None:
    found = handed()
    assert machine.unknown_try(found) == {"at": NOW, "outcome": "unknown"}
    assert found["status"] == "sending"
    assert machine.unknown_try(accepted()) is None


def test_what_a_provider_takes_waits_for_receipts_as_long_as_the_setting_says() -> None:
    found = accepted()
    assert found["state"] == "sent"
    assert found["lease"] == NOW + timedelta(hours=24)
    assert found["provider_ids"] == ["twilio|SM1"]
    assert "token" not in found


def test_what_a_provider_without_receipts_takes_is_done() -> None:
    found = machine.concluded(handed(), Accepted("<1@x>", "sent"), RULES, reports=False, others=False)
    assert (found["state"], found["status"]) == ("done", "sent")
    assert "lease" not in found


def test_what_nobody_answered_is_looked_up_after_a_moment() -> None:
    found = machine.concluded(handed(), Unknown("timeout"), RULES, reports=True, others=False)
    assert (found["state"], found["due"]) == ("waiting", NOW + machine.LOOKUP_PAUSE)
    assert machine.unknown_try(found) is not None


def test_what_the_provider_never_had_may_be_tried_again() -> None:
    found = machine.not_taken(machine.concluded(handed(), Unknown(""), RULES, reports=True, others=False), NOW)
    assert machine.unknown_try(found) is None
    assert machine.message_of(found)["tries"][-1]["outcome"] == "lost"


def test_pauses_double_and_end_at_the_longest() -> None:
    pauses = [RULES.pause(tries, None).total_seconds() for tries in (1, 2, 3, 20)]
    assert pauses == [5, 10, 20, 900]


@given(st.integers(1, 60), st.floats(-1, 1), st.floats(0, 5000))
def test_a_pause_is_never_shorter_than_the_provider_asked_for(tries: int, jitter: float, asked: float) -> None:
    assert Rules(SETTINGS, NOW, jitter).pause(tries, asked).total_seconds() >= asked - 1e-6


def test_a_passing_failure_is_tried_again_until_the_last_attempt() -> None:
    found = delivery()
    for tries in range(1, SETTINGS.max_attempts + 1):
        found = handed({**found, "state": "sending", "token": "mine"})
        found = machine.concluded(found, Refused("transient", "503", ""), RULES, reports=True, others=False)
        assert found["state"] == ("waiting" if tries < SETTINGS.max_attempts else "done")
    assert (found["status"], found["failure"], found["code"]) == ("failed", "transient", "503")
    assert len(found["messages"]) == 1
    assert len(found["messages"][0]["tries"]) == SETTINGS.max_attempts


def test_a_passing_failure_is_not_tried_again_after_the_end_of_its_time() -> None:
    found = handed(delivery(expires=NOW + timedelta(seconds=2)))
    assert machine.concluded(found, Refused("transient", "503", ""), RULES, reports=True, others=False)["state"] == "done"


def test_a_provider_that_asks_for_time_gets_it() -> None:
    found = machine.concluded(handed(), Refused("transient", "20429", "", 77), RULES, reports=True, others=False)
    assert found["due"] == NOW + timedelta(seconds=77)


def test_a_phone_that_does_not_answer_is_tried_twice_with_a_long_pause() -> None:
    refused = Refused("transient", "30003", "")
    found = machine.concluded(handed(), refused, RULES, reports=True, others=False)
    assert found["due"] == NOW + machine.UNREACHABLE_PAUSE
    again = machine.concluded(handed({**found, "state": "sending"}), refused, RULES, reports=True, others=False)
    assert again["state"] == "done"


@pytest.mark.parametrize("failure", ["address", "opted-out", "content", "channel"])
def test_a_failure_for_good_goes_on_over_another_channel_or_ends(failure: str) -> None:
    refused = Refused(failure, "1", "no")
    other = machine.concluded(handed(), refused, RULES, reports=True, others=True)
    assert (other["state"], other["due"], other["status"]) == ("waiting", NOW, "sending")
    assert machine.message_of(other) is None
    assert other["messages"][0]["status"] == "failed"
    last = machine.concluded(handed(), refused, RULES, reports=True, others=False)
    assert (last["state"], last["status"], last["failure"]) == ("done", "failed", failure)


def test_another_channel_is_another_message() -> None:
    found = machine.concluded(handed(), Refused("channel", "63016", ""), RULES, reports=True, others=True)
    found = handed({**found, "state": "sending"}, "c2", "email")
    assert [one["id"] for one in found["messages"]] == ["c1", "c2"]
    assert found["lane"] == "email"


@given(st.lists(st.sampled_from(STATUSES), max_size=12))
def test_receipts_move_a_status_upward_only_whatever_their_order(statuses: list[str]) -> None:
    found = accepted()
    for number, status in enumerate(statuses):
        before = RANK[found["status"]]
        one = receipt(status, f"{status}{number}", failure="address" if status == "failed" else None)
        found = machine.received(found, one, RULES) or found
        assert RANK[found["status"]] >= before
    if "read" in statuses[: statuses.index("failed")] if "failed" in statuses else "read" in statuses:
        assert found["status"] == "read"
    if {"delivered", "read", "failed"} & set(statuses):
        assert found["state"] == "done"
    first = next((one for one in statuses if one in ("delivered", "read", "failed")), None)
    if first == "failed":
        assert found["status"] == "failed"
    elif first is not None:
        assert found["status"] in ("delivered", "read")


@given(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=6))
def test_a_receipt_that_comes_twice_changes_nothing(statuses: list[str]) -> None:
    found = accepted()
    for status in statuses:
        one = receipt(status, failure="address" if status == "failed" else None)
        found = machine.received(found, one, RULES) or found
        assert machine.received(found, one, RULES) is None


def test_delivered_says_when_and_that_it_was_sent() -> None:
    found = machine.received(accepted(), receipt("delivered"), RULES)
    assert found is not None
    assert {name: found["messages"][0][name] for name in ("sent", "delivered", "status")} == {
        "sent": NOW,
        "delivered": NOW,
        "status": "delivered",
    }


def test_a_receipt_that_is_faster_than_the_answer_is_kept() -> None:
    found = machine.received(handed(), receipt("delivered"), RULES)
    assert found is not None
    assert (found["state"], found["status"]) == ("done", "delivered")
    assert found["messages"][0]["tries"][-1]["provider_id"] == "SM1"


def test_a_receipt_ends_the_search_for_an_answer_that_was_lost() -> None:
    waiting = machine.concluded(handed(), Unknown(""), RULES, reports=True, others=False)
    found = machine.received(waiting, receipt("sent"), RULES)
    assert found is not None
    assert machine.is_accepted(found)
    assert (found["state"], found["lease"]) == ("sent", NOW + timedelta(hours=24))


def test_a_passing_failure_that_is_reported_is_tried_again() -> None:
    found = machine.received(accepted(), receipt("failed", failure="transient", code="30008"), RULES)
    assert found is not None
    assert found["state"] == "waiting"
    assert not machine.is_accepted(found)


def test_a_failure_of_a_message_that_was_given_up_does_not_end_the_next_one() -> None:
    found = machine.concluded(handed(), Refused("channel", "63016", ""), RULES, reports=True, others=True)
    found = handed({**found, "state": "sending"}, "c2", "email")
    late = machine.received(found, receipt("failed", failure="address"), RULES)
    assert late is None or late["state"] == "sending"


def test_what_is_given_back_has_no_token_and_no_lease() -> None:
    found = machine.later(delivery(), NOW + timedelta(minutes=5), NOW)
    assert (found["state"], found["due"]) == ("waiting", NOW + timedelta(minutes=5))
    assert not {"token", "lease"} & set(found)
