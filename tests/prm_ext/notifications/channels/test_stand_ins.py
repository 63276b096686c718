"""The stand-ins of providers: what tests and benchmarks rest on."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from twilio.rest import Client as Sdk

from prm_ext.notifications.channels.accounts import SendGridAccount, TwilioAccount
from prm_ext.notifications.channels.channel import Accepted, Message, Refused, Unknown
from prm_ext.notifications.channels.errors import Errors
from prm_ext.notifications.channels.reports import sendgrid_events, twilio_call, twilio_message
from prm_ext.notifications.channels.sendgrid import SendGrid
from prm_ext.notifications.channels.signatures import Form, sendgrid_signed, twilio_signed
from prm_ext.notifications.channels.twilio import Twilio
from tests.providers import twilio_magic as magic
from tests.providers.stand_ins import ACCOUNT, KEY, TOKEN, running
from tests.providers.wire import HttpServer, Request, Response

PUBLIC = "https://prm.example.org"
CALLBACK = f"{PUBLIC}/webhooks/twilio/acme/c1"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


async def nobody_knows(_provider, _ids, _reference):
    return {}


def message(to: str = "+12025550147", **values) -> Message:
    given = {"tenant": "acme", "reference": "c1", "channel": "sms", "to": to, "sender": "+14155550100", "body": "Hello"}
    return Message(**(given | {"callback_url": CALLBACK} | values))


class Receiver:
    """Keeps the webhooks that it gets."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.server = HttpServer(self._take)

    async def _take(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(200, b"<Response/>", {"Content-Type": "text/xml"})

    @property
    def reroute(self) -> dict[str, str]:
        """Leads the public URL here."""
        return {PUBLIC: f"http://127.0.0.1:{self.server.port}"}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.server.start()
    yield made
    await made.server.stop()


def twilio_at(url: str, threads) -> Twilio:
    return Twilio(TwilioAccount(ACCOUNT, TOKEN, url, 1.0), threads=threads, errors=Errors(), known=nobody_knows)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("in order", ["sent", "delivered", "read"]),
        ("reversed", ["read", "delivered", "sent"]),
        ("twice", ["sent", "sent", "delivered", "delivered", "read", "read"]),
    ],
)
async def test_the_life_of_a_message_is_reported_with_signatures(receiver, threads, order, expected):
    async with running(reroute=receiver.reroute) as providers:
        providers.behaviour.order = order
        twilio = twilio_at(providers.url, threads)
        await twilio.send(message(channel="whatsapp"))
        await providers.callbacks.idle()
        await twilio.close()
    receipts = []
    for one in receiver.requests:
        assert twilio_signed(CALLBACK, one.body, one.headers, [TOKEN])
        receipts.append(twilio_message(Form(one.body).first(), "c1", NOW, Errors()))
    assert [one.status for one in receipts] == expected
    assert len({one.key for one in receipts}) == 3


@pytest.mark.parametrize(
    ("to", "channel", "expected", "failure"),
    [
        ("+15005553003", "sms", ["sent", "failed"], "transient"),
        ("+15005553005", "sms", ["sent", "failed"], "address"),
        ("+15005556324", "whatsapp", ["sent", "failed"], "channel"),
        ("+12025550147", "voice", ["sending", "sending", "sent", "delivered"], None),
        ("+15005550486", "voice", ["sending", "sending", "failed"], "transient"),
    ],
)
async def test_how_a_message_or_call_ends_is_reported(receiver, threads, to, channel, expected, failure):
    async with running(reroute=receiver.reroute) as providers:
        twilio = twilio_at(providers.url, threads)
        await twilio.send(message(to, channel=channel))
        await providers.callbacks.idle()
        await twilio.close()
    read = twilio_call if channel == "voice" else twilio_message
    receipts = [read(Form(one.body).first(), "c1", NOW, Errors()) for one in receiver.requests]
    assert [one.status for one in receipts] == expected
    assert receipts[-1].failure == failure


