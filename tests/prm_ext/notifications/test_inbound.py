"""What patients write, and send along: docs/notifications/inbound.md."""

import asyncio
from datetime import timedelta

import pytest

from fhir_server.exchange import Call
from fhir_server.fhir.outcome import FhirError
from prm_ext.notifications.codes import ADDRESS
from prm_ext.notifications.content import Content
from prm_ext.notifications.inbound import Inbound
from prm_ext.notifications.inbound_media import STATE, TRIES
from prm_ext.notifications.inbox import COLLECTION, File, Inbox, Incoming
from prm_ext.notifications.webhooks.twilio import incoming
from tests.media_files import encoded, image
from tests.prm_ext.notifications.clinic import NUMBER, SMS, WHATSAPP, opened

OTHER = "+14155550177"
ADDRESS_OF = {"url": ADDRESS, "valueString": NUMBER}


@pytest.fixture
async def clinic(settings, database, monkeypatch):
    async with opened(settings, database, monkeypatch, {"organisation": "Bay Clinic"}) as found:
        yield found


async def inbox(clinic) -> list[dict]:
    return await clinic.ctx.repo.database.collection(COLLECTION).find({"t": clinic.tenant}).to_list()


async def test_a_message_becomes_a_communication_of_the_patient(clinic) -> None:
    patient = await clinic.patient()
    await clinic.hears("Is the clinic open on Friday?", MessageSid="SM" + "3" * 32)
    (heard,) = await clinic.heard()
    assert heard["status"] == "completed"
    assert heard["identifier"] == [{"system": "urn:prm:provider:twilio", "value": "SM" + "3" * 32}]
    assert heard["sender"] == {"reference": patient, "extension": [ADDRESS_OF]}
    assert heard["subject"] == {"reference": patient}
    assert heard["recipient"][0]["display"] == "Bay Clinic"
    assert heard["recipient"][0]["extension"] == [{"url": ADDRESS, "valueString": SMS}]
    assert heard["medium"][0]["coding"][1]["code"] == "sms"
    assert heard["payload"] == [{"contentString": "Is the clinic open on Friday?"}]
    assert "received" in heard
    assert "inResponseTo" not in heard


@pytest.mark.parametrize("written", ["(415) 555-0132", "whatsapp:+14155550132", "+1 415 555 0132"])
async def test_patients_are_found_however_their_number_is_written(clinic, written: str) -> None:
    patient = await clinic.patient(number=written)
    await clinic.hears("Hello", f"whatsapp:{NUMBER}", f"whatsapp:{WHATSAPP}")
    (heard,) = await clinic.heard()
    assert heard["subject"] == {"reference": patient}
    assert heard["medium"][0]["coding"][1]["code"] == "whatsapp"


async def test_an_unknown_number_can_be_answered_all_the_same(clinic) -> None:
    await clinic.hears("Who are you?")
    (heard,) = await clinic.heard()
    assert heard["sender"] == {"display": "+1…0132", "extension": [ADDRESS_OF]}
    assert not {"subject", "about"} & set(heard)
    request = {
        "resourceType": "CommunicationRequest",
        "status": "active",
        "recipient": [heard["sender"]],
        "medium": heard["medium"],
        "about": [{"reference": f"Communication/{heard['id']}"}],
        "payload": [{"contentString": "The clinic."}],
    }
    await clinic.write(request)
    await clinic.run()
    assert clinic.said() == ["The clinic."]
    (answer,) = [one for one in await clinic.search("Communication") if "basedOn" in one]
    assert answer["inResponseTo"] == [{"reference": f"Communication/{heard['id']}"}]


async def test_a_number_of_several_patients_is_said_to_be_none_of_them_and_all_are_listed(clinic) -> None:
    patients = {await clinic.patient("Elena"), await clinic.patient("Marco")}
    await clinic.hears("Hello")
    (heard,) = await clinic.heard()
    assert "reference" not in heard["sender"]
    assert "subject" not in heard
    assert {one["reference"] for one in heard["about"]} == patients


