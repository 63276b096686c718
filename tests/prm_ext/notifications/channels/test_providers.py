"""Who delivers for a tenant, by its settings."""

import json

import pytest

from fhir_server.search.index import index_models
from fhir_server.store.database import Database
from prm_ext.notifications.channels.channel import Accepted, Message, Unknown
from prm_ext.notifications.channels.checking import examine
from prm_ext.notifications.channels.configuration import problems
from prm_ext.notifications.channels.console import Console
from prm_ext.notifications.channels.providers import Providers
from prm_ext.notifications.channels.sendgrid import SendGrid
from prm_ext.notifications.channels.ses import Ses
from prm_ext.notifications.channels.smtp import Smtp
from prm_ext.notifications.channels.twilio import Twilio
from prm_ext.notifications.records import COLLECTION
from prm_ext.notifications.settings import NotificationSettings
from tests.providers import twilio_magic as magic
from tests.providers.stand_ins import StandIns

REAL = StandIns().settings | {
    "twilio_base_url": "",
    "sms": "twilio",
    "whatsapp": "twilio",
    "voice": "twilio",
    "email": "sendgrid",
}


def settings_of(**values) -> NotificationSettings:
    return NotificationSettings(_env_file=None, **values)


@pytest.fixture
async def providers_of(settings, database):
    made: list[Providers] = []

    def make(**values) -> Providers:
        made.append(Providers(settings_of(**values), Database(database, settings, index_models)))
        return made[-1]

    yield make
    for one in made:
        await one.close()


def test_without_settings_everything_goes_to_the_console(providers_of):
    providers = providers_of()
    for channel in ("whatsapp", "sms", "voice", "email"):
        provider, sender = providers.of("acme", channel)
        assert isinstance(provider, Console)
        assert sender == "console"
        assert providers.reason("acme", channel) == ""


def test_each_channel_has_its_provider_and_sender(providers_of):
    providers = providers_of(**REAL)
    found = {channel: providers.of("acme", channel) for channel in ("whatsapp", "sms", "voice", "email")}
    assert [type(one[0]) for one in found.values()] == [Twilio, Twilio, Twilio, SendGrid]
    assert [one[1] for one in found.values()] == [
        *("+14155550101", "+14155550100", "+14155550102", "Clinic <no-reply@example.org>")
    ]
    assert len({id(one[0]) for one in found.values()}) == 2


@pytest.mark.parametrize(("name", "kind"), [("ses", Ses), ("smtp", Smtp)])
def test_emails_have_other_providers(providers_of, name, kind):
    provider, _ = providers_of(**(REAL | {"email": name})).of("acme", "email")
    assert isinstance(provider, kind)
    assert provider.name == name


def test_a_channel_that_is_off_has_nobody(providers_of):
    providers = providers_of(sms="off")
    assert providers.of("acme", "sms") is None
    assert providers.reason("acme", "sms") == "The channel sms is off."


def test_a_channel_that_is_not_configured_has_nobody_for_a_reason(providers_of):
    providers = providers_of(sms="twilio", sms_from="+14155550100", twilio_auth_token="secret-token")
    assert providers.of("acme", "sms") is None
    assert (
        providers.reason("acme", "sms") == "PRM_NOTIFY_TWILIO_ACCOUNT_SID is no account of Twilio: AC and 32 hexadecimal digits."
    )


def test_tenants_with_the_same_account_share_a_provider(providers_of):
    others = {
        "one": {"sms_from": "+14155550111"},
        "two": {"twilio_account_sid": "AC" + "f" * 32},
        "three": {"error_classes": '{"twilio": {"1": "content"}}'},
    }
    providers = providers_of(**REAL, tenants=json.dumps(others))
    first = providers.of("acme", "sms")
    assert providers.of("one", "sms") == (first[0], "+14155550111")
    assert providers.of("two", "sms")[0] is not first[0]
    assert providers.of("three", "sms")[0] is not first[0]
    assert providers.errors("three").classify("twilio", "1").failure == "content"
    assert providers.errors("acme").classify("twilio", "1").failure == "transient"


