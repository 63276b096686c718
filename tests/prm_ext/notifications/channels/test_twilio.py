"""SMS, WhatsApp messages and calls by Twilio's SDK, against a server that speaks Twilio's protocol."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from fhir_server.exchange import utc_now
from prm_ext.notifications.channels.accounts import TwilioAccount
from prm_ext.notifications.channels.channel import Accepted, Media, Message, Receipt, Refused, Unknown
from prm_ext.notifications.channels.errors import Errors
from prm_ext.notifications.channels.twilio import Twilio, twiml
from prm_ext.notifications.channels.twilio_words import voice_language
from tests.providers import twilio_magic as magic
from tests.providers.stand_ins import ACCOUNT, TOKEN, StandIns, running
from tests.providers.wire import HttpServer, Response

TO, FROM, SERVICE = "+12025550147", "+14155550100", "MG" + "0" * 32
CONTENT = "HX" + "1" * 32


def message(to: str = TO, body: str = "Your appointment is tomorrow.", **values) -> Message:
    given = {"tenant": "acme", "reference": "c1", "channel": "sms", "to": to, "sender": FROM, "body": body, "begun": utc_now()}
    return Message(**(given | values))


async def nobody_knows(_provider, _ids, _reference):
    return {}


@pytest.fixture
async def twilio_of(threads) -> AsyncIterator[Callable[..., Twilio]]:
    made: list[Twilio] = []

    def make(providers: StandIns | None, known=nobody_knows, timeout: float = 5.0, token: str = TOKEN, url: str = "") -> Twilio:
        account = TwilioAccount(ACCOUNT, token, providers.url if providers else url, timeout)
        made.append(Twilio(account, threads=threads, errors=Errors(), known=known))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def test_an_sms_is_accepted_and_says_where_reports_go(providers, twilio_of):
    sent = message(callback_url="https://prm.example.org/webhooks/twilio/acme/c1")
    outcome = await twilio_of(providers).send(sent)
    (entry,) = providers.ledger.entries
    assert outcome == Accepted(entry.id, "queued")
    assert (entry.channel, entry.to, entry.sender, entry.body, entry.reference) == ("sms", TO, FROM, sent.body, "c1")
    assert entry.raw == {"To": [TO], "From": [FROM], "Body": [sent.body], "StatusCallback": [sent.callback_url]}


async def test_an_sms_comes_from_a_messaging_service(providers, twilio_of):
    assert await twilio_of(providers).send(message(sender=SERVICE)) == Accepted(providers.ledger.entries[0].id, "queued")
    assert providers.ledger.entries[0].raw["MessagingServiceSid"] == [SERVICE]
    assert "From" not in providers.ledger.entries[0].raw


async def test_a_whatsapp_message_carries_media(providers, twilio_of):
    media = (Media("https://prm.example.org/a.png"), Media("https://prm.example.org/b.png"))
    await twilio_of(providers).send(message(channel="whatsapp", media=media))
    (entry,) = providers.ledger.entries
    assert (entry.channel, entry.to, entry.sender) == ("whatsapp", f"whatsapp:{TO}", f"whatsapp:{FROM}")
    assert entry.raw["MediaUrl"] == [one.url for one in media]


async def test_an_approved_template_goes_instead_of_the_body(providers, twilio_of):
    await twilio_of(providers).send(message(channel="whatsapp", content_sid=CONTENT, content_variables={"1": "Ána"}))
    (entry,) = providers.ledger.entries
    assert entry.raw["ContentSid"] == [CONTENT]
    assert entry.raw["ContentVariables"] == ['{"1": "Ána"}']
    assert "Body" not in entry.raw


async def test_a_call_says_the_body_in_the_language_of_the_message(providers, twilio_of):
    outcome = await twilio_of(providers).send(
        message(channel="voice", body="Hola <Ana> & co.", language="es", callback_url="https://prm.example.org/call")
    )
    (entry,) = providers.ledger.entries
    assert outcome == Accepted(entry.id, "queued")
    assert entry.body.endswith('<Response><Say language="es-US">Hola &lt;Ana&gt; &amp; co.</Say></Response>')
    assert entry.raw["StatusCallbackEvent"] == ["initiated", "ringing", "answered", "completed"]


@pytest.mark.parametrize(
    ("tag", "spoken"),
    [
        ("en", "en-US"),
        ("en-GB", "en-GB"),
        ("es-AR", "es-US"),
        ("pt_PT", "pt-PT"),
        ("zh-Hans", "cmn-CN"),
        ("pl", "pl-PL"),
        ("sw", ""),
    ],
)
def test_a_language_is_spoken_as_twilio_names_it(tag, spoken):
    assert voice_language(tag) == spoken


def test_a_language_that_twilio_does_not_speak_is_left_out():
    assert "<Say>Habari</Say>" in twiml(message(body="Habari", language="sw"))


@pytest.mark.parametrize(
    ("to", "failure", "code"),
    [
        (magic.INVALID, "address", "21211"),
        (magic.LANDLINE, "address", "21614"),
        (magic.OPTED_OUT, "opted-out", "21610"),
        ("+15005550002", "content", "21612"),
        ("+15005550003", "content", "21408"),
        (magic.OUTSIDE_WINDOW, "channel", "63016"),
        (magic.FAILING, "transient", "20500"),
    ],
)
async def test_what_twilio_refuses_has_a_class_and_names_nobody(providers, twilio_of, to, failure, code):
    outcome = await twilio_of(providers).send(message(to))
    assert isinstance(outcome, Refused)
    assert (outcome.failure, outcome.code, outcome.retry_after) == (failure, code, None)
    assert outcome.text.startswith("Unable to create record: ")
    assert "1500555" not in outcome.text
    assert providers.ledger.entries == []


async def test_whoever_sends_too_much_is_told_when_to_come_again(providers, twilio_of):
    outcome = await twilio_of(providers).send(message(magic.TOO_MANY))
    assert outcome == Refused("transient", "20429", "Unable to create record: Too Many Requests", 7.0)


async def test_the_pause_of_one_answer_is_not_that_of_the_next(providers, twilio_of):
    twilio = twilio_of(providers)
    assert (await twilio.send(message(magic.TOO_MANY))).retry_after == 7.0
    assert [(await twilio.send(message(magic.FAILING))).retry_after for _ in range(8)] == [None] * 8


async def test_a_wrong_token_is_a_fault_of_the_configuration(providers, twilio_of):
    outcome = await twilio_of(providers, token="wrong").send(message())
    assert outcome == Refused("content", "20003", "Unable to create record: Authenticate")


async def test_an_outage_is_transient(providers, twilio_of):
    providers.behaviour.outage = True
    assert (await twilio_of(providers).send(message())).failure == "transient"


async def test_a_provider_that_can_not_be_reached_has_taken_nothing(twilio_of):
    async with running() as gone:
        url = gone.url
    outcome = await twilio_of(None, url=url).send(message())
    assert outcome == Refused("transient", "connection", "Twilio can not be reached: ConnectionError")


@pytest.mark.parametrize("to", [magic.LOST_AND_CUT, magic.LOST_AND_HANG])
@pytest.mark.parametrize("channel", ["sms", "whatsapp"])
async def test_a_message_whose_answer_was_lost_is_found(providers, twilio_of, to, channel):
    twilio = twilio_of(providers, timeout=0.5)
    sent = message(to, channel=channel)
    assert isinstance(await twilio.send(sent), Unknown)
    (entry,) = providers.ledger.entries
    assert await twilio.find(sent) == Accepted(entry.id, "queued")


async def test_a_call_whose_answer_was_lost_is_found(providers, twilio_of):
    twilio = twilio_of(providers)
    sent = message(magic.LOST_AND_CUT, channel="voice")
    assert isinstance(await twilio.send(sent), Unknown)
    assert await twilio.find(sent) == Accepted(providers.ledger.entries[0].id, "queued")


async def test_a_message_that_was_not_accepted_is_not_found(providers, twilio_of):
    twilio = twilio_of(providers, timeout=0.5)
    sent = message(magic.NEVER)
    assert isinstance(await twilio.send(sent), Unknown)
    assert await twilio.find(sent) is None


async def test_other_messages_to_the_number_are_not_taken_for_it(providers, twilio_of):
    twilio = twilio_of(providers)
    await twilio.send(message(body="Something else."))
    await twilio.send(message(sender="+14155550199"))
    await twilio.send(message("+12025550148"))
    await twilio.send(message(channel="voice"))
    assert await twilio.find(message()) is None


async def test_an_older_message_with_the_same_text_is_not_taken_for_it(providers, twilio_of):
    twilio = twilio_of(providers)
    await twilio.send(message())
    providers.ledger.entries[0].created -= timedelta(minutes=5)
    assert await twilio.find(message()) is None


async def test_a_message_with_the_same_text_that_belongs_to_another_is_not_taken_for_it(providers, twilio_of):
    await twilio_of(providers).send(message())
    sid = providers.ledger.entries[0].id

    async def known(provider, ids, reference):
        assert (provider, list(ids)) == ("twilio", [sid])
        return {sid: reference == "c1"}

    assert await twilio_of(providers, known).find(message(reference="c2")) is None
    assert await twilio_of(providers, known).find(message()) == Accepted(sid, "queued")


async def test_an_earlier_try_that_has_failed_is_not_taken_for_it(providers, twilio_of):
    async def known(_provider, ids, _reference):
        return dict.fromkeys(ids, True)

    twilio = twilio_of(providers, known)
    await twilio.send(message())
    await providers.twilio.report(providers.ledger.entries[0].id, "undelivered", error=30008)
    assert await twilio.find(message()) is None


async def test_a_message_that_has_failed_before_anybody_asked_is_refused_with_the_reason(providers, twilio_of):
    twilio = twilio_of(providers)
    await twilio.send(message())
    await providers.twilio.report(providers.ledger.entries[0].id, "undelivered", error=30005)
    assert await twilio.find(message()) == Refused("address", "30005", "")


async def test_a_template_is_found_by_what_its_variables_say(providers, twilio_of):
    twilio = twilio_of(providers)
    sent = message(channel="whatsapp", content_sid=CONTENT, content_variables={"1": "Ana", "2": "9:30 AM"})
    await twilio.send(sent)
    providers.ledger.entries[0].body = "Hi Ana! See you at 9:30\u202fAM."
    assert await twilio.find(sent) == Accepted(providers.ledger.entries[0].id, "queued")
    other = message(channel="whatsapp", content_sid=CONTENT, content_variables={"1": "Ana", "2": "10:30"})
    assert await twilio.find(other) is None


async def test_a_template_whose_variables_are_not_at_hand_is_found_by_number_and_time(providers, twilio_of):
    twilio = twilio_of(providers)
    for body in ("Something else", "Hi Ana! See you at nine."):
        await twilio.send(message(channel="whatsapp", body=body))
    asked = message(channel="whatsapp", content_sid=CONTENT, body="See you at nine.")
    assert await twilio.find(asked) == Accepted(providers.ledger.entries[1].id, "queued"), "what fits best goes first"
    asked = message(channel="whatsapp", content_sid=CONTENT, body="")
    assert await twilio.find(asked) == Accepted(providers.ledger.entries[0].id, "queued")


async def test_a_text_is_found_as_twilio_has_changed_it(providers, twilio_of):
    twilio = twilio_of(providers)
    sent = message(body="It\u2019s  tomorrow \u2014 \u201cbring it\u201d\u2026")
    await twilio.send(sent)
    providers.ledger.entries[0].body = 'Sent from your Twilio trial account - It\'s tomorrow - "bring it"...'
    assert await twilio.find(sent) == Accepted(providers.ledger.entries[0].id, "queued")


async def test_nothing_is_concluded_from_a_provider_that_can_not_be_asked(providers, twilio_of):
    providers.behaviour.outage = True
    outcome = await twilio_of(providers).find(message())
    assert isinstance(outcome, Unknown)
    assert TO not in outcome.text


async def test_the_status_of_a_message_is_fetched(providers, twilio_of):
    twilio = twilio_of(providers)
    sid = (await twilio.send(message())).provider_id
    await providers.twilio.report(sid, "delivered")
    receipt = await twilio.status(message(), sid)
    at = providers.ledger.entries[0].updated.replace(microsecond=0)
    assert receipt == Receipt(f"twilio:{sid}:delivered", "delivered", at, "c1", sid)


async def test_the_status_of_a_message_that_failed_says_why(providers, twilio_of):
    twilio = twilio_of(providers)
    sid = (await twilio.send(message())).provider_id
    await providers.twilio.report(sid, "undelivered", error=30003)
    receipt = await twilio.status(message(), sid)
    assert (receipt.status, receipt.failure, receipt.code) == ("failed", "transient", "30003")


@pytest.mark.parametrize(
    ("status", "expected", "failure"),
    [
        ("in-progress", "sent", None),
        ("completed", "delivered", None),
        ("busy", "failed", "transient"),
        ("no-answer", "failed", "transient"),
        ("canceled", "failed", "content"),
    ],
)
async def test_the_status_of_a_call_is_fetched(providers, twilio_of, status, expected, failure):
    twilio = twilio_of(providers)
    call = message(channel="voice")
    sid = (await twilio.send(call)).provider_id
    await providers.twilio.report(sid, status)
    receipt = await twilio.status(call, sid)
    assert (receipt.status, receipt.failure) == (expected, failure)
    assert receipt.code == (status if failure else "")


async def test_the_status_of_a_message_that_twilio_does_not_have_can_not_be_told(providers, twilio_of):
    assert await twilio_of(providers).status(message(), "SM" + "0" * 32) is None


async def test_the_status_can_not_be_told_while_twilio_can_not_be_asked(providers, twilio_of):
    twilio = twilio_of(providers)
    sid = (await twilio.send(message())).provider_id
    providers.behaviour.outage = True
    assert await twilio.status(message(), sid) is None


async def test_an_answer_of_something_in_front_of_twilio_leaves_the_outcome_open(twilio_of):
    async def gateway(_request):
        return Response(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"})

    server = HttpServer(gateway)
    await server.start()
    outcome = await twilio_of(None, url=f"http://127.0.0.1:{server.port}").send(message())
    assert outcome == Unknown("Twilio answered 502 without a code.")
    await server.stop()


async def test_an_answer_that_can_not_be_read_leaves_the_outcome_open(twilio_of):
    async def broken(_request):
        return Response(201, b"<html>", {"Content-Type": "application/json"})

    server = HttpServer(broken)
    await server.start()
    outcome = await twilio_of(None, url=f"http://127.0.0.1:{server.port}").send(message())
    assert outcome == Unknown("Twilio's answer can not be read.")
    await server.stop()


async def test_nothing_of_a_message_is_logged(providers, twilio_of, caplog):
    caplog.set_level("INFO")
    await twilio_of(providers).send(message())
    await twilio_of(providers).find(message())
    assert TO not in caplog.text
    assert "appointment" not in caplog.text


async def test_a_twilio_that_shows_a_certificate_that_is_not_trusted_gets_nothing(twilio_of, certificates):
    async def accept(_request):
        raise AssertionError

    server = HttpServer(accept)
    await server.start(tls=certificates[0])
    outcome = await twilio_of(None, url=f"https://127.0.0.1:{server.port}").send(message())
    assert (outcome.failure, outcome.code) == ("transient", "connection")
    await server.stop()