async def test_who_was_written_to_last_is_who_answers(clinic) -> None:
    elena, marco = await clinic.patient("Elena"), await clinic.patient("Marco")
    await clinic.message(elena, "For Elena")
    await clinic.message(marco, "For Marco")
    await clinic.hears("Thanks, I will come")
    (heard,) = await clinic.heard()
    assert heard["subject"] == {"reference": marco}
    answered = await clinic.read(*heard["inResponseTo"][0]["reference"].split("/"))
    assert answered["payload"] == [{"contentString": "For Marco"}]


async def test_what_went_over_another_channel_is_not_answered(clinic) -> None:
    patient = await clinic.patient()
    await clinic.message(patient, "By WhatsApp", "whatsapp")
    await clinic.hears("By SMS")
    (heard,) = await clinic.heard()
    assert (heard["subject"], "inResponseTo" in heard) == ({"reference": patient}, False)


async def test_what_came_from_another_number_of_ours_is_not_answered(clinic) -> None:
    patient = await clinic.patient()
    await clinic.message(patient)
    await clinic.hears("For another department", to="+14155550109")
    (heard,) = await clinic.heard()
    assert (heard["subject"], "inResponseTo" in heard) == ({"reference": patient}, False)


async def test_a_number_that_has_changed_hands_is_its_new_owners(clinic) -> None:
    elena = await clinic.patient("Elena")
    await clinic.message(elena, "For Elena")
    await clinic.write({**await clinic.read(*elena.split("/")), "telecom": [{"system": "phone", "value": OTHER}]})
    marco = await clinic.patient("Marco")
    await clinic.hears("This is Marco")
    (heard,) = await clinic.heard()
    assert (heard["subject"], "inResponseTo" in heard) == ({"reference": marco}, False)


async def test_patients_who_are_not_active_and_numbers_of_old_are_passed_over(clinic) -> None:
    await clinic.patient("Elena", active=False)
    await clinic.patient("Marco", telecom=[{"system": "phone", "value": NUMBER, "use": "old"}])
    patient = await clinic.patient("Luis")
    await clinic.hears("Hello")
    (heard,) = await clinic.heard()
    assert heard["subject"] == {"reference": patient}


async def relative(clinic, patient: str) -> str:
    telecom = [{"system": "phone", "value": NUMBER}]
    body = {"resourceType": "RelatedPerson", "patient": {"reference": patient}, "telecom": telecom}
    return f"RelatedPerson/{(await clinic.write(body))['id']}"


async def test_a_relative_writes_about_the_patient(clinic) -> None:
    patient = await clinic.patient("Marco", OTHER)
    person = await relative(clinic, patient)
    await clinic.hears("Marco has a fever")
    (heard,) = await clinic.heard()
    assert (heard["sender"]["reference"], heard["subject"]["reference"]) == (person, patient)


async def test_a_relative_of_several_patients_writes_about_none_of_them_alone(clinic) -> None:
    patients = {await clinic.patient("Marco", OTHER), await clinic.patient("Luis", OTHER)}
    for one in patients:
        await relative(clinic, one)
    await clinic.hears("They have a fever")
    (heard,) = await clinic.heard()
    assert "subject" not in heard
    assert {one["reference"] for one in heard["about"]} == patients


async def test_other_tenants_patients_and_messages_are_not_looked_at(settings, database, monkeypatch, clinic) -> None:
    other = settings.model_copy(update={"default_tenant": f"{settings.default_tenant}-2"})
    async with opened(other, database, monkeypatch, {}) as elsewhere:
        await elsewhere.message(await elsewhere.patient(), "Hello")
    await clinic.hears("Hello")
    (heard,) = await clinic.heard()
    assert not {"subject", "inResponseTo"} & set(heard)


async def test_places_are_written_down(clinic) -> None:
    await clinic.hears("", Latitude="52.52", Longitude="13.40", Label="Here", Address="Main Street 1")
    (heard,) = await clinic.heard()
    assert heard["payload"] == [{"contentString": "Here, Main Street 1, 52.52, 13.40"}]


