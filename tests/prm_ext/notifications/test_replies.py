"""What a patient's reply does: docs/notifications/inbound.md."""

from datetime import timedelta
from typing import Any

import pytest

from fhir_server.fhir.outcome import unavailable
from prm_ext.notifications.codes import ADDRESS
from prm_ext.notifications.webhooks import twilio
from tests.prm_ext.notifications.clinic import NUMBER, SMS, WHATSAPP, at, opened

OTHER = "+14155550177"


@pytest.fixture
async def clinic(settings, database, monkeypatch):
    async with opened(settings, database, monkeypatch, {"organisation": "Bay Clinic"}) as found:
        yield found


def status(appointment: dict[str, Any], patient: str) -> str:
    return next(one["status"] for one in appointment["participant"] if one["actor"].get("reference") == patient)


async def test_confirm_accepts_the_appointment_and_is_answered(clinic) -> None:
    patient = await clinic.patient()
    appointment = await clinic.appointment(patient)
    await clinic.remind(appointment, patient)
    answer = await clinic.hears("CONFIRM")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    assert answer.text == '<?xml version="1.0" encoding="UTF-8"?><Response/>'
    found = await clinic.read("Appointment", appointment["id"])
    assert (found["status"], status(found, patient)) == ("booked", "accepted")
    (response,) = await clinic.search("AppointmentResponse", appointment=f"Appointment/{appointment['id']}")
    assert (response["participantStatus"], response["actor"]) == ("accepted", {"reference": patient})
    assert len(clinic.said()) == 2
    assert clinic.said()[-1].startswith("Thank you. Your appointment on ")
    (heard,) = await clinic.heard()
    answered = await clinic.read(*heard["inResponseTo"][0]["reference"].split("/"))
    assert answered["payload"][0]["contentString"].startswith("Remember")
    assert (heard["status"], heard["sender"]["reference"], heard["subject"]["reference"]) == ("completed", patient, patient)


async def test_cancel_cancels_the_appointment_with_the_patient_as_reason(clinic) -> None:
    patient = await clinic.patient()
    appointment = await clinic.appointment(patient)
    await clinic.remind(appointment, patient)
    await clinic.hears("Cancel please")
    found = await clinic.read("Appointment", appointment["id"])
    assert (found["status"], status(found, patient)) == ("cancelled", "declined")
    assert found["cancelationReason"]["coding"][0]["code"] == "pat"
    assert "is cancelled" in clinic.said()[-1]
    assert await clinic.search("Consent") == []