async def test_events_of_sendgrid_come_signed_and_in_batches(receiver, threads):
    async with running(reroute=receiver.reroute) as providers:
        providers.sendgrid.webhook = f"{PUBLIC}/webhooks/sendgrid"
        sendgrid = SendGrid(SendGridAccount(KEY, providers.url, 1.0), threads=threads, errors=Errors())
        for reference, to in (("1", "ana@example.org"), ("2", "bounce@example.org"), ("3", "unsubscribed@example.org")):
            await sendgrid.send(message(to, channel="email", sender="no-reply@example.org", reference=reference))
        await providers.callbacks.idle()
        await sendgrid.close()
        receipts = []
        for one in receiver.requests:
            assert sendgrid_signed(one.body, one.headers, providers.sendgrid.public_key, datetime.now(UTC))
            receipts += list(sendgrid_events(one.json, NOW, Errors()))
    assert {(one.reference, one.status, one.failure) for one in receipts} == {
        ("1", "sending", None),
        ("1", "delivered", None),
        ("2", "sending", None),
        ("2", "failed", "address"),
        ("3", "sending", None),
        ("3", "failed", "opted-out"),
    }


async def test_a_message_with_media_comes_in_and_its_files_can_be_fetched(receiver):
    async with running(reroute=receiver.reroute) as providers:
        url = f"{PUBLIC}/webhooks/twilio/acme"
        answer = await providers.twilio.receive(
            url, "whatsapp:+12025550147", "whatsapp:+14155550101", "Here", (("image/png", b"\x89PNG"),)
        )
        assert answer.text == "<Response/>"
        (request,) = receiver.requests
        assert twilio_signed(url, request.body, request.headers, [TOKEN])
        form = Form(request.body).first()
        assert (form["From"], form["Body"], form["NumMedia"], form["MediaContentType0"]) == (
            *("whatsapp:+12025550147", "Here", "1", "image/png"),
        )
        async with httpx.AsyncClient(follow_redirects=True) as client:
            assert (await client.get(form["MediaUrl0"])).status_code == 401
            got = await client.get(form["MediaUrl0"], auth=(ACCOUNT, TOKEN))
            assert (got.content, got.headers["content-type"]) == (b"\x89PNG", "image/png")


async def test_lists_are_paged_and_filtered_as_the_sdk_asks(providers, threads):
    twilio = twilio_at(providers.url, threads)
    for number in range(5):
        await twilio.send(message(body=f"Hello {number}"))
    await twilio.send(message("+12025550148"))
    sdk = twilio._sdk
    found = await asyncio.to_thread(sdk.messages.list, to="+12025550147", page_size=2)
    assert [one.body for one in found] == [f"Hello {number}" for number in (4, 3, 2, 1, 0)]
    assert await asyncio.to_thread(sdk.messages.list, date_sent_after=datetime(2020, 1, 1, tzinfo=UTC)) == [], (
        "none has been sent yet"
    )
    await providers.twilio.report(providers.ledger.entries[0].id, "sent")
    found = await asyncio.to_thread(sdk.messages.list, date_sent_after=datetime(2020, 1, 1, tzinfo=UTC))
    assert [one.body for one in found] == ["Hello 0"]
    assert isinstance(sdk, Sdk)
    await twilio.close()


async def test_what_goes_wrong_is_the_same_for_the_same_seed(threads):
    outcomes = []
    for _ in range(2):
        async with running() as providers:
            providers.behaviour.change({"errors": 0.3, "lost": 0.2, "life": False})
            twilio = twilio_at(providers.url, threads)
            outcomes.append([type(await twilio.send(message(f"+1202555{number:04}"))) for number in range(40)])
            accepted = len(providers.ledger.entries)
            await twilio.close()
    assert outcomes[0] == outcomes[1]
    assert set(outcomes[0]) == {Accepted, Refused, Unknown}
    assert accepted == 40 - outcomes[1].count(Refused)