async def test_a_file_becomes_a_document_through_the_door_of_media(clinic) -> None:
    patient = await clinic.patient()
    await clinic.hears("My rash", media=(("image/png", image()), ("audio/ogg", encoded("ogg", "libopus"))))
    (heard,) = await clinic.heard()
    assert heard["payload"][0] == {"contentString": "My rash"}
    documents = [await clinic.read(*one["contentReference"]["reference"].split("/")) for one in heard["payload"][1:]]
    assert [one["content"][0]["attachment"]["contentType"] for one in documents] == ["image/png", "audio/ogg"]
    assert {one["subject"]["reference"] for one in documents} == {patient}
    assert {one["context"]["related"][0]["reference"] for one in documents} == {f"Communication/{heard['id']}"}
    assert documents[1]["category"][0]["coding"][0]["code"] == "voice_message"


async def test_a_file_that_is_not_what_it_says_is_noted_and_not_kept(clinic) -> None:
    await clinic.patient()
    await clinic.hears("Look", media=(("image/png", b"MZ\x90\x00 this program cannot be run"),))
    (heard,) = await clinic.heard()
    attachment = heard["payload"][1]["contentAttachment"]
    assert attachment["extension"] == [{"url": STATE, "valueCode": "rejected"}]
    assert attachment["title"].startswith("A file that was not taken")
    assert await clinic.search("DocumentReference") == []
    assert len(await clinic.search("AuditEvent", subtype="urn:prm:media-rejection|type")) == 1


async def test_a_file_that_is_not_there_any_more_is_noted(clinic) -> None:
    clinic.providers.twilio.media.clear()
    await clinic.hears("Look", NumMedia="1", MediaUrl0=f"{clinic.providers.url}/2010-04-01/Accounts/AC/Messages/MM1/Media/ME1")
    (heard,) = await clinic.heard()
    assert heard["payload"][1]["contentAttachment"]["extension"][0]["valueCode"] == "unavailable"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://127.0.0.1/x",
        "file:///etc/passwd",
        "https://api.twilio.com.example.org/x",
        "https://x@example.org/",
    ],
)
async def test_only_twilio_is_asked_for_files(clinic, url: str) -> None:
    await clinic.hears("Look", NumMedia="1", MediaUrl0=url, MediaContentType0="image/png")
    (heard,) = await clinic.heard()
    assert heard["payload"][1]["contentAttachment"]["extension"][0]["valueCode"] == "unavailable"


async def test_a_file_that_can_not_be_had_now_is_asked_for_again(clinic) -> None:
    await clinic.patient()
    clinic.providers.behaviour.outage = True
    await clinic.hears("Look", media=(("image/png", image()),))
    (heard,) = await clinic.heard()
    assert heard["payload"][0] == {"contentString": "Look"}
    assert heard["payload"][1]["contentAttachment"]["extension"][0]["valueCode"] == "waiting"
    clinic.providers.behaviour.outage = False
    await sweep(clinic)
    (heard,) = await clinic.heard()
    assert heard["payload"][1]["contentReference"]["reference"].startswith("DocumentReference/")
    assert {one["stage"] for one in await inbox(clinic)} == {"done"}


async def test_a_file_that_can_never_be_had_is_given_up(clinic) -> None:
    clinic.providers.behaviour.outage = True
    await clinic.hears("Look", media=(("image/png", image()),))
    for _ in range(TRIES):
        await sweep(clinic)
    (heard,) = await clinic.heard()
    assert heard["payload"][1]["contentAttachment"]["extension"][0]["valueCode"] == "unavailable"


async def sweep(clinic) -> None:
    """Deal with what is left of the tenant, as the task of the server does a while later."""
    collection = clinic.ctx.repo.database.collection(COLLECTION)
    await collection.update_many({"t": clinic.tenant, "due": {"$exists": True}}, {"$set": {"due": clinic.ctx.now()}})
    for one in await inbox(clinic):
        if "due" in one:
            await Inbound(clinic.means_of).deal(clinic.ctx, one["_id"])


