"""Limits of rate in a real Valkey."""

import pytest

from prm_ext.notifications.limits import Limits, rate_of
from prm_ext.notifications.settings import NotificationSettings


@pytest.fixture
async def limits(redis_url: str, tenant: str):
    found = Limits(redis_url, f"limits-{tenant}")
    yield found
    await found.close()


async def test_as_many_as_a_second_holds_go_at_once_and_the_next_has_to_wait(limits: Limits, tenant: str) -> None:
    waits = [await limits.take(tenant, "sms", "+1", 0.001, 1, 0) for _ in range(2)]
    assert waits[0].taken
    assert waits[0].seconds == 0
    assert not waits[1].taken
    assert 900 < waits[1].seconds <= 1000


async def test_a_burst_of_a_second_is_let_through(limits: Limits, tenant: str) -> None:
    taken = [(await limits.take(tenant, "email", "a@b", 20, 1, 0)).taken for _ in range(40)]
    assert taken[:20] == [True] * 20
    assert not all(taken)


async def test_a_place_within_the_patience_is_taken_and_told(limits: Limits, tenant: str) -> None:
    await limits.take(tenant, "sms", "+1", 0.001, 1, 0)
    wait = await limits.take(tenant, "sms", "+1", 0.001, 1, 2000)
    assert wait.taken
    assert wait.seconds > 900
    again = await limits.take(tenant, "sms", "+1", 0.001, 1, 1500)
    assert not again.taken
    assert again.seconds > 1900


async def test_long_messages_take_as_many_places_as_they_have_segments(limits: Limits, tenant: str) -> None:
    assert (await limits.take(tenant, "sms", "+1", 0.01, 7, 0)).taken
    assert (await limits.take(tenant, "sms", "+1", 0.01, 1, 0)).seconds > 600


async def test_each_tenant_channel_and_sender_has_a_limit_of_its_own(limits: Limits, tenant: str) -> None:
    await limits.take(tenant, "sms", "+1", 0.001, 1, 0)
    for other in ((tenant, "sms", "+2"), (tenant, "whatsapp", "+1"), (f"{tenant}x", "sms", "+1")):
        assert (await limits.take(*other, 0.001, 1, 0)).taken


async def test_a_lane_that_met_its_limit_is_marked_with_its_rate(limits: Limits, tenant: str) -> None:
    assert await limits.marks([(tenant, "sms")]) == [None]
    await limits.take(tenant, "sms", "+1", 0.5, 1, 0)
    assert await limits.marks([(tenant, "sms")]) == [None]
    await limits.take(tenant, "sms", "+1", 0.5, 1, 0)
    assert await limits.marks([(tenant, "sms"), (tenant, "email")]) == [0.5, None]


async def test_emptying_the_store_forgets_limits_and_breaks_nothing(limits: Limits, tenant: str) -> None:
    await limits.take(tenant, "sms", "+1", 0.001, 1, 0)
    await limits._redis.delete(f"limits-{tenant}:rate:{tenant}:sms:+1")
    assert (await limits.take(tenant, "sms", "+1", 0.001, 1, 0)).taken


@pytest.mark.parametrize(
    ("channel", "sender", "rate"),
    [
        ("sms", "+14155550100", 1),
        ("sms", "+18005550100", 3),
        ("sms", "12345", 100),
        ("sms", "MG0123456789abcdef0123456789abcdef", 100),
        ("sms", "Clinic", 10),
        ("whatsapp", "+14155550100", 80),
        ("voice", "+14155550100", 1),
        ("email", "a@example.org", 100),
    ],
)
def test_senders_have_the_rate_that_their_kind_is_known_for(channel: str, sender: str, rate: float) -> None:
    assert rate_of(NotificationSettings(_env_file=None), channel, sender) == rate


def test_settings_go_before_with_the_sender_before_the_channel() -> None:
    settings = NotificationSettings(_env_file=None, rates='{"+14155550100": 7, "sms": 2}')
    assert rate_of(settings, "sms", "+14155550100") == 7
    assert rate_of(settings, "sms", "+14155550101") == 2
    assert rate_of(settings, "voice", "+14155550101") == 1
