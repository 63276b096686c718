"""Email by SendGrid's SDK, against a server that speaks SendGrid's protocol."""

import base64
from collections.abc import AsyncIterator, Callable

import pytest

from prm_ext.notifications.channels.accounts import SendGridAccount
from prm_ext.notifications.channels.channel import Accepted, Media, Message, Receipt, Refused, Unknown
from prm_ext.notifications.channels.email_words import message_id_of
from prm_ext.notifications.channels.errors import Errors
from prm_ext.notifications.channels.sendgrid import SendGrid
from tests.providers.stand_ins import KEY, StandIns, running
from tests.providers.wire import HttpServer, Response

TO, FROM = "ana@example.org", "Clinic <no-reply@clinic.example.org>"


def message(to: str = TO, **values) -> Message:
    given = {"tenant": "acme", "reference": "c1", "channel": "email", "to": to, "sender": FROM, "body": "Hello Ana."}
    return Message(**(given | {"subject": "Your appointment"} | values))


@pytest.fixture
async def sendgrid_of(threads) -> AsyncIterator[Callable[..., SendGrid]]:
    made: list[SendGrid] = []

    def make(providers: StandIns | None, *, key: str = KEY, url: str = "", activity: bool = True) -> SendGrid:
        account = SendGridAccount(key, providers.url if providers else url, 0.5, activity)
        made.append(SendGrid(account, threads=threads, errors=Errors()))
        return made[-1]

    yield make
    for one in made:
        await one.close()


OWN = {"Message-ID": "<c1@clinic.example.org>", "X-Notification-Reference": "c1", "Auto-Submitted": "auto-generated"}


async def test_an_email_is_accepted_with_our_reference(providers, sendgrid_of):
    outcome = await sendgrid_of(providers).send(message(html="<p>Hello Ana.</p>"))
    (entry,) = providers.ledger.entries
    assert outcome == Accepted(entry.id, "queued")
    assert (entry.to, entry.sender, entry.subject, entry.body, entry.reference) == (
        *(TO, "no-reply@clinic.example.org", "Your appointment", "Hello Ana.", "c1"),
    )
    assert entry.raw["from"] == {"email": "no-reply@clinic.example.org", "name": "Clinic"}
    assert [one["type"] for one in entry.raw["content"]] == ["text/plain", "text/html"]
    assert entry.raw["headers"] == OWN
    assert "reply_to" not in entry.raw


async def test_answers_go_to_the_address_for_them(providers, sendgrid_of):
    await sendgrid_of(providers).send(message(reply_to="Clinic <reply+c1@parse.example.org>"))
    assert providers.ledger.entries[0].raw["reply_to"] == {"email": "reply+c1@parse.example.org", "name": "Clinic"}


