"""What patients write by email, and send along: docs/notifications/inbound.md."""

import base64
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest

from fhir_server.exchange import Call
from fhir_server.fhir.outcome import unavailable
from prm_ext.media.service import Media
from prm_ext.notifications.codes import ADDRESS, DOUBT
from prm_ext.notifications.inbound import POSTED, Inbound
from prm_ext.notifications.inbound_media import STATE
from prm_ext.notifications.inbox import COLLECTION
from prm_ext.notifications.webhooks.mail import MOST_AN_HOUR
from tests.media_files import docx, image
from tests.media_servers import EICAR
from tests.prm_ext.notifications.clinic import WEBHOOKS, opened

ELENA = "elena@patients.example"
REPLY = "reply@parse.example.org"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
OTHER = "marco@patients.example"


@pytest.fixture
async def clinic(settings, database, monkeypatch):
    values = {"organisation": "Bay Clinic", "email_reply_to": f"Bay Clinic <{REPLY}>"}
    async with opened(settings, database, monkeypatch, values) as found:
        yield found


def email(text: str = "Is the clinic open on Friday?", **headers: str) -> EmailMessage:
    """Return an email of a patient."""
    made = EmailMessage()
    values = {"From": f"Elena Garcia <{ELENA}>", "To": REPLY, "Subject": "Question", "Message-ID": "<one@patients.example>"}
    for name, value in (values | {name.replace("_", "-"): value for name, value in headers.items()}).items():
        if value:
            made[name] = value
    made.set_content(text)
    return made


async def hears(clinic: Any, message: EmailMessage, **values: Any) -> Any:
    """Let an email come in, then let what is to be answered go."""
    answer = await clinic.providers.sendgrid.receive(f"{WEBHOOKS}/sendgrid/{clinic.tenant}/inbound", message, **values)
    assert answer is not None
    await clinic.run()
    return answer


async def person(clinic: Any, address: str = ELENA, given: str = "Elena") -> str:
    return await clinic.patient(given, telecom=[{"system": "email", "value": address}])


async def written(clinic: Any, patient: str, text: str = "Hello", about: str = "") -> dict[str, Any]:
    """Write to a patient; return what SendGrid was given."""
    await clinic.message(patient, text, "email", about=about)
    return clinic.providers.ledger.entries[-1].raw


def answer_to(sent: dict[str, Any], text: str, **headers: str) -> EmailMessage:
    """Return an answer of the patient, as mail programs write it."""
    quoted = "\n".join(f"> {line}" for line in sent["content"][0]["value"].splitlines())
    body = f"{text}\n\nOn Tue, 24 Nov 2026 at 10:12, Bay Clinic <{REPLY}> wrote:\n\n{quoted}\n"
    to = {"To": sent["reply_to"]["email"], "In-Reply-To": sent["headers"]["Message-ID"], "Subject": f"Re: {sent['subject']}"}
    return email(body, **(to | headers))


def emails(clinic: Any, address: str = ELENA) -> list[str]:
    return [one.body for one in clinic.providers.sendgrid.entries if one.to == address]


@pytest.mark.parametrize("raw", [False, True], ids=["parsed", "as it is"])
async def test_an_email_becomes_a_communication_of_the_patient(clinic, raw: bool) -> None:
    patient = await person(clinic, "Elena@Patients.example")
    assert (await hears(clinic, email("Können wir am Freitag? 👋"), raw=raw)).status_code == 204
    (heard,) = await clinic.heard()
    assert (heard["status"], heard["topic"]) == ("completed", {"text": "Question"})
    assert heard["sender"] == {"reference": patient, "extension": [{"url": ADDRESS, "valueString": ELENA}]}
    assert heard["recipient"] == [{"display": "Bay Clinic", "extension": [{"url": ADDRESS, "valueString": REPLY}]}]
    assert (heard["subject"], heard["medium"][0]["coding"][1]["code"]) == ({"reference": patient}, "email")
    assert heard["payload"] == [{"contentString": "Können wir am Freitag? 👋"}]
    assert heard["identifier"][0]["system"] == "urn:prm:provider:sendgrid"
    assert not {"inResponseTo", "extension", "about"} & set(heard)