@pytest.mark.parametrize(
    ("word", "language", "end"),
    [("CONFIRMAR", "es", "accepted"), ("annuler", "fr", "declined"), ("Absagen", "de", "declined"), ("确认", "zh", "accepted")],
)
async def test_replies_are_understood_and_answered_in_the_patients_language(clinic, word: str, language: str, end: str) -> None:
    spoken = [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": language}]}}]
    patient = await clinic.patient(communication=spoken)
    appointment = await clinic.appointment(patient)
    await clinic.remind(appointment, patient)
    await clinic.hears(word)
    assert status(await clinic.read("Appointment", appointment["id"]), patient) == end
    (answer,) = await clinic.search("CommunicationRequest", priority="asap")
    assert answer["language"] == language
    assert "Thank you" not in clinic.said()[-1]


async def test_a_webhook_that_comes_twice_does_nothing_twice(clinic) -> None:
    patient = await clinic.patient()
    appointment = await clinic.appointment(patient)
    await clinic.remind(appointment, patient)
    for _ in range(2):
        answer = await clinic.hears("CONFIRM", MessageSid="SM" + "1" * 32)
        assert answer.status_code == 200
    assert len(await clinic.heard()) == 1
    assert len(await clinic.search("AppointmentResponse")) == 1
    assert len(clinic.said()) == 2


async def test_a_reply_that_comes_twice_as_two_messages_is_answered_twice_and_changes_once(clinic) -> None:
    patient = await clinic.patient()
    appointment = await clinic.appointment(patient)
    await clinic.remind(appointment, patient)
    await clinic.hears("CANCEL")
    before = await clinic.read("Appointment", appointment["id"])
    await clinic.hears("CANCEL")
    assert (await clinic.read("Appointment", appointment["id"]))["meta"]["versionId"] == before["meta"]["versionId"]
    assert [one.startswith("Your appointment on ") for one in clinic.said()[1:]] == [True, True]
    assert await clinic.search("Consent") == []


async def test_which_of_several_appointments_is_asked_and_a_number_answers(clinic) -> None:
    patient = await clinic.patient()
    first = await clinic.appointment(patient, start=at(days=2))
    second = await clinic.appointment(patient, start=at(days=4))
    for one in (second, first):
        await clinic.remind(one, patient)
    await clinic.hears("CANCEL")
    question = clinic.said()[-1]
    assert question.startswith("Which appointment do you mean?\n1: ")
    assert "2: " in question
    assert "Dr. Anna Smith" in question
    assert {(await clinic.read("Appointment", one["id"]))["status"] for one in (first, second)} == {"booked"}
    await clinic.hears("2")
    assert (await clinic.read("Appointment", first["id"]))["status"] == "booked"
    assert (await clinic.read("Appointment", second["id"]))["status"] == "cancelled"
    await clinic.hears("Confirm 1")
    assert status(await clinic.read("Appointment", first["id"]), patient) == "accepted"


async def test_the_numbers_of_a_question_stay_when_something_is_booked_meanwhile(clinic) -> None:
    patient = await clinic.patient()
    first = await clinic.appointment(patient, start=at(days=2))
    second = await clinic.appointment(patient, start=at(days=4))
    for one in (first, second):
        await clinic.remind(one, patient)
    await clinic.hears("CONFIRM")
    await clinic.remind(await clinic.appointment(patient, start=at(days=1)), patient)
    await clinic.hears("1")
    assert status(await clinic.read("Appointment", first["id"]), patient) == "accepted"


async def test_a_number_that_was_not_offered_is_asked_about_again(clinic) -> None:
    patient = await clinic.patient()
    for days in (2, 4):
        await clinic.remind(await clinic.appointment(patient, start=at(days=days)), patient)
    await clinic.hears("CONFIRM")
    await clinic.hears("7")
    assert clinic.said()[-1] == clinic.said()[-2]
    assert await clinic.search("AppointmentResponse") == []


async def test_a_number_that_answers_no_question_is_for_people_to_read(clinic) -> None:
    patient = await clinic.patient()
    await clinic.remind(await clinic.appointment(patient), patient)
    await clinic.hears("2")
    assert len(clinic.said()) == 1
    assert [one["payload"] for one in await clinic.heard()] == [[{"contentString": "2"}]]


async def test_several_patients_with_one_phone_are_asked_about_by_name(clinic) -> None:
    elena, marco = await clinic.patient("Elena"), await clinic.patient("Marco")
    one, two = await clinic.appointment(elena, start=at(days=2)), await clinic.appointment(marco, start=at(days=3))
    await clinic.remind(one, elena)
    await clinic.remind(two, marco)
    await clinic.hears("CONFIRM")
    lines = clinic.said()[-1].splitlines()
    assert ("Elena" in lines[1], "Marco" in lines[2]) == (True, True)
    await clinic.hears("1")
    assert status(await clinic.read("Appointment", one["id"]), elena) == "accepted"
    assert status(await clinic.read("Appointment", two["id"]), marco) == "needs-action"


async def test_the_message_that_is_quoted_says_which_appointment_is_meant(clinic) -> None:
    patient = await clinic.patient()
    appointments = [await clinic.appointment(patient, start=at(days=days)) for days in (2, 4)]
    ids = [await clinic.remind(one, patient, channel="whatsapp") for one in appointments]
    await clinic.hears("CANCEL", f"whatsapp:{NUMBER}", f"whatsapp:{WHATSAPP}", OriginalRepliedMessageSid=ids[0])
    found = [(await clinic.read("Appointment", one["id"]))["status"] for one in appointments]
    assert found == ["cancelled", "booked"]


async def test_what_has_been_cancelled_is_not_confirmed_any_more(clinic) -> None:
    patient = await clinic.patient()
    appointment = await clinic.appointment(patient)
    await clinic.remind(appointment, patient)
    await clinic.write({**appointment, "status": "cancelled"})
    await clinic.hears("CONFIRM")
    assert "is cancelled" in clinic.said()[-1]
    assert await clinic.search("AppointmentResponse") == []


async def test_what_is_over_can_not_be_changed(clinic) -> None:
    patient = await clinic.patient()
    appointment = await clinic.appointment(patient, start=at(hours=-1))
    await clinic.remind(appointment, patient)
    await clinic.hears("CANCEL")
    assert "can no longer be changed" in clinic.said()[-1]
    assert (await clinic.read("Appointment", appointment["id"]))["status"] == "booked"


async def test_who_was_asked_about_nothing_hears_that_there_is_nothing(clinic) -> None:
    await clinic.patient()
    await clinic.hears("CONFIRM")
    assert clinic.said() == ["There is no coming appointment for this number. Please contact Bay Clinic."]


async def test_one_patient_of_several_who_declines_does_not_cancel_for_the_others(clinic) -> None:
    elena, marco = await clinic.patient("Elena"), await clinic.patient("Marco", OTHER)
    appointment = await clinic.appointment(elena, marco)
    await clinic.remind(appointment, elena, marco)
    await clinic.hears("CANCEL")
    found = await clinic.read("Appointment", appointment["id"])
    assert (found["status"], status(found, elena), status(found, marco)) == ("booked", "declined", "needs-action")
    await clinic.hears("CANCEL", OTHER)
    assert (await clinic.read("Appointment", appointment["id"]))["status"] == "cancelled"


async def test_a_relative_who_was_written_to_answers_for_the_patient(clinic) -> None:
    patient = await clinic.patient("Marco", OTHER)
    relative = await clinic.write(
        {
            "resourceType": "RelatedPerson",
            "patient": {"reference": patient},
            "telecom": [{"system": "phone", "value": NUMBER, "use": "mobile"}],
        }
    )
    appointment = await clinic.appointment(patient)
    request = {
        "resourceType": "CommunicationRequest",
        "status": "active",
        "subject": {"reference": patient},
        "recipient": [{"reference": f"RelatedPerson/{relative['id']}"}],
        "about": [{"reference": f"Appointment/{appointment['id']}"}],
        "payload": [{"contentString": "Remember"}],
        "medium": [{"coding": [{"system": "urn:prm:notification-channel", "code": "sms"}]}],
    }
    await clinic.write(request)
    await clinic.run()
    await clinic.hears("CONFIRM")
    assert status(await clinic.read("Appointment", appointment["id"]), patient) == "accepted"
    (heard,) = await clinic.heard()
    assert (heard["sender"]["reference"], heard["subject"]["reference"]) == (f"RelatedPerson/{relative['id']}", patient)


async def test_reminders_stop_after_a_cancellation_by_reply_and_no_second_notice_is_sent(clinic) -> None:
    patient = await clinic.patient()
    appointment = await clinic.appointment(patient)
    await clinic.follow(appointment)
    await clinic.remind(appointment, patient)
    await clinic.hears("CANCEL")
    await clinic.follow(appointment)
    found = await clinic.search("CommunicationRequest", **{"group-identifier": f"urn:prm:appointment|{appointment['id']}"})
    assert not [one for one in found if one["status"] == "active"]
    await clinic.run()
    assert len([one for one in clinic.said() if "cancelled" in one]) == 1


async def test_stop_ends_messages_over_this_channel_from_this_number(clinic) -> None:
    patient = await clinic.patient()
    await clinic.message(patient)
    assert (await clinic.hears("STOP")).text.endswith("<Response/>")
    (consent,) = await clinic.search("Consent")
    assert consent["patient"] == {"reference": patient}
    refused = await clinic.message(patient, "More")
    (communication,) = await clinic.search("Communication", **{"based-on": f"CommunicationRequest/{refused['id']}"})
    assert communication["status"] == "not-done"
    assert communication["statusReason"]["coding"][0]["code"] == "patient-objection"
    assert clinic.said() == ["Hello"]
    await clinic.message(patient, "Elsewhere", "whatsapp")
    assert clinic.said() == ["Hello", "Elsewhere"]


async def test_start_begins_them_again(clinic) -> None:
    patient = await clinic.patient()
    await clinic.hears("STOP")
    await clinic.hears("START")
    await clinic.message(patient)
    assert clinic.said() == ["Hello"]


async def test_what_twilio_does_not_know_is_answered_here(clinic) -> None:
    await clinic.patient()
    stopped = await clinic.hears("unsubscribe me please")
    assert "<Message>You will get no more messages from Bay Clinic here." in stopped.text
    assert (await clinic.hears("STOP", OptOutType="STOP")).text.endswith("<Response/>")
    stopped = await clinic.hears("STOP", f"whatsapp:{NUMBER}", f"whatsapp:{WHATSAPP}")
    assert "<Message>You will get no more messages" in stopped.text
    await clinic.hears("ayuda", f"whatsapp:{OTHER}", f"whatsapp:{WHATSAPP}")
    assert clinic.said(OTHER)[0].startswith("Messages from Bay Clinic.")
    await clinic.hears("HELP", OTHER)
    assert len(clinic.said(OTHER)) == 1


async def told(clinic) -> list[dict]:
    """Return the Communications of what was said in answers to webhooks."""
    return [one for one in await clinic.search("Communication") if "received" not in one and "basedOn" not in one]


async def test_what_is_said_to_stop_is_a_communication_where_it_is_said_here(clinic) -> None:
    patient = await clinic.patient()
    spoken = await clinic.hears("STOP", f"whatsapp:{NUMBER}", f"whatsapp:{WHATSAPP}", MessageSid="SM" + "7" * 32)
    (heard,), (answer,) = await clinic.heard(), await told(clinic)
    (text,) = [one["contentString"] for one in answer["payload"]]
    assert f"<Message>{text}</Message>" in spoken.text
    assert (answer["status"], answer["subject"], answer["language"]) == ("completed", {"reference": patient}, "en")
    assert answer["inResponseTo"] == [{"reference": f"Communication/{heard['id']}"}]
    address = {"url": ADDRESS, "valueString": NUMBER}
    assert answer["recipient"] == [{"reference": patient, "extension": [address]}]
    assert answer["sender"] == {"display": "Bay Clinic", "extension": [{**address, "valueString": WHATSAPP}]}
    assert answer["medium"][0]["coding"][1]["code"] == "whatsapp"
    assert answer["sent"] >= heard["received"]
    again = await clinic.hears("STOP", f"whatsapp:{NUMBER}", f"whatsapp:{WHATSAPP}", MessageSid="SM" + "7" * 32)
    assert again.text.endswith("<Response/>")
    assert len(await told(clinic)) == 1


@pytest.mark.parametrize("fields", [{}, {"OptOutType": "STOP"}])
async def test_what_twilio_says_to_stop_by_itself_is_no_communication(clinic, fields) -> None:
    await clinic.patient()
    assert (await clinic.hears("STOP", **fields)).text.endswith("<Response/>")
    assert (await told(clinic), len(await clinic.search("Consent"))) == ([], 1)


async def test_what_can_not_be_stored_is_said_all_the_same(clinic, monkeypatch) -> None:
    await clinic.patient()

    async def fails(*_: object) -> None:
        raise unavailable("Not now.")

    monkeypatch.setattr(twilio, "transact", fails)
    spoken = await clinic.hears("STOP", f"whatsapp:{NUMBER}", f"whatsapp:{WHATSAPP}")
    assert "<Message>You will get no more messages" in spoken.text
    assert await told(clinic) == []


async def test_cancel_that_twilio_took_for_stop_is_both(clinic) -> None:
    patient = await clinic.patient()
    appointment = await clinic.appointment(patient)
    await clinic.remind(appointment, patient)
    await clinic.hears("CANCEL", OptOutType="STOP")
    assert (await clinic.read("Appointment", appointment["id"]))["status"] == "cancelled"
    assert len(await clinic.search("Consent")) == 1


async def test_cancel_of_who_was_asked_about_nothing_ends_messages(clinic) -> None:
    patient = await clinic.patient()
    await clinic.message(patient)
    await clinic.hears("CANCEL")
    assert len(await clinic.search("Consent")) == 1


@pytest.mark.parametrize(("days", "consents", "end"), [(3, 0, "cancelled"), (-3, 1, "booked")])
async def test_what_is_still_to_come_can_be_cancelled_long_after_it_was_told(clinic, days, consents, end) -> None:
    patient = await clinic.patient()
    appointment = await clinic.appointment(patient, start=at(days=days))
    await clinic.remind(appointment, patient)
    (delivery,) = await clinic.deliveries()
    ago = clinic.ctx.now() - timedelta(days=20)
    change = {"$set": {"messages.0.tries.0.at": ago}, "$inc": {"rev": 1}}
    await clinic.means.deliveries.collection.update_one({"_id": delivery["_id"]}, change)
    await clinic.hears("CANCEL")
    assert (await clinic.read("Appointment", appointment["id"]))["status"] == end
    assert len(await clinic.search("Consent")) == consents


async def test_words_for_people_are_left_to_people(clinic) -> None:
    patient = await clinic.patient()
    await clinic.remind(await clinic.appointment(patient), patient)
    await clinic.hears("Can I come half an hour later? I can not confirm yet")
    assert len(clinic.said()) == 1
    assert len(await clinic.heard()) == 1
    assert clinic.said(SMS) == []