async def test_however_answers_are_lost_each_message_goes_once(threads):
    """Sixty messages with the same text to three numbers, half of them without an answer or refused for now."""
    owners: dict[str, str] = {}

    async def known(_provider, ids, reference):
        return {one: owners[one] == reference for one in ids if one in owners}

    async with running() as providers:
        providers.behaviour.change({"errors": 0.2, "lost": 0.3, "life": False, "seed": 5})
        account = TwilioAccount(ACCOUNT, TOKEN, providers.url, 1.0)
        twilio = Twilio(account, threads=threads, errors=Errors(), known=known)
        waiting = [message(f"+1202555000{number % 3}", reference=f"c{number}", callback_url="") for number in range(60)]
        looked_up = 0
        while waiting:
            outcomes = await asyncio.gather(*(twilio.send(one) for one in waiting))
            again = [one for one, outcome in zip(waiting, outcomes, strict=True) if isinstance(outcome, Refused)]
            owners |= {
                one.provider_id: sent.reference for sent, one in zip(waiting, outcomes, strict=True) if isinstance(one, Accepted)
            }
            for one in (sent for sent, outcome in zip(waiting, outcomes, strict=True) if isinstance(outcome, Unknown)):
                looked_up += 1
                found = await twilio.find(one)
                assert isinstance(found, Accepted)
                owners[found.provider_id] = one.reference
            waiting = again
        await twilio.close()
        assert looked_up > 5
        assert providers.ledger.refused.total() > 5
        assert sorted(owners.values()) == sorted(f"c{number}" for number in range(60))
        assert {key: len(providers.ledger.of(key)) for key in providers.ledger.duplicates()} == {
            f"sms|+1202555000{number}|Hello": 20 for number in range(3)
        }


async def test_a_sender_that_sends_too_much_is_refused(providers, threads):
    providers.behaviour.rate = 2
    twilio = twilio_at(providers.url, threads)
    outcomes = await asyncio.gather(*(twilio.send(message(f"+1202555000{number}")) for number in range(4)))
    assert sorted(type(one).__name__ for one in outcomes) == ["Accepted", "Accepted", "Refused", "Refused"]
    assert {one.retry_after for one in outcomes if isinstance(one, Refused)} == {1.0}
    assert isinstance(await twilio.send(message(sender="+14155550199")), Accepted)
    await twilio.close()


async def test_the_ledger_counts_what_was_accepted_twice(providers, threads):
    twilio = twilio_at(providers.url, threads)
    await twilio.send(message())
    await twilio.send(message())
    await twilio.send(message(magic.INVALID, callback_url=f"{CALLBACK}2"))
    await twilio.close()
    async with httpx.AsyncClient(base_url=providers.url) as client:
        ledger = (await client.get("/ledger")).json()
        assert (ledger["accepted"], ledger["distinct"], ledger["duplicates"]) == (2, 1, {"c1": 2})
        assert ledger["refused"] == {"21211": 1}
        assert (await client.post("/behaviour", json={"outage": True})).status_code == 204
        assert (await client.post("/behaviour", json={"outages": True})).status_code == 400
        assert (await client.delete("/ledger")).status_code == 204
        assert (await client.get("/ledger")).json()["accepted"] == 0
        assert (await client.get("/nothing")).status_code == 404
    assert providers.behaviour.outage


async def test_the_stand_ins_run_as_a_process(threads):
    arguments = ("-m", "tests.providers", "--latency", "0.01", "--seed", "7", "--no-life")
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    told = json.loads(await process.stdout.readline())
    twilio = twilio_at(told["url"], threads)
    assert isinstance(await twilio.send(message()), Accepted)
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{told['url']}/ledger")).json()["accepted"] == 1
    await twilio.close()
    process.terminate()
    assert await process.wait() == 0