async def test_an_email_that_comes_again_is_one(clinic) -> None:
    await person(clinic)
    for raw in (False, True, False):
        assert (await hears(clinic, email(), raw=raw)).status_code == 204
    assert len(await clinic.heard()) == 1
    await hears(clinic, email(Message_ID="<two@patients.example>"))
    await hears(clinic, email(From=OTHER))
    assert len(await clinic.heard()) == 3


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-8", "windows-1252"])
async def test_texts_are_read_in_their_charsets(clinic, charset: str) -> None:
    message = email("x")
    message.set_content("Señora Müller, 5 €" if charset != "iso-8859-1" else "Señora Müller", charset=charset)
    await hears(clinic, message)
    (heard,) = await clinic.heard()
    assert heard["payload"][0]["contentString"].startswith("Señora Müller")


async def test_an_email_that_has_only_html_is_read_without_what_it_quotes(clinic) -> None:
    message = email("")
    message.set_content(
        "<html><head><style>p {}</style></head><body><p>Yes &amp; no</p><div>Bye<br>E.</div>"
        "<blockquote>Hello</blockquote></body></html>",
        subtype="html",
    )
    await hears(clinic, message)
    (heard,) = await clinic.heard()
    assert heard["payload"] == [{"contentString": "Yes & no\n\nBye\nE."}]


@pytest.mark.parametrize(
    "verified",
    [
        {"spf": "pass", "dkim": "{@elsewhere.example : pass}"},
        {"spf": "fail", "dkim": "{@patients.example : pass}"},
        {"spf": "none", "dkim": "{@mailer.example : fail, @patients.example : pass}"},
        {"spf": "softfail", "dkim": "{@PATIENTS.example : pass}"},
    ],
)
async def test_who_is_who_they_say_is_found(clinic, verified: dict[str, str]) -> None:
    patient = await person(clinic)
    await hears(clinic, email(), **verified)
    (heard,) = await clinic.heard()
    assert (heard["subject"], "extension" in heard) == ({"reference": patient}, False)


@pytest.mark.parametrize(
    ("values", "headers", "doubt"),
    [
        ({"spf": "fail", "dkim": "none"}, {}, "unverified"),
        ({"spf": "pass", "dkim": "none", "returns_to": "mallory@elsewhere.example"}, {}, "unverified"),
        ({"spf": "softfail", "dkim": "{@patients.example : fail}"}, {}, "unverified"),
        ({"spf": "fail", "dkim": "{@notpatients.example : pass}"}, {}, "unverified"),
        ({"spf": "fail", "dkim": "{@example : pass}"}, {}, "unverified"),
        ({"spf": "fail", "dkim": "{@evil.patients.example : pass}"}, {}, "unverified"),
        ({}, {"From": f"{ELENA}, {OTHER}"}, "unverified"),
        ({"spam": "7.2"}, {}, "spam"),
    ],
)
async def test_who_may_be_somebody_else_is_nobodys_and_is_not_acted_upon(clinic, values, headers, doubt: str) -> None:
    patient = await person(clinic)
    sent = await written(clinic, patient)
    assert (await hears(clinic, answer_to(sent, "STOP", **headers), **values)).status_code == 204
    (heard,) = await clinic.heard()
    assert heard["extension"] == [{"url": DOUBT, "valueCode": doubt}]
    assert not {"subject", "inResponseTo", "about"} & set(heard)
    assert "reference" not in heard["sender"]
    assert heard["payload"][0] == {"contentString": "STOP"}
    assert await clinic.search("Consent") == []
    assert emails(clinic) == ["Hello"]


async def test_an_answer_is_one_to_the_email_that_it_answers(clinic) -> None:
    patient = await person(clinic)
    first, _ = await written(clinic, patient, "First"), await written(clinic, patient, "Second")
    await hears(clinic, answer_to(first, "Thank you.\nI will come."))
    (heard,) = await clinic.heard()
    assert heard["subject"] == {"reference": patient}
    answered = await clinic.read(*heard["inResponseTo"][0]["reference"].split("/"))
    assert answered["payload"] == [{"contentString": "First"}]
    whole = heard["payload"][1]["contentString"]
    assert heard["payload"][0] == {"contentString": "Thank you.\nI will come."}
    assert whole.startswith("Thank you.\nI will come.\n\nOn Tue")
    assert whole.endswith("> First")


