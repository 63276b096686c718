"""The outbox of a server without providers."""

import pytest

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import index_models
from fhir_server.store.database import Database
from prm_ext.notifications.channels.channel import Accepted, Media, Message
from prm_ext.notifications.channels.console import Console


@pytest.fixture
def console(settings, database) -> Console:
    return Console(Database(database, settings, index_models))


def message(tenant: str, reference: str, **values) -> Message:
    given = {"channel": "sms", "to": "+12025550147", "sender": "+14155550100", "body": "Hello", "subject": ""}
    return Message(tenant, f"{tenant}-{reference}", **(given | values))


async def test_a_message_lands_in_the_outbox_once(console, tenant):
    sent = message(tenant, "1", media=(Media("https://prm.example.org/a", "image/png"),), language="es")
    assert await console.send(sent) == Accepted(f"{tenant}-1", "delivered")
    assert await console.send(sent) == Accepted(f"{tenant}-1", "delivered")
    (found,) = (await console.outbox(tenant)).messages
    assert found.pop("at").tzinfo
    assert found == {
        "_id": f"{tenant}-1",
        "t": tenant,
        "channel": "sms",
        "to": "+12025550147",
        "sender": "+14155550100",
        "subject": "",
        "body": "Hello",
        "language": "es",
        "media": [{"url": "https://prm.example.org/a", "mime": "image/png", "name": ""}],
    }


async def test_a_template_is_kept_with_its_variables(console, tenant):
    await console.send(message(tenant, "1", channel="whatsapp", body="", content_sid="HX1", content_variables={"1": "Ana"}))
    (found,) = (await console.outbox(tenant)).messages
    assert found["content"] == {"sid": "HX1", "variables": {"1": "Ana"}}


async def test_a_message_is_found_by_its_reference(console, tenant):
    assert await console.find(message(tenant, "1")) is None
    await console.send(message(tenant, "1"))
    assert await console.find(message(tenant, "1")) == Accepted(f"{tenant}-1", "delivered")
    assert await console.find(message(tenant, "2")) is None


async def test_what_lies_in_the_outbox_is_delivered(console, tenant):
    assert await console.status(message(tenant, "1"), f"{tenant}-1") is None
    await console.send(message(tenant, "1"))
    receipt = await console.status(message(tenant, "1"), f"{tenant}-1")
    assert (receipt.key, receipt.status) == (f"console:{tenant}-1", "delivered")


async def test_the_outbox_is_read_page_by_page_the_newest_first(console, tenant):
    for number in range(5):
        await console.send(message(tenant, str(number)))
    await console.send(message(f"{tenant}x", "other"))
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = await console.outbox(tenant, limit=2, cursor=cursor)
        seen += [one["_id"] for one in page.messages]
        cursor = page.next
    assert cursor == ""
    assert sorted(seen) == [f"{tenant}-{number}" for number in range(5)]
    at = [(one["at"], one["_id"]) for one in (await console.outbox(tenant)).messages]
    assert at == sorted(at, reverse=True)
    assert [id_ for _, id_ in at] == seen


async def test_the_outbox_is_read_by_channel_and_recipient(console, tenant):
    await console.send(message(tenant, "1"))
    await console.send(message(tenant, "2", channel="email", to="ana@example.org"))
    assert [one["_id"] for one in (await console.outbox(tenant, channel="email")).messages] == [f"{tenant}-2"]
    assert [one["_id"] for one in (await console.outbox(tenant, to="+12025550147")).messages] == [f"{tenant}-1"]


@pytest.mark.parametrize("cursor", ["x", "e30=", "WzFd", "W251bGwsIDFd", "WzFlOTksICJhIl0="])
async def test_a_cursor_that_is_none_is_refused(console, tenant, cursor):
    with pytest.raises(FhirError, match="cursor") as caught:
        await console.outbox(tenant, cursor=cursor)
    assert caught.value.status == 400
