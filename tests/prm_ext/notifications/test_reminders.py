"""What is sent for appointments: docs/notifications/reminders.md."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest

from fhir_server.exchange import Call
from prm_ext.notifications.appointments import templates_of
from prm_ext.notifications.codes import RULE
from prm_ext.notifications.durations import duration
from prm_ext.notifications.reminders import Reminders
from tests.prm_ext.notifications.events_of import event, tell
from tests.prm_ext.notifications.pipeline import Pipeline

NOW = datetime.now(UTC).replace(microsecond=0)


def at(**distance: float) -> str:
    """Return a time in so many days or hours from now."""
    return (NOW + timedelta(**distance)).isoformat()


class World(Pipeline):
    """A patient with appointments."""

    async def __aenter__(self) -> Self:
        """Write the patient."""
        await super().__aenter__()
        self.reminders = Reminders(self.means_of.settings)
        self.told: dict[str, int] = {}
        patient = {"resourceType": "Patient", "name": [{"family": "Garcia", "given": ["Elena"]}]}
        self.patient = f"Patient/{(await self.write(patient | {'telecom': [phone('+14155550100')]}))['id']}"
        return self

    def appointment(self, start: str, *patients: str, status: str = "booked", **more: Any) -> dict[str, Any]:
        """Return an Appointment of half an hour."""
        who = [{"actor": {"reference": one}, "status": "accepted"} for one in (patients or (self.patient,))]
        end = (datetime.fromisoformat(start) + timedelta(minutes=30)).isoformat()
        doctor = {"actor": {"display": "Dr. Anna Smith", "type": "Practitioner"}, "status": "accepted"}
        place = {"actor": {"display": "Mission Street Clinic", "type": "Location"}, "status": "accepted"}
        found = {"resourceType": "Appointment", "status": status, "start": start, "end": end}
        return found | {"participant": [*who, doctor, place]} | more

    async def book(self, start: str, *patients: str, **more: Any) -> dict[str, Any]:
        """Write an Appointment, and tell of it."""
        return await self.tell(await self.write(self.appointment(start, *patients, **more)))

    async def change(self, appointment: dict[str, Any], **values: Any) -> dict[str, Any]:
        """Write the next version of an Appointment, and tell of it."""
        changed = {**appointment, **values}
        if "start" in values:
            changed["end"] = (datetime.fromisoformat(values["start"]) + timedelta(minutes=30)).isoformat()
        return await self.tell(await self.write(changed))

    async def tell(self, appointment: dict[str, Any]) -> dict[str, Any]:
        """Tell of the versions of an Appointment that have not been told of yet."""
        id_ = appointment["id"]
        self.told[id_] = await tell(self.ctx, self.reminders.handle, "Appointment", id_, self.told.get(id_, 1))
        return appointment

    async def requests(self, **params: str) -> dict[str, dict[str, Any]]:
        """Return requests by the first word of their rule and, of reminders, its name."""
        found = await self.search("CommunicationRequest", _sort="_lastUpdated", **params)
        return {rule(one): one for one in found}


def rule(request: dict[str, Any]) -> str:
    value = next(one["value"] for one in request["identifier"] if one["system"] == RULE)
    return value if value.startswith("before/") else value.partition("/")[0]


def phone(number: str) -> dict[str, str]:
    return {"system": "phone", "value": number, "use": "mobile"}


def begin(request: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(request["occurrencePeriod"]["start"])


@pytest.fixture
async def world(settings, database):
    async with World(settings, database) as opened:
        yield opened


async def test_a_booking_is_confirmed_now_and_reminded_of_a_day_and_an_hour_before(world: World) -> None:
    appointment = await world.book(at(days=3))
    found = await world.requests()
    assert set(found) == {"booked", "before/24h", "before/1h"}
    assert begin(found["before/24h"]) == NOW + timedelta(days=2)
    assert begin(found["before/1h"]) == NOW + timedelta(days=3, hours=-1)
    assert "occurrencePeriod" not in found["booked"]
    for one in found.values():
        assert one["status"] == "active"
        assert one["subject"] == one["recipient"][0] == {"reference": world.patient}
        assert one["about"] == [{"reference": f"Appointment/{appointment['id']}"}]
    kinds = [one["category"][0]["coding"][1]["code"] for one in found.values()]
    assert sorted(kinds) == ["appointment-confirmation", "appointment-reminder", "appointment-reminder"]


async def test_what_is_sent_says_when_and_with_whom(world: World) -> None:
    await world.book(at(days=3))
    await world.run()
    (delivery,) = [one for one in await world.deliveries() if one["state"] == "done"]
    assert "Dr. Anna Smith" in delivery["messages"][0]["body"]
    assert len(await world.search("Communication", status="completed", subject=world.patient)) == 1


async def test_a_reminder_gives_up_when_what_it_says_is_not_true_any_more(world: World) -> None:
    await world.book(at(days=3))
    found = await world.requests()
    ends = {name: datetime.fromisoformat(one["occurrencePeriod"]["end"]) for name, one in found.items() if name != "booked"}
    assert ends == {"before/24h": NOW + timedelta(days=2.5), "before/1h": NOW + timedelta(days=3, minutes=-30)}


async def test_events_that_come_again_change_nothing(world: World) -> None:
    appointment = await world.book(at(days=3))
    world.told.clear()
    await world.tell(appointment)
    found = await world.search("CommunicationRequest")
    assert [one["meta"]["versionId"] for one in found] == ["1"] * 3


async def test_reminders_whose_time_is_over_are_not_sent_and_the_others_are(world: World) -> None:
    await world.book(at(hours=3))
    assert set(await world.requests()) == {"booked", "before/1h"}


@pytest.mark.parametrize("status", ["proposed", "pending", "waitlist", "cancelled", "noshow", "fulfilled", "entered-in-error"])
async def test_nothing_is_sent_for_what_is_not_booked(world: World, status: str) -> None:
    await world.book(at(days=3), status=status)
    assert await world.requests() == {}


async def test_nothing_is_sent_for_what_lies_in_the_past(world: World) -> None:
    appointment = await world.book(at(days=-3))
    await world.change(appointment, status="cancelled")
    assert await world.requests() == {}


async def test_what_was_booked_elsewhere_long_ago_is_reminded_of_and_not_confirmed(world: World) -> None:
    appointment = await world.book(at(days=3), created=at(days=-20))
    assert set(await world.requests()) == {"before/24h", "before/1h"}
    await world.change(appointment, comment="Bring the report")
    assert set(await world.requests()) == {"before/24h", "before/1h"}
    await world.change(appointment, start=at(days=4))
    assert set(await world.requests()) == {"before/24h", "before/1h", "moved"}


async def test_news_that_are_old_are_not_told(world: World) -> None:
    appointment = await world.write(world.appointment(at(days=3)))
    told = await event(world.ctx, "Appointment", appointment["id"], 1)
    old = replace(told, change=replace(told.change, moment=NOW - timedelta(hours=25)))
    await world.reminders.handle(world.ctx, old)
    assert set(await world.requests()) == {"before/24h", "before/1h"}


async def test_a_request_that_becomes_a_booking_is_confirmed(world: World) -> None:
    appointment = await world.book(at(days=3), status="pending", created=at(days=-9))
    await world.change(appointment, status="booked")
    assert set(await world.requests()) == {"booked", "before/24h", "before/1h"}


async def test_reminders_move_with_the_appointment_and_the_patient_hears_of_it(world: World) -> None:
    appointment = await world.book(at(days=3))
    before = await world.requests()
    await world.change(appointment, start=at(days=5))
    found = await world.requests()
    assert set(found) == {"booked", "moved", "before/24h", "before/1h"}
    assert (found["before/24h"]["id"], begin(found["before/24h"])) == (before["before/24h"]["id"], NOW + timedelta(days=4))
    assert found["before/1h"]["id"] == before["before/1h"]["id"]
    assert (found["booked"]["status"], found["moved"]["status"]) == ("revoked", "active")


async def test_a_reminder_that_was_sent_already_comes_again_for_the_new_time(world: World) -> None:
    appointment = await world.book(at(days=3))
    sent = (await world.requests())["before/24h"]
    await world.write({**sent, "status": "completed"})
    await world.change(appointment, start=at(days=5))
    found = await world.search("CommunicationRequest", identifier=f"{RULE}|before/24h")
    assert {(one["status"], begin(one)) for one in found} == {
        ("completed", NOW + timedelta(days=2)),
        ("active", NOW + timedelta(days=4)),
    }
    await world.change(appointment, start=at(days=6))
    found = await world.search("CommunicationRequest", identifier=f"{RULE}|before/24h")
    assert sorted(begin(one) for one in found) == [NOW + timedelta(days=2), NOW + timedelta(days=5)]


async def test_an_appointment_that_moves_to_and_fro_is_told_of_each_time(world: World) -> None:
    appointment = await world.book(at(days=3))
    await world.change(appointment, start=at(days=5))
    await world.change(appointment, start=at(days=3))
    found = [rule(one) for one in await world.search("CommunicationRequest")]
    assert sorted(found) == ["before/1h", "before/24h", "booked", "moved", "moved"]
    assert begin((await world.requests(status="active"))["before/24h"]) == NOW + timedelta(days=2)


async def test_moved_to_so_soon_that_a_reminder_is_too_late_withdraws_it(world: World) -> None:
    appointment = await world.book(at(days=3))
    await world.change(appointment, start=at(hours=5))
    found = await world.requests()
    assert (found["before/24h"]["status"], found["before/1h"]["status"]) == ("revoked", "active")


async def test_a_change_of_something_else_is_no_news(world: World) -> None:
    appointment = await world.book(at(days=3))
    before = await world.requests()
    await world.change(appointment, comment="Bring the report", description="Visit")
    assert await world.requests() == before


async def test_a_cancellation_is_told_and_reminders_are_withdrawn(world: World) -> None:
    appointment = await world.book(at(days=3))
    await world.change(appointment, status="cancelled")
    found = await world.requests()
    assert {name: one["status"] for name, one in found.items()} == {
        "booked": "revoked",
        "before/24h": "revoked",
        "before/1h": "revoked",
        "cancelled": "active",
    }
    assert found["cancelled"]["category"][0]["coding"][1]["code"] == "appointment-cancellation"
    assert {one["statusReason"]["coding"][0]["code"] for name, one in found.items() if name != "cancelled"} == {
        "appointment-changed"
    }


@pytest.mark.parametrize("status", ["noshow", "entered-in-error", "fulfilled"])
async def test_other_ends_withdraw_reminders_and_say_nothing(world: World, status: str) -> None:
    appointment = await world.book(at(days=3))
    await world.change(appointment, status=status)
    assert {name: one["status"] for name, one in (await world.requests()).items()} == dict.fromkeys(
        ("booked", "before/24h", "before/1h"), "revoked"
    )


async def test_what_is_deleted_is_not_reminded_of(world: World) -> None:
    appointment = await world.book(at(days=3))
    await world.ctx.dispatch(world.ctx, Call("delete", "Appointment", appointment["id"]))
    await world.tell(appointment)
    assert {one["status"] for one in (await world.requests()).values()} == {"revoked"}


async def test_who_cancelled_by_a_reply_has_had_an_answer(world: World) -> None:
    appointment = await world.book(at(days=3))
    coding = {"system": "urn:prm:appointment-cancelled-by", "code": "reply"}
    await world.change(appointment, status="cancelled", cancelationReason={"coding": [coding]})
    found = await world.requests()
    assert "cancelled" not in found
    assert {one["status"] for one in found.values()} == {"revoked"}


async def test_what_is_booked_again_after_a_cancellation_begins_anew(world: World) -> None:
    appointment = await world.book(at(days=3))
    await world.change(appointment, status="cancelled")
    await world.change(appointment, status="booked")
    found = await world.search("CommunicationRequest", status="active")
    assert sorted(map(rule, found)) == ["before/1h", "before/24h", "booked"]
    assert not any("statusReason" in one for one in found)


async def test_a_cancellation_of_what_was_booked_before_anything_was_sent_is_told(world: World) -> None:
    appointment = await world.write(world.appointment(at(days=3)))
    world.told[appointment["id"]] = 2
    await world.change(appointment, status="cancelled")
    assert set(await world.requests()) == {"cancelled"}


async def test_what_people_withdraw_stays_withdrawn(world: World) -> None:
    appointment = await world.book(at(days=3))
    reminder = (await world.requests())["before/24h"]
    await world.write({**reminder, "status": "revoked"})
    await world.change(appointment, start=at(days=5))
    assert (await world.requests())["before/24h"]["status"] == "revoked"


async def test_each_patient_of_an_appointment_is_told_and_whoever_has_declined_is_not(world: World) -> None:
    other = f"Patient/{(await world.write({'resourceType': 'Patient'}))['id']}"
    appointment = await world.book(at(days=3), world.patient, other)
    assert len(await world.search("CommunicationRequest", recipient=other)) == 3
    participants = [
        {**one, "status": "declined"} if one["actor"].get("reference") == other else one for one in appointment["participant"]
    ]
    await world.change(appointment, participant=participants)
    found = await world.search("CommunicationRequest", recipient=other, status="active")
    assert found == []
    assert len(await world.search("CommunicationRequest", recipient=world.patient, status="active")) == 3


async def test_a_merge_of_patients_sends_nothing_twice(world: World) -> None:
    other = (await world.write({"resourceType": "Patient", "name": [{"family": "Garcia"}]}))["id"]
    appointment = await world.book(at(days=3))
    parameters = [
        {"name": "source-patient", "valueReference": {"reference": world.patient}},
        {"name": "target-patient", "valueReference": {"reference": f"Patient/{other}"}},
    ]
    body = {"resourceType": "Parameters", "parameter": parameters}
    await world.ctx.dispatch(world.ctx, Call("operation", "Patient", operation="merge", resource=body))
    await world.tell(appointment)
    found = await world.search("CommunicationRequest")
    assert sorted(map(rule, found)) == ["before/1h", "before/24h", "booked"]
    assert {one["status"] for one in found} == {"active"}


async def test_labels_of_the_appointment_go_on_to_its_messages(world: World) -> None:
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}
    await world.book(at(days=3), meta={"security": [label]})
    assert [one["meta"]["security"] for one in (await world.requests()).values()] == [[label]] * 3


async def test_a_template_that_is_not_there_holds_nothing_up(settings, database) -> None:
    rules = '{"booked": "nothing_like_it", "before": {"2h": "appointment_reminder_1h"}}'
    async with World(settings, database, reminders=rules) as world:
        await world.book(at(days=3))
        assert set(await world.requests()) == {"before/2h"}


@pytest.mark.parametrize("values", [{"reminders": "{}"}, {"enabled": False}])
async def test_without_rules_nothing_is_sent(settings, database, values: dict[str, Any]) -> None:
    async with World(settings, database, **values) as world:
        await world.book(at(days=3))
        assert await world.requests() == {}


@pytest.mark.parametrize(("text", "hours"), [("24h", 24), ("90m", 1.5), ("2d", 48), ("1h30min", 1.5), ("1d12h", 36)])
def test_lengths_of_time_are_read(text: str, hours: float) -> None:
    assert duration(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "24", "h", "1h 30m", "-1h", "1w"])
def test_other_texts_are_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match="length of time"):
        duration(text)


def test_a_setting_with_a_name_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="bookd"):
        templates_of('{"bookd": "x"}')
