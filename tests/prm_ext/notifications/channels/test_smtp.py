"""Email by SMTP, against aiosmtpd."""

import ssl
from collections.abc import AsyncIterator, Callable

import pytest

from prm_ext.notifications.channels.accounts import SmtpServer as Server
from prm_ext.notifications.channels.channel import Accepted, Media, Message, Refused, Unknown
from prm_ext.notifications.channels.errors import Errors
from prm_ext.notifications.channels.smtp import Smtp
from tests.providers.behaviour import Behaviour, Weather
from tests.providers.ledger import Ledger
from tests.providers.smtp_server import SmtpServer

TO, FROM = "ana@example.org", "Clinic <no-reply@clinic.example.org>"


def message(to: str = TO, **values) -> Message:
    given = {"tenant": "acme", "reference": "c1", "channel": "email", "to": to, "sender": FROM, "body": "Hello Ana."}
    return Message(**(given | {"subject": "Your appointment"} | values))


@pytest.fixture
async def smtp_of() -> AsyncIterator[Callable[..., Smtp]]:
    made: list[Smtp] = []

    def make(
        port: int, *, timeout: float = 1.0, trust: ssl.SSLContext | None = None, errors: Errors | None = None, **values
    ) -> Smtp:
        server = Server("127.0.0.1", port, timeout=timeout, **({"tls": "none"} | values))
        made.append(Smtp(server, errors=errors or Errors(), trust=trust))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def test_an_email_is_accepted_under_an_id_made_of_our_reference(providers, smtp_of):
    smtp = smtp_of(providers.smtp.port)
    outcome = await smtp.send(message(html="<p>Hello Ana.</p>", unsubscribe_url="https://prm.example.org/u/abc"))
    assert outcome == Accepted("<c1@clinic.example.org>", "sent")
    (entry,) = providers.ledger.entries
    assert (entry.id, entry.to, entry.sender) == ("<c1@clinic.example.org>", TO, "no-reply@clinic.example.org")
    assert (entry.subject, entry.body, entry.reference) == ("Your appointment", "Hello Ana.", "c1")
    assert entry.raw["parts"] == ["multipart/alternative", "text/plain", "text/html"]
    headers = entry.raw["headers"]
    assert headers["List-Unsubscribe"] == "<https://prm.example.org/u/abc>"
    assert headers["Auto-Submitted"] == "auto-generated"


async def test_files_go_with_an_email_by_smtp(providers, smtp_of):
    providers.twilio.media["a"] = ("image/png", b"\x89PNG")
    await smtp_of(providers.smtp.port).send(message(media=(Media(f"{providers.url}/media-cdn/a"),)))
    assert providers.ledger.entries[0].raw["parts"] == ["multipart/mixed", "text/plain", "image/png"]


@pytest.mark.parametrize(
    ("to", "failure", "code"),
    [
        ("invalid@example.org", "address", "5.1.1"),
        ("plain@example.org", "address", "550"),
        ("full@example.org", "transient", "5.2.2"),
        ("later@example.org", "transient", "4.2.1"),
        ("policy@example.org", "content", "5.7.1"),
        ("spam@example.org", "content", "5.7.1"),
        ("busy@example.org", "transient", "4.3.0"),
    ],
)
async def test_what_a_server_refuses_has_a_class_and_names_nobody(providers, smtp_of, to, failure, code):
    outcome = await smtp_of(providers.smtp.port).send(message(to))
    assert (outcome.failure, outcome.code) == (failure, code)
    assert "example.org" not in outcome.text
    assert providers.ledger.entries == []


async def test_what_a_code_means_can_be_set(providers, smtp_of):
    errors = Errors.of('{"smtp": {"5.7.1": "transient"}}')
    assert (await smtp_of(providers.smtp.port, errors=errors).send(message("spam@example.org"))).failure == "transient"