def message(**values) -> Incoming:
    return Incoming(
        **({"provider": "twilio", "id": "SM1", "channel": "sms", "sender": NUMBER, "to": SMS, "body": "Hello"} | values)
    )


async def kept(clinic, **values) -> str:
    box = Inbox(clinic.ctx.repo.database)
    await box.prepare()
    return await box.keep(clinic.tenant, message(**values), clinic.ctx.now())


async def test_a_message_is_dealt_with_once_however_many_try(clinic) -> None:
    id_ = await kept(clinic)
    await asyncio.gather(*(Inbound(clinic.means_of).deal(clinic.ctx, id_) for _ in range(5)))
    assert len(await clinic.heard()) == 1
    assert await kept(clinic) == id_
    await Inbound(clinic.means_of).deal(clinic.ctx, id_)
    assert [one["meta"]["versionId"] for one in await clinic.heard()] == ["1"]


@pytest.mark.parametrize("place", ["sender_of", "transact", "fetch"])
async def test_what_was_interrupted_is_taken_up_again_and_done_once(clinic, monkeypatch, place: str) -> None:
    patient = await clinic.patient()
    appointment = await clinic.appointment(patient)
    await clinic.remind(appointment, patient)
    media_sid = "ME1"
    clinic.providers.twilio.media[media_sid] = ("image/png", image())
    url = f"{clinic.providers.url}/2010-04-01/Accounts/{clinic.providers.twilio.sid}/Messages/MM1/Media/{media_sid}"
    id_ = await kept(clinic, body="CANCEL", media=(File(url, "image/png"),))

    class KilledError(BaseException):
        """What ends a process."""

    async def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(f"prm_ext.notifications.inbound.{place}", killed)
        with pytest.raises(KilledError):
            await Inbound(clinic.means_of).deal(clinic.ctx, id_)
    await Inbound(clinic.means_of).deal(clinic.ctx, id_)
    assert len(await clinic.heard()) == (place == "fetch"), "it is still held"
    await sweep(clinic)
    (heard,) = await clinic.heard()
    assert "contentReference" in heard["payload"][1]
    assert (await clinic.read("Appointment", appointment["id"]))["status"] == "cancelled"
    assert len(await clinic.search("AppointmentResponse")) == 1
    assert await clinic.search("Consent") == []


async def test_what_stopped_messages_is_kept_though_it_was_interrupted(clinic, monkeypatch) -> None:
    await clinic.patient()
    id_ = await kept(clinic, body="STOP")

    async def away(*_: object, **__: object) -> None:
        raise FhirError(503, ())

    with monkeypatch.context() as patched:
        patched.setattr("prm_ext.notifications.replies.opt_out", away)
        with pytest.raises(FhirError):
            await Inbound(clinic.means_of).deal(clinic.ctx, id_)
    assert len(await clinic.heard()) == 1
    await sweep(clinic)
    assert len(await clinic.search("Consent")) == 1
    assert len(await clinic.heard()) == 1


async def test_others_who_change_the_appointment_meanwhile_are_not_overwritten(clinic, monkeypatch) -> None:
    patient = await clinic.patient()
    appointment = await clinic.appointment(patient)
    await clinic.remind(appointment, patient)
    from prm_ext.notifications import inbound  # noqa: PLC0415

    original, changed = inbound.transact, []

    async def late(ctx, entries) -> None:
        if not changed:
            changed.append(await clinic.write({**appointment, "comment": "Bring the report"}))
        await original(ctx, entries)

    monkeypatch.setattr(inbound, "transact", late)
    await clinic.hears("CONFIRM")
    found = await clinic.read("Appointment", appointment["id"])
    assert (found["comment"], found["participant"][0]["status"]) == ("Bring the report", "accepted")