@pytest.mark.parametrize("left", ["To", "In-Reply-To", "References"])
async def test_one_of_the_things_that_say_what_is_answered_is_enough(clinic, left: str) -> None:
    patient = await person(clinic)
    sent, _ = await written(clinic, patient, "First"), await written(clinic, patient, "Second")
    headers = {"To": REPLY, "In-Reply-To": ""}
    if left == "To":
        headers["To"] = sent["reply_to"]["email"]
    else:
        headers[left] = f"<other@elsewhere.example> {sent['headers']['Message-ID']}"
    await hears(clinic, answer_to(sent, "Yes, thanks to all", **headers))
    (heard,) = await clinic.heard()
    answered = await clinic.read(*heard["inResponseTo"][0]["reference"].split("/"))
    assert answered["payload"] == [{"contentString": "First"}]


async def test_ids_that_ses_gives_are_known(settings, database, monkeypatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    async with opened(settings, database, monkeypatch, {"email": "ses", "email_reply_to": REPLY}) as clinic:
        patient = await person(clinic)
        for text in ("First", "Second"):
            await clinic.message(patient, text, "email")
        given = clinic.providers.ledger.entries[0].id
        await hears(clinic, email("Yes, thanks to all", In_Reply_To=f"<{given}@us-east-1.amazonses.com>"))
        (heard,) = await clinic.heard()
        answered = await clinic.read(*heard["inResponseTo"][0]["reference"].split("/"))
        assert answered["payload"] == [{"contentString": "First"}]


async def test_an_email_to_somebody_else_is_not_answered_by_naming_it(clinic) -> None:
    marco = await person(clinic, OTHER, "Marco")
    elena = await person(clinic)
    sent = await written(clinic, marco, "For Marco")
    await hears(clinic, answer_to(sent, "This is Elena"))
    (heard,) = await clinic.heard()
    assert (heard["subject"], "inResponseTo" in heard) == ({"reference": elena}, False)


@pytest.mark.parametrize(("word", "status", "says"), [("Confirm", "accepted", "confirmed"), ("CANCEL", "declined", "cancelled")])
async def test_confirm_and_cancel_are_about_the_appointment_and_are_answered(clinic, word, status, says) -> None:
    patient = await person(clinic)
    appointment = await clinic.appointment(patient)
    sent = await written(clinic, patient, "Remember", about=f"Appointment/{appointment['id']}")
    await hears(clinic, answer_to(sent, f"{word}\n\nSent from my iPhone", Subject="Re: Your appointment"))
    found = await clinic.read("Appointment", appointment["id"])
    assert found["participant"][0]["status"] == status
    assert says in emails(clinic)[-1]
    answer = clinic.providers.sendgrid.entries[-1].raw
    assert (answer["subject"], answer["headers"]["Auto-Submitted"]) == ("Re: Your appointment", "auto-generated")


async def test_stop_ends_emails_and_start_begins_them_again(clinic) -> None:
    patient = await person(clinic)
    sent = await written(clinic, patient)
    await hears(clinic, answer_to(sent, "Unsubscribe"))
    (consent,) = await clinic.search("Consent")
    assert consent["patient"] == {"reference": patient}
    await clinic.message(patient, "More", "email")
    assert emails(clinic) == ["Hello"]
    await hears(clinic, answer_to(sent, "START", Message_ID="<two@patients.example>"))
    await clinic.message(patient, "Again", "email")
    assert emails(clinic)[-1] == "Again"


@pytest.mark.parametrize(
    ("headers", "values"),
    [
        ({"Auto-Submitted": "auto-replied"}, {}),
        ({"Auto-Submitted": "auto-generated; x=y"}, {}),
        ({"Precedence": "bulk"}, {}),
        ({"Precedence": "auto_reply"}, {}),
        ({"X-Auto-Response-Suppress": "All"}, {}),
        ({"List-Id": "<news.patients.example>"}, {}),
        ({"X-Notification-Reference": "x"}, {}),
        ({"From": "MAILER-DAEMON@patients.example"}, {}),
        ({"From": f"Elena <{ELENA}>"}, {"returns_to": ""}),
    ],
)
async def test_what_a_machine_has_sent_is_kept_and_never_answered(clinic, headers, values) -> None:
    patient = await person(clinic)
    sent = await written(clinic, patient)
    before = len(clinic.providers.sendgrid.entries)
    for number, word in enumerate(("HELP", "STOP", "CONFIRM")):
        await hears(clinic, answer_to(sent, word, **{"Message-ID": f"<m{number}@patients.example>"}, **headers), **values)
    heard = await clinic.heard()
    assert [one["extension"] for one in heard] == [[{"url": DOUBT, "valueCode": "automatic"}]] * 3
    assert await clinic.search("Consent") == []
    assert len(clinic.providers.sendgrid.entries) == before


async def test_what_goes_out_and_comes_back_is_a_machines(clinic) -> None:
    patient = await person(clinic, REPLY)
    await hears(clinic, email("HELP", From=REPLY))
    (heard,) = await clinic.heard()
    assert heard["extension"] == [{"url": DOUBT, "valueCode": "automatic"}]
    assert heard["subject"] == {"reference": patient}
    assert emails(clinic, REPLY) == []


async def test_no_two_machines_answer_each_other_for_long(clinic) -> None:
    await person(clinic)
    for number in range(MOST_AN_HOUR + 5):
        await hears(clinic, email("HELP", **{"Message-ID": f"<m{number}@patients.example>"}))
    assert len(emails(clinic)) == MOST_AN_HOUR
    assert len(await clinic.heard()) == MOST_AN_HOUR + 5


async def with_files(clinic: Any, *files: tuple[str, str, bytes], raw: bool = False, **headers: str) -> Any:
    message = email("See the files", **headers)
    for name, mime, data in files:
        kind, _, subtype = mime.partition("/")
        message.add_attachment(data, maintype=kind, subtype=subtype, filename=name)
    return await hears(clinic, message, raw=raw)


@pytest.mark.parametrize("raw", [False, True], ids=["parsed", "as it is"])
async def test_files_go_through_the_door_of_media(clinic, raw: bool) -> None:
    patient = await person(clinic)
    picture = image()
    assert (await with_files(clinic, ("rash.png", "image/png", picture), raw=raw)).status_code == 204
    (heard,) = await clinic.heard()
    text, file = heard["payload"]
    assert text == {"contentString": "See the files"}
    document = await clinic.read(*file["contentReference"]["reference"].split("/"))
    attachment = document["content"][0]["attachment"]
    assert (document["subject"], attachment["title"]) == ({"reference": patient}, "rash.png")
    assert document["context"]["related"] == [{"reference": f"Communication/{heard['id']}"}]


async def test_a_file_that_is_not_taken_is_said_to_be_so_and_the_others_are(clinic) -> None:
    await person(clinic)
    files = (("run.exe", "application/octet-stream", b"MZ" + bytes(200)), ("rash.png", "image/png", image()))
    assert (await with_files(clinic, *files)).status_code == 204
    (heard,) = await clinic.heard()
    _, refused, taken = heard["payload"]
    assert [one["valueCode"] for one in refused["contentAttachment"]["extension"] if one["url"] == STATE] == ["rejected"]
    assert taken["contentReference"]["reference"].startswith("DocumentReference/")


async def test_files_that_can_not_be_taken_now_are_taken_when_the_email_comes_again(clinic, monkeypatch) -> None:
    await person(clinic)
    file = ("rash.png", "image/png", image())
    receive = Media.receive

    async def away(*_: object) -> None:
        raise unavailable("The store does not answer.")

    monkeypatch.setattr(Media, "receive", away)
    assert (await with_files(clinic, file)).status_code == 503
    (heard,) = await clinic.heard()
    assert heard["payload"][1]["contentAttachment"]["extension"][0]["valueCode"] == "waiting"
    monkeypatch.setattr(Media, "receive", receive)
    assert (await with_files(clinic, file)).status_code == 204
    assert (await with_files(clinic, file)).status_code == 204
    (heard,) = await clinic.heard()
    assert "contentReference" in heard["payload"][1]
    assert len(await clinic.search("DocumentReference")) == 1


async def test_files_that_never_come_again_are_said_to_be_unavailable(clinic, monkeypatch) -> None:
    await person(clinic)

    async def away(*_: object) -> None:
        raise unavailable("The store does not answer.")

    monkeypatch.setattr(Media, "receive", away)
    await with_files(clinic, ("rash.png", "image/png", image()))
    box = clinic.ctx.repo.database.collection(COLLECTION)
    (kept,) = await box.find({"t": clinic.tenant}).to_list()
    assert (kept["stage"], kept["due"] - kept["at"]) == ("media", POSTED)
    await box.update_one({"_id": kept["_id"]}, {"$set": {"due": clinic.ctx.now() - timedelta(seconds=1)}})
    await Inbound(clinic.means_of).deal(clinic.ctx, kept["_id"])
    (heard,) = await clinic.heard()
    assert heard["payload"][1]["contentAttachment"]["extension"][0]["valueCode"] == "unavailable"
    assert (await box.find_one({"_id": kept["_id"]}))["stage"] == "done"


async def test_what_was_said_is_forgotten_when_it_is_done(clinic) -> None:
    await person(clinic)
    await hears(clinic, email("Something private"))
    (found,) = await clinic.ctx.repo.database.collection(COLLECTION).find({"t": clinic.tenant}).to_list()
    assert set(found) == {"_id", "t", "provider", "id", "channel", "from", "to", "at", "stage", "expires"}


@pytest.mark.parametrize("forged", ["nothing", "old", "body"])
async def test_what_sendgrid_has_not_signed_is_refused_and_changes_nothing(clinic, forged: str) -> None:
    url = f"{WEBHOOKS}/sendgrid/{clinic.tenant}/inbound"
    if forged == "old":
        moment = (clinic.ctx.now() - timedelta(days=4)).timestamp()
        answer = await clinic.providers.sendgrid.receive(url, email(), moment=moment)
    else:
        headers = clinic.providers.sendgrid.sign(b"another body") if forged == "body" else {}
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = await clinic.providers.callbacks.post(url, b"--x--\r\n", headers | kind)
    assert answer is not None
    assert (answer.status_code, await clinic.heard()) == (403, [])


@pytest.mark.parametrize(
    ("key", "secret", "given", "status"),
    [("", "s3cret", "s3cret", 204), ("", "s3cret", "wrong", 403), ("", "", "", 403), ("no key", "s3cret", "s3cret", 403)],
)
async def test_without_a_key_the_password_in_the_url_counts(
    settings, database, monkeypatch, key: str, secret: str, given: str, status: int
) -> None:
    values = {"sendgrid_parse_key": key, "sendgrid_parse_secret": secret}
    async with opened(settings, database, monkeypatch, values) as clinic:
        body = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\nHello\r\n--x--\r\n'
        credentials = base64.b64encode(f"prm:{given}".encode()).decode()
        headers = {"Content-Type": "multipart/form-data; boundary=x", "Authorization": f"Basic {credentials}"}
        answer = await clinic.providers.callbacks.post(f"{WEBHOOKS}/sendgrid/{clinic.tenant}/inbound", body, headers)
        assert answer is not None
        assert answer.status_code == status
        assert len(await clinic.heard()) == (status == 204)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [("application/json", b"{}", 415), ("multipart/form-data; boundary=x", b"--x\r\nnothing", 400)],
)
async def test_what_is_no_form_is_refused(clinic, kind: str, body: bytes, status: int) -> None:
    headers = clinic.providers.sendgrid.sign(body) | {"Content-Type": kind}
    answer = await clinic.providers.callbacks.post(f"{WEBHOOKS}/sendgrid/{clinic.tenant}/inbound", body, headers)
    assert answer is not None
    assert (answer.status_code, await clinic.heard()) == (status, [])


async def test_a_virus_is_not_taken(settings, database, monkeypatch, clamd) -> None:
    scanned = settings.model_copy(update={"clamd": clamd})
    async with opened(scanned, database, monkeypatch, {"email_reply_to": REPLY}) as clinic:
        await person(clinic)
        assert (await with_files(clinic, ("notes.docx", DOCX, docx(virus=EICAR)))).status_code == 204
        (heard,) = await clinic.heard()
        assert heard["payload"][1]["contentAttachment"]["extension"][0]["valueCode"] == "rejected"
        reply = await clinic.ctx.dispatch(clinic.ctx, Call("search-type", "DocumentReference"))
        assert not (reply.resource or {}).get("entry")
