"""Email by boto3 and Amazon SES, against a server that speaks its protocol."""

import base64
import email
from collections.abc import AsyncIterator, Callable
from email.policy import default

import pytest

from prm_ext.notifications.channels.accounts import SesRegion
from prm_ext.notifications.channels.channel import Accepted, Media, Message, Refused, Unknown
from prm_ext.notifications.channels.errors import Errors
from prm_ext.notifications.channels.ses import Ses
from tests.providers.stand_ins import StandIns, running
from tests.providers.wire import HttpServer

TO, FROM = "ana@example.org", "Clinic <no-reply@clinic.example.org>"


def message(to: str = TO, **values) -> Message:
    given = {"tenant": "acme", "reference": "c1", "channel": "email", "to": to, "sender": FROM, "body": "Hello Ana."}
    return Message(**(given | {"subject": "Your appointment"} | values))


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
async def ses_of(threads, credentials) -> AsyncIterator[Callable[..., Ses]]:
    del credentials
    made: list[Ses] = []

    def make(providers: StandIns | None, *, url: str = "", configuration_set: str = "prm") -> Ses:
        region = SesRegion("us-east-1", providers.url if providers else url, 0.5, configuration_set)
        made.append(Ses(region, threads=threads, errors=Errors()))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def test_an_email_is_accepted_with_our_reference_as_a_tag(providers, ses_of):
    outcome = await ses_of(providers).send(message(html="<p>Hello Ana.</p>"))
    (entry,) = providers.ledger.entries
    assert outcome == Accepted(entry.id)
    assert (entry.to, entry.sender, entry.subject, entry.body, entry.reference) == (
        TO,
        FROM,
        "Your appointment",
        "Hello Ana.",
        "c1",
    )
    assert entry.raw["ConfigurationSetName"] == "prm"
    assert entry.raw["Content"]["Simple"]["Body"]["Html"]["Data"] == "<p>Hello Ana.</p>"


async def test_answers_go_to_the_address_for_them_and_machines_are_told_not_to_answer(providers, ses_of):
    await ses_of(providers).send(message(reply_to="Clinic <reply+c1@parse.example.org>"))
    content = providers.ledger.entries[0].raw["Content"]["Raw"]["Data"]
    parsed = email.message_from_bytes(base64.b64decode(content), policy=default)
    assert (parsed["Reply-To"], parsed["Auto-Submitted"]) == ("Clinic <reply+c1@parse.example.org>", "auto-generated")


async def test_an_email_with_headers_and_files_goes_as_mime(providers, ses_of):
    providers.twilio.media["a"] = ("application/pdf", b"%PDF-1.7")
    media = (Media(f"{providers.url}/media-cdn/a", "application/pdf", "result.pdf"),)
    await ses_of(providers).send(message(html="<p>Hi</p>", media=media, unsubscribe_url="https://prm.example.org/u/abc"))
    (entry,) = providers.ledger.entries
    parsed = email.message_from_bytes(base64.b64decode(entry.raw["Content"]["Raw"]["Data"]), policy=default)
    assert (parsed["From"], parsed["To"], parsed["Subject"]) == (FROM, TO, "Your appointment")
    assert parsed["List-Unsubscribe"] == "<https://prm.example.org/u/abc>"
    assert parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert [part.get_content_type() for part in parsed.walk()] == [
        *("multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/pdf"),
    ]
    assert entry.reference == "c1"


async def test_a_reference_that_can_not_be_a_tag_is_left_out(providers, ses_of):
    assert isinstance(await ses_of(providers).send(message(reference="a.b")), Accepted)
    assert "EmailTags" not in providers.ledger.entries[0].raw


@pytest.mark.parametrize(
    ("to", "failure", "code", "pause"),
    [
        ("rejected@example.org", "content", "MessageRejected", None),
        ("toomany@example.org", "transient", "TooManyRequestsException", None),
        ("paused@example.org", "transient", "SendingPausedException", 3600.0),
        ("failing@example.org", "transient", "InternalServiceErrorException", None),
    ],
)
async def test_what_ses_refuses_has_a_class_and_names_nobody(providers, ses_of, to, failure, code, pause):
    outcome = await ses_of(providers).send(message(to))
    assert (outcome.failure, outcome.code, outcome.retry_after) == (failure, code, pause)
    assert "example.org" not in outcome.text
    assert providers.ledger.refused[code] == 1, "the SDK has tried again by itself"


async def test_what_is_no_address_is_not_sent_to_ses(providers, ses_of):
    outcome = await ses_of(providers).send(message("nobody"))
    assert outcome == Refused("address", "address", "The sender or the recipient is no email address.")


async def test_an_outage_of_ses_is_transient(providers, ses_of):
    providers.behaviour.outage = True
    assert (await ses_of(providers).send(message())).failure == "transient"


async def test_an_ses_that_can_not_be_reached_has_taken_nothing(ses_of):
    async with running() as gone:
        url = gone.url
    outcome = await ses_of(None, url=url).send(message())
    assert outcome == Refused("transient", "connection", "SES can not be reached: EndpointConnectionError")


@pytest.mark.parametrize("to", ["gateway@example.org", "never@example.org", "lost@example.org"])
async def test_an_email_that_ses_does_not_answer_leaves_the_outcome_open(providers, ses_of, to):
    outcome = await ses_of(providers).send(message(to))
    assert isinstance(outcome, Unknown)
    assert to not in outcome.text
    assert len(providers.ledger.entries) == (1 if to.startswith("lost") else 0), "the SDK has tried again by itself"


async def test_ses_can_not_be_asked(providers, ses_of):
    ses = ses_of(providers)
    assert not ses.looks_up
    assert isinstance(await ses.find(message()), Unknown)
    assert await ses.status(message(), "id") is None


async def test_reports_come_by_a_configuration_set(providers, ses_of):
    assert ses_of(providers).reports
    assert not ses_of(providers, configuration_set="").reports


async def test_without_credentials_nothing_is_sent(providers, threads, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    ses = Ses(SesRegion("us-east-1", providers.url, 0.5), threads=threads, errors=Errors())
    outcome = await ses.send(message())
    assert outcome == Refused("content", "credentials", "There are no AWS credentials: give them as boto3 takes them.")
    await ses.close()


async def test_an_ses_that_shows_a_certificate_that_is_not_trusted_gets_nothing(ses_of, certificates):
    async def accept(_request):
        raise AssertionError

    server = HttpServer(accept)
    await server.start(tls=certificates[0])
    outcome = await ses_of(None, url=f"https://127.0.0.1:{server.port}").send(message())
    assert (outcome.failure, outcome.code) == ("transient", "connection")
    await server.stop()