async def test_the_task_of_the_server_deals_with_what_is_left_though_some_of_it_fails(clinic, monkeypatch) -> None:
    ids = [await kept(clinic, id=f"SM{number}", body=f"Message {number}") for number in range(3)]
    from prm_ext.notifications import inbound  # noqa: PLC0415

    original = inbound.sender_of

    async def failing(ctx, means, found):
        if found["_id"] == ids[1]:
            raise KeyError("surprise")
        return await original(ctx, means, found)

    monkeypatch.setattr(inbound, "sender_of", failing)
    await Inbound(clinic.means_of).sweep(clinic.contexts.of_tenant, clinic.ctx)
    assert {one["payload"][0]["contentString"] for one in await clinic.heard()} == {"Message 0", "Message 2"}
    monkeypatch.undo()
    await sweep(clinic)
    assert len(await clinic.heard()) == 3


async def test_what_was_deleted_does_not_come_back(clinic) -> None:
    id_ = await kept(clinic)
    await Inbound(clinic.means_of).deal(clinic.ctx, id_)
    (heard,) = await clinic.heard()
    await clinic.ctx.dispatch(clinic.ctx, Call("delete", "Communication", heard["id"]))
    await clinic.hears("Hello", MessageSid="SM1")
    assert await clinic.heard() == []


async def test_of_what_is_done_only_who_wrote_when_is_kept(clinic) -> None:
    await clinic.hears("Something private")
    (found,) = await inbox(clinic)
    assert set(found) == {"_id", "t", "provider", "id", "channel", "from", "to", "at", "stage", "expires"}
    box = Inbox(clinic.ctx.repo.database)
    assert await box.last(clinic.tenant, "sms", NUMBER, [SMS]) == found["at"]
    assert await box.last(clinic.tenant, "sms", NUMBER, [WHATSAPP]) is None
    assert await box.last(clinic.tenant, "whatsapp", NUMBER) is None


async def test_files_go_with_the_text_within_the_window_and_else_the_template_goes(clinic) -> None:
    from prm_ext.notifications.addressing import Reach  # noqa: PLC0415
    from prm_ext.notifications.channels.channel import Media  # noqa: PLC0415
    from prm_ext.notifications.windows import fitted  # noqa: PLC0415

    provider, _ = clinic.means.providers.of(clinic.tenant, "whatsapp")
    reached = Reach("whatsapp", NUMBER, provider, WHATSAPP, "en", "", ())
    content = Content(body="Hi", content_sid="HX1", media=(Media("https://prm.example.org/x"),))
    assert await fitted(clinic.ctx, reached, content) == content
    await clinic.hears("Hello", f"whatsapp:{NUMBER}", f"whatsapp:{WHATSAPP}")
    assert (await fitted(clinic.ctx, reached, content)).content_sid == ""
    box = clinic.ctx.repo.database.collection(COLLECTION)
    await box.update_many({"t": clinic.tenant}, {"$set": {"at": clinic.ctx.now() - timedelta(hours=25)}})
    assert (await fitted(clinic.ctx, reached, content)).content_sid == "HX1"


def test_a_form_without_a_message_is_none() -> None:
    assert incoming({}, "US") is None
    assert incoming({"MessageSid": "SM1"}, "US") is None


def test_hostile_forms_are_bounded() -> None:
    form = {"MessageSid": "S" * 999, "From": "x" * 999, "To": "", "Body": "b" * 99_999, "NumMedia": "9" * 99, "MediaUrl0": "u"}
    found = incoming(form, "US")
    assert found is not None
    assert (len(found.id), len(found.sender), len(found.body), found.media) == (64, 64, 20_000, ())
    many = form | {"NumMedia": "500"} | {f"MediaUrl{place}": "u" for place in range(500)}
    found = incoming(many, "US")
    assert found is not None
    assert len(found.media) == 10


async def test_nothing_of_numbers_and_texts_is_in_the_log(clinic, capsys) -> None:
    patient = await clinic.patient()
    await clinic.remind(await clinic.appointment(patient), patient)
    clinic.providers.behaviour.outage = True
    for body, files in (("Something private", (("image/png", image()),)), ("CONFIRM", ()), ("STOP", ())):
        await clinic.hears(body, media=files)
    clinic.providers.behaviour.outage = False
    await sweep(clinic)
    told = capsys.readouterr()
    for text in ("private", NUMBER.removeprefix("+1"), "Garcia", "Elena", clinic.providers.url):
        assert text not in told.out + told.err