async def test_an_email_offers_to_unsubscribe_with_one_click(providers, sendgrid_of):
    await sendgrid_of(providers).send(message(unsubscribe_url="https://prm.example.org/u/abc"))
    assert providers.ledger.entries[0].raw["headers"] == OWN | {
        "List-Unsubscribe": "<https://prm.example.org/u/abc>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


async def test_files_go_with_an_email(providers, sendgrid_of):
    providers.twilio.media["a"] = ("application/pdf", b"%PDF-1.7")
    media = (Media(f"{providers.url}/media-cdn/a", "application/pdf", "result.pdf"),)
    await sendgrid_of(providers).send(message(media=media))
    (attachment,) = providers.ledger.entries[0].raw["attachments"]
    assert (attachment["filename"], attachment["type"]) == ("result.pdf", "application/pdf")
    assert base64.b64decode(attachment["content"]) == b"%PDF-1.7"


async def test_an_email_whose_file_is_gone_is_not_sent(providers, sendgrid_of):
    outcome = await sendgrid_of(providers).send(message(media=(Media(f"{providers.url}/media-cdn/gone"),)))
    assert outcome == Refused("content", "attachment", "A file of the message can not be fetched: 404.")
    assert providers.ledger.entries == []


async def test_an_email_whose_file_can_not_be_fetched_now_is_sent_later(providers, sendgrid_of):
    outcome = await sendgrid_of(providers).send(message(media=(Media("http://127.0.0.1:9/a"),)))
    assert outcome == Refused("transient", "attachment", "A file of the message can not be fetched: ConnectError.")


async def test_an_email_without_subject_or_text_is_one_that_sendgrid_takes(providers, sendgrid_of):
    await sendgrid_of(providers).send(message(subject="", body="", html="<p>Hi</p>"))
    assert providers.ledger.entries[0].subject == " "


async def test_a_subject_has_one_line(providers, sendgrid_of):
    await sendgrid_of(providers).send(message(subject="Hello\r\nBcc: x@example.org"))
    assert providers.ledger.entries[0].subject == "Hello Bcc: x@example.org"


@pytest.mark.parametrize(
    ("to", "failure", "code"),
    [
        ("invalid@example.org", "address", "400"),
        ("failing@example.org", "transient", "500"),
        ("toomany@example.org", "transient", "429"),
    ],
)
async def test_what_sendgrid_refuses_has_a_class_and_names_nobody(providers, sendgrid_of, to, failure, code):
    outcome = await sendgrid_of(providers).send(message(to))
    assert (outcome.failure, outcome.code) == (failure, code)
    assert "example.org" not in outcome.text


async def test_whoever_sends_too_much_is_told_when_to_come_again(providers, sendgrid_of):
    outcome = await sendgrid_of(providers).send(message("toomany@example.org"))
    assert 28 <= outcome.retry_after <= 30


@pytest.mark.parametrize("to", ["nobody", "a b@example.org", "a@", "@example.org", ""])
async def test_what_is_no_address_is_not_sent(providers, sendgrid_of, to):
    outcome = await sendgrid_of(providers).send(message(to))
    assert outcome == Refused("address", "address", "The sender or the recipient is no email address.")
    assert providers.ledger.refused == {}


async def test_a_wrong_key_is_a_fault_of_the_configuration(providers, sendgrid_of):
    outcome = await sendgrid_of(providers, key="wrong").send(message())
    assert outcome == Refused("content", "401", "The provided authorization grant is invalid, expired, or revoked")


async def test_an_outage_of_sendgrid_is_transient(providers, sendgrid_of):
    providers.behaviour.outage = True
    assert (await sendgrid_of(providers).send(message())).failure == "transient"


async def test_a_sendgrid_that_can_not_be_reached_has_taken_nothing(sendgrid_of):
    async with running() as gone:
        url = gone.url
    outcome = await sendgrid_of(None, url=url).send(message())
    assert outcome == Refused("transient", "connection", "SendGrid can not be reached: ConnectionError")


@pytest.mark.parametrize("to", ["gateway@example.org", "never@example.org", "lost@example.org"])
async def test_an_email_without_an_answer_leaves_the_outcome_open(providers, sendgrid_of, to):
    outcome = await sendgrid_of(providers).send(message(to))
    assert isinstance(outcome, Unknown)
    assert to not in outcome.text


async def test_an_email_whose_answer_was_lost_is_found_by_our_reference(providers, sendgrid_of):
    sendgrid = sendgrid_of(providers)
    sent = message("lost@example.org")
    assert isinstance(await sendgrid.send(sent), Unknown)
    assert await sendgrid.find(sent) == Accepted(providers.ledger.entries[0].id, "sent")


async def test_an_email_that_was_not_accepted_is_not_found(providers, sendgrid_of):
    sendgrid = sendgrid_of(providers)
    await sendgrid.send(message(reference="c2"))
    assert await sendgrid.find(message()) is None


async def test_an_email_that_bounced_before_anybody_asked_is_refused(providers, sendgrid_of):
    sendgrid = sendgrid_of(providers)
    await sendgrid.send(message())
    providers.ledger.entries[0].status = "bounce"
    assert await sendgrid.find(message()) == Refused("address", "bounce", "SendGrid has not delivered it.")


async def test_only_an_account_with_email_activity_can_look_up(providers, sendgrid_of):
    assert sendgrid_of(providers).looks_up
    assert not sendgrid_of(providers, activity=False).looks_up
    providers.sendgrid.activity = False
    assert isinstance(await sendgrid_of(providers).find(message()), Unknown)


async def test_the_status_of_an_email_is_asked_for(providers, sendgrid_of):
    sendgrid = sendgrid_of(providers)
    id_ = (await sendgrid.send(message())).provider_id
    providers.ledger.entries[0].status = "delivered"
    at = providers.ledger.entries[0].updated.replace(microsecond=0)
    assert await sendgrid.status(message(), id_) == Receipt(f"sendgrid:{id_}:delivered", "delivered", at, "c1", id_)
    providers.ledger.entries[0].status = "bounce"
    assert (await sendgrid.status(message(), id_)).failure == "address"
    assert await sendgrid.status(message(reference="c2"), id_) is None
    assert await sendgrid_of(providers, activity=False).status(message(), id_) is None


async def test_connections_are_used_again(sendgrid_of):
    peers = 0

    async def accept(_request):
        return Response(202, b"", {"X-Message-Id": "m"})

    class Counting(HttpServer):
        async def _serve(self, reader, writer):
            nonlocal peers
            peers += 1
            await super()._serve(reader, writer)

    server = Counting(accept)
    await server.start()
    sendgrid = sendgrid_of(None, url=f"http://127.0.0.1:{server.port}")
    assert [await sendgrid.send(message()) for _ in range(5)] == [Accepted("m")] * 5
    assert peers == 1
    await sendgrid.close()
    await server.stop()


@pytest.mark.parametrize(
    ("id_", "expected"),
    [
        ("14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0", "14c5d75ce93.dfd.64b469"),
        ("tJ2qDiGPTrSz.recvd-canary-5c79f-abc-1-64-0", "tJ2qDiGPTrSz"),
        ("plain", "plain"),
    ],
)
def test_ids_in_events_begin_with_the_id_that_was_answered(id_, expected):
    assert message_id_of(id_) == expected


async def test_nothing_of_an_email_is_logged(providers, sendgrid_of, caplog):
    caplog.set_level("INFO")
    await sendgrid_of(providers).send(message())
    assert TO not in caplog.text
    assert "Ana" not in caplog.text


async def test_a_sendgrid_that_shows_a_certificate_that_is_not_trusted_gets_nothing(sendgrid_of, certificates):
    async def accept(_request):
        raise AssertionError

    server = HttpServer(accept)
    await server.start(tls=certificates[0])
    outcome = await sendgrid_of(None, url=f"https://127.0.0.1:{server.port}").send(message())
    assert (outcome.failure, outcome.code) == ("transient", "connection")
    await server.stop()