@pytest.mark.parametrize(
    ("channel", "values", "said"),
    [
        ("sms", {"sms_from": ""}, "PRM_NOTIFY_SMS_FROM is not set"),
        ("sms", {"sms_from": "12025550147890"}, "PRM_NOTIFY_SMS_FROM is no phone number"),
        ("sms", {"twilio_account_sid": "AC1"}, "PRM_NOTIFY_TWILIO_ACCOUNT_SID"),
        ("sms", {"twilio_auth_token": ""}, "PRM_NOTIFY_TWILIO_AUTH_TOKEN"),
        ("whatsapp", {"whatsapp_from": "Clinic"}, "PRM_NOTIFY_WHATSAPP_FROM is no phone number"),
        ("voice", {"voice_from": "MG" + "0" * 32}, "PRM_NOTIFY_VOICE_FROM is no phone number"),
        ("email", {"email_from": "Clinic"}, "PRM_NOTIFY_EMAIL_FROM is no email address"),
        ("email", {"sendgrid_key": ""}, "PRM_NOTIFY_SENDGRID_KEY"),
        ("email", {"email": "ses", "ses_region": ""}, "PRM_NOTIFY_SES_REGION"),
        ("email", {"email": "smtp", "smtp_host": ""}, "PRM_NOTIFY_SMTP_HOST"),
        ("email", {"email": "smtp", "smtp_user": "clinic"}, "PRM_NOTIFY_SMTP_USER"),
    ],
)
def test_settings_that_can_not_work_are_told(channel, values, said):
    (found,) = problems(settings_of(**(REAL | values)), channel)
    assert said in found
    assert "twilio-auth-token" not in found
    assert [one for one in examine(settings_of(**(REAL | values))) if not one.ok and said in one.found]


@pytest.mark.parametrize(
    ("channel", "sender"),
    [
        ("sms", "+14155550100"),
        ("sms", "MG" + "0" * 32),
        ("sms", "Clinic One"),
        ("sms", "12345"),
        ("whatsapp", "whatsapp:+14155550100"),
        ("whatsapp", "MG" + "0" * 32),
        ("voice", "+14155550100"),
        ("email", "no-reply@example.org"),
    ],
)
def test_senders_that_providers_take_are_taken(channel, sender):
    assert problems(settings_of(**(REAL | {f"{channel}_from": sender})), channel) == []


def test_findings_name_tenants_and_what_receipts_need():
    others = {"one": {"sms": "off"}, "two": {"email": "ses"}, "same": {}}
    found = {one.subject: one for one in examine(settings_of(**REAL, tenants=json.dumps(others)))}
    assert found["Notifications: sms"].found == "go to twilio"
    assert found["Notifications of one: sms"].found == "go to off"
    assert found["Notifications: events of SendGrid"].ok
    assert not found["Notifications of two: events of SES"].ok
    assert not [subject for subject in found if "same" in subject]
    unsigned = {one.subject: one for one in examine(settings_of(**(REAL | {"sendgrid_webhook_key": ""})))}
    assert not unsigned["Notifications: events of SendGrid"].ok


def message(tenant: str, reference: str, to: str = "+12025550147") -> Message:
    return Message(tenant, reference, "sms", to, "+14155550100", "The same text.")


async def test_what_belongs_to_another_delivery_is_not_taken_for_a_lost_message(providers, providers_of, database, tenant):
    """Two messages with the same text to the same number, of which one was accepted and one not."""
    twilio, _ = providers_of(**(providers.settings | {"sms": "twilio"})).of(tenant, "sms")
    first, second = message(tenant, f"{tenant}-1"), message(tenant, f"{tenant}-2")
    accepted = await twilio.send(first)
    assert await twilio.find(second) == accepted, "nobody knows yet whose it is"
    await database[COLLECTION].insert_one(
        {
            "_id": f"{tenant}/1",
            "t": tenant,
            "messages": [{"id": first.reference}],
            "provider_ids": [f"twilio|{accepted.provider_id}"],
        }
    )
    assert await twilio.find(second) is None
    assert await twilio.find(first) == accepted


async def test_providers_send_through_the_real_sdks(providers, providers_of, tenant):
    made = providers_of(**(providers.settings | {"sms": "twilio", "email": "smtp"}))
    sms, sender = made.of(tenant, "sms")
    sent = message(tenant, "c1")
    assert await sms.send(sent) == Accepted(providers.ledger.entries[0].id, "queued")
    assert sender == providers.ledger.entries[0].sender
    assert isinstance(await sms.send(message(tenant, "c2", magic.LOST_AND_CUT)), Unknown)
    email, sender = made.of(tenant, "email")
    outcome = await email.send(Message(tenant, "c3", "email", "ana@example.org", sender, "Hello"))
    assert outcome == Accepted("<c3@example.org>", "sent")
    assert [one.reference for one in providers.ledger.entries] == ["", "", "c3"]
