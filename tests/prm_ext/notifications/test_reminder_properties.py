"""Whatever happens to an appointment, in whatever steps it is told: what is to be sent is what it says in the end."""

import uuid
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.prm_ext.notifications.test_reminders import NOW, World, at, begin, rule

LEADS = {"before/24h": timedelta(hours=24), "before/1h": timedelta(hours=1)}
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.sampled_from([5, 30, 80, 90])),
        st.tuples(st.just("status"), st.sampled_from(["booked", "pending", "cancelled", "noshow"])),
        st.tuples(st.just("tell"), st.none()),
        st.tuples(st.just("send"), st.none()),
        st.tuples(st.just("comment"), st.text(st.sampled_from("ab"), min_size=1, max_size=3)),
    ),
    min_size=1,
    max_size=9,
)


async def send(world: World) -> None:
    """Let what is active have been sent, as far as it is due at any time."""
    for one in await world.search("CommunicationRequest", status="active", _count="100"):
        if rule(one) in ("booked", "moved", "cancelled", "before/24h"):
            await world.write({**one, "status": "completed"})


async def happened(world: World, steps: list[tuple[str, Any]]) -> dict[str, Any]:
    """Let an appointment change; some changes are told one by one, others together."""
    appointment = await world.book(at(hours=60), id="a1")
    for name, value in steps:
        if name == "tell":
            await world.tell(appointment)
        elif name == "send":
            await send(world)
        else:
            values = {"start": at(hours=value), "end": at(hours=value + 1)} if name == "start" else {name: value}
            appointment = await world.write({**appointment, **values})
    await world.tell(appointment)
    return appointment


def latest_notice(requests: list[dict[str, Any]]) -> str:
    """Return the kind and start of the last notice that was not withdrawn."""
    notices = [one["identifier"][0]["value"] for one in requests if one["status"] != "revoked"]
    told = [value.split("/") for value in notices if value.count("/") == 2]
    kind, _, start = max(told, key=lambda one: int(one[1]), default=("", "", ""))
    return f"{kind} {start}" if kind in ("", "cancelled") else f"booked {start}"


@given(_steps)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
async def test_reminders_are_those_of_what_is_booked_in_the_end(settings, database, steps: list[tuple[str, Any]]) -> None:
    own = settings.model_copy(update={"default_tenant": f"t{uuid.uuid4().hex[:16]}"})
    async with World(own, database) as world:
        appointment = await happened(world, steps)
        requests = await world.search("CommunicationRequest", _count="200")
        start = begin({"occurrencePeriod": {"start": appointment["start"]}})
        active = [one for one in requests if one["status"] == "active"]
        for name, lead in LEADS.items():
            waiting = [one for one in active if rule(one) == name]
            sent = [one for one in requests if rule(one) == name and one["status"] == "completed" and begin(one) == start - lead]
            wanted = appointment["status"] == "booked" and start - lead > NOW
            assert len(waiting) + len(sent) == (1 if wanted else len(sent)), (name, wanted)
            assert all(begin(one) == start - lead for one in waiting)
        assert len([one for one in active if rule(one) in ("booked", "moved", "cancelled")]) <= 1
        if appointment["status"] == "booked":
            assert latest_notice(requests).startswith("booked ")
            assert begin({"occurrencePeriod": {"start": latest_notice(requests).removeprefix("booked ")}}) == start
        before = [one["meta"]["versionId"] for one in requests]
        world.told.clear()
        await world.tell(appointment)
        again = await world.search("CommunicationRequest", _count="200")
        assert [one["meta"]["versionId"] for one in again] == before, "told again it changes nothing"