async def test_connections_are_kept_also_after_a_refusal(providers, smtp_of):
    smtp = smtp_of(providers.smtp.port)
    for to in (TO, "invalid@example.org", "spam@example.org", TO):
        await smtp.send(message(to))
    assert providers.smtp.sessions == 1
    assert len(providers.ledger.entries) == 2


async def test_a_connection_that_the_server_has_closed_is_made_again(smtp_of):
    server = SmtpServer(Ledger(), Weather(Behaviour()))
    await server.start()
    smtp = smtp_of(server.port)
    await smtp.send(message())
    smtp._idle[0][0].close()
    assert isinstance(await smtp.send(message()), Accepted)
    await smtp.close()
    await server.stop()
    assert server.sessions == 2


async def test_an_outage_of_an_smtp_server_is_transient(providers, smtp_of):
    providers.behaviour.outage = True
    assert (await smtp_of(providers.smtp.port).send(message())).failure == "transient"


async def test_an_smtp_server_that_can_not_be_reached_has_taken_nothing(smtp_of):
    server = SmtpServer(Ledger(), Weather(Behaviour()))
    await server.start()
    await server.stop()
    outcome = await smtp_of(server.port).send(message())
    assert outcome == Refused("transient", "connection", "The SMTP server can not be reached: SMTPConnectError")


@pytest.mark.parametrize(("to", "accepted"), [("lost@example.org", 1), ("never@example.org", 0)])
async def test_an_email_without_an_answer_to_its_content_leaves_the_outcome_open(providers, smtp_of, to, accepted):
    outcome = await smtp_of(providers.smtp.port, timeout=0.3).send(message(to))
    assert isinstance(outcome, Unknown)
    assert to not in outcome.text
    assert len(providers.ledger.entries) == accepted


@pytest.mark.parametrize("to", ["nobody", "a b@example.org", "ána@example.org"])
async def test_an_address_that_smtp_does_not_take_is_not_sent(providers, smtp_of, to):
    assert (await smtp_of(providers.smtp.port).send(message(to))).failure == "address"
    assert providers.ledger.entries == []


async def test_a_domain_is_sent_in_ascii(providers, smtp_of):
    await smtp_of(providers.smtp.port).send(message("ana@bücher.example"))
    assert providers.ledger.entries[0].to == "ana@xn--bcher-kva.example"


async def test_an_smtp_server_can_not_be_asked(providers, smtp_of):
    smtp = smtp_of(providers.smtp.port)
    assert (smtp.reports, smtp.looks_up) == (False, False)
    assert isinstance(await smtp.find(message()), Unknown)
    assert await smtp.status(message(), "id") is None


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_server_is_reached_by_tls_with_a_password(smtp_of, certificates, tls):
    server = SmtpServer(Ledger(), Weather(Behaviour()))
    await server.start(tls=certificates[0], implicit=tls == "tls", auth=True)
    smtp = smtp_of(server.port, tls=tls, trust=certificates[1], user="clinic", password="secret")
    assert await smtp.send(message()) == Accepted("<c1@clinic.example.org>", "sent")
    wrong = smtp_of(server.port, tls=tls, trust=certificates[1], user="clinic", password="wrong")
    outcome = await wrong.send(message())
    assert (outcome.failure, outcome.code) == ("content", "5.7.8")
    await smtp.close()
    await server.stop()


async def test_a_server_that_shows_a_certificate_that_is_not_trusted_gets_nothing(smtp_of, certificates):
    server = SmtpServer(Ledger(), Weather(Behaviour()))
    await server.start(tls=certificates[0], implicit=True)
    outcome = await smtp_of(server.port, tls="tls").send(message())
    assert (outcome.failure, outcome.code) == ("transient", "connection")
    assert server.ledger.entries == []
    await server.stop()


async def test_a_server_without_tls_gets_nothing_where_tls_is_wanted(providers, smtp_of):
    outcome = await smtp_of(providers.smtp.port, tls="starttls", user="clinic", password="secret").send(message())
    assert outcome.failure == "transient"
    assert providers.ledger.entries == []
