"""The links that end emails."""

import base64
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from lxml import html

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.exchange import Call, Context
from fhir_server.search.index import index_models
from fhir_server.search.vocabulary import WORDS
from fhir_server.store.database import Database
from prm_ext.notifications.answers import LANGUAGES, texts_of
from prm_ext.notifications.consent import objection
from prm_ext.notifications.unsubscribe import Ticket, tenant_of, ticket_of, unsubscribe_url
from tests.conftest import client_of

EMAIL = "elena.garcia@example.org"
BASE = "http://test"


@pytest.fixture
async def ctx(settings: Settings, database: Any) -> Context:
    """The context of what the server does by itself."""
    return await Contexts(Database(database, settings, index_models, WORDS), settings).of_tenant(settings.default_tenant)


@pytest.fixture
async def browser(settings: Settings, database: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without a token, at a server that asks for tokens."""
    values = {"extensions": "tests.prm_ext.notifications.unsubscribe_extension", "auth": "builtin"}
    values |= {"base_url": "https://prm.example.org/fhir"}
    async with client_of(settings.model_copy(update=values), database) as opened:
        yield opened


@pytest.fixture
async def patient(ctx: Context) -> str:
    """A patient."""
    reply = await ctx.dispatch(ctx, Call("create", "Patient", resource={"resourceType": "Patient"}))
    return f"Patient/{(reply.resource or {})['id']}"


async def link(ctx: Context, person: str = "", kind: str = "health-tips", address: str = EMAIL) -> str:
    return await unsubscribe_url(ctx, BASE, person=person, kind=kind, address=address)


async def wanted(ctx: Context, *people: str, kind: str = "health-tips", address: str = EMAIL) -> bool:
    return await objection(ctx, people, channel="email", sender="no-reply@example.org", kind=kind, address=address) is None


ONE_CLICK = {"List-Unsubscribe": "One-Click"}


async def test_one_click_ends_emails_of_the_kind_to_the_patient_without_a_token(
    browser: httpx.AsyncClient, ctx: Context, patient: str
):
    reply = await browser.post(await link(ctx, patient), data=ONE_CLICK)
    assert (reply.status_code, "set-cookie" in reply.headers) == (200, False)
    assert not await wanted(ctx, patient)
    assert not await wanted(ctx, patient, address="new@example.org")
    assert await wanted(ctx, patient, kind="appointment-reminder")
    assert await wanted(ctx, "Patient/another")


async def test_one_click_may_come_as_multipart_and_twice(browser: httpx.AsyncClient, ctx: Context, patient: str):
    for _ in range(2):
        reply = await browser.post(await link(ctx, patient), files={"List-Unsubscribe": (None, "One-Click")})
        assert reply.status_code == 200
    assert not await wanted(ctx, patient)


async def test_to_look_at_the_page_ends_nothing(browser: httpx.AsyncClient, ctx: Context, patient: str):
    reply = await browser.get(await link(ctx, patient))
    assert reply.status_code == 200
    assert await wanted(ctx, patient)


async def test_a_link_to_nobody_known_ends_emails_to_the_address(browser: httpx.AsyncClient, ctx: Context):
    await browser.post(await link(ctx), data=ONE_CLICK)
    assert not await wanted(ctx)
    assert not await wanted(ctx, "Patient/1")
    assert await wanted(ctx, kind="lab-results")
    assert await wanted(ctx, address="other@example.org")


async def test_all_emails_end_for_the_address_and_come_again(browser: httpx.AsyncClient, ctx: Context, patient: str):
    url = await link(ctx, patient)
    reply = await browser.post(url, data={"do": "all"})
    assert "You will get no more emails from Bay &lt;Clinic&gt;." in reply.text
    for kind in ("health-tips", "lab-results", "appointment-reminder"):
        assert not await wanted(ctx, patient, kind=kind)
        assert not await wanted(ctx, "Patient/another", kind=kind)
    assert buttons(reply) == [("undo-all", "Undo")]
    await browser.post(url, data={"do": "undo-all"})
    assert await wanted(ctx, patient, kind="lab-results")


async def test_what_was_ended_can_be_taken_back(browser: httpx.AsyncClient, ctx: Context, patient: str):
    for person in (patient, "", "RelatedPerson/9"):
        url = await link(ctx, person)
        reply = await browser.post(url, data={"do": "kind"})
        assert not await wanted(ctx, person)
        assert buttons(reply) == [("undo-kind", "Undo")]
        reply = await browser.post(url, data={"do": "undo-kind"})
        assert "You will get these emails again." in reply.text
        assert await wanted(ctx, person)


async def test_kinds_of_other_systems_can_be_ended(browser: httpx.AsyncClient, ctx: Context, patient: str):
    reply = await browser.post(await link(ctx, patient, kind="birthday-wishes"), data=ONE_CLICK)
    assert "birthday wishes" in reply.text
    assert not await wanted(ctx, patient, kind="birthday-wishes")
    assert await wanted(ctx, patient)


async def test_what_is_no_kind_at_all_is_ended_for_the_address(browser: httpx.AsyncClient, ctx: Context, patient: str):
    reply = await browser.post(await link(ctx, patient, kind="best wishes"), data=ONE_CLICK)
    assert reply.status_code == 200
    assert not await wanted(ctx, patient, kind="best wishes")


async def test_links_work_beside_all_other_routes_of_notifications(settings: Settings, database: Any, ctx: Context, patient: str):
    values = {"extensions": "prm_ext.notifications", "auth": "builtin", "base_url": "https://prm.example.org/fhir"}
    async with client_of(settings.model_copy(update=values), database) as opened:
        assert (await opened.get(f"{BASE}/api/v1/prm/notifications")).status_code == 401
        assert (await opened.get(await link(ctx, patient))).status_code == 200
        assert (await opened.post(await link(ctx, patient), data=ONE_CLICK)).status_code == 200
    assert not await wanted(ctx, patient)


def buttons(reply: httpx.Response) -> list[tuple[str, str]]:
    page = html.fromstring(reply.text)
    return [
        (form.xpath("string(.//input/@value)"), form.xpath("string(.//button)")) for form in page.xpath("//form[@method='post']")
    ]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_page_speaks_the_language_of_the_browser(browser: httpx.AsyncClient, ctx: Context, language: str):
    reply = await browser.get(await link(ctx), headers={"Accept-Language": f"xx, {language};q=0.9, en;q=0.1"})
    page, texts = html.fromstring(reply.text), texts_of(language)
    assert page.xpath("string(/html/@lang)") == reply.headers["content-language"] == language
    assert page.xpath("string(/html/@dir)") == ("rtl" if language == "ar" else "ltr")
    assert page.xpath("string(//h1)") == texts.page["question"]
    assert texts.kinds["health-tips"] in reply.text
    labels = [label for _, label in buttons(reply)]
    assert labels == [texts.page["stop_kind"], texts.page["stop_all"].replace("{organisation}", "Bay <Clinic>")]


@pytest.mark.parametrize("header", ["", "xx", "en-US,de;q=0.5", "de;q=x, en", "*", ",;,;q=;", "de;q=0.1,en;q=0.2"])
async def test_other_languages_are_english(browser: httpx.AsyncClient, ctx: Context, header: str):
    reply = await browser.get(await link(ctx), headers={"Accept-Language": header})
    assert reply.headers["content-language"] == "en"


async def test_the_page_can_be_used_by_everybody_and_framed_by_nobody(browser: httpx.AsyncClient, ctx: Context):
    reply = await browser.get(await link(ctx))
    page = html.fromstring(reply.text)
    assert page.xpath("count(//main)") == page.xpath("count(//h1)") == 1
    assert page.xpath("//meta[@name='viewport']")
    assert page.xpath("//script | //img | //link | //*[@onclick]") == []
    assert page.xpath("string(//title)") == "Unsubscribe"
    policy = reply.headers["content-security-policy"]
    nonce = page.xpath("string(//style/@nonce)")
    assert f"style-src 'nonce-{nonce}'" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cache-control"] == "no-store"


async def test_neither_link_nor_page_show_the_address(browser: httpx.AsyncClient, ctx: Context, patient: str):
    url = await link(ctx, patient)
    text = url.rpartition(".")[2]
    raw = base64.urlsafe_b64decode(text + "==")
    assert b"elena" not in raw
    assert patient.encode() not in raw
    assert re.fullmatch(r"[A-Za-z0-9_-]+", text)
    assert len(url) < 250
    reply = await browser.get(url)
    assert EMAIL not in reply.text
    assert "e…@example.org" in reply.text


async def test_the_link_of_a_message_is_always_the_same_and_that_of_another_is_another(ctx: Context):
    assert await link(ctx) == await link(ctx)
    found = {await link(ctx), await link(ctx, "Patient/1"), await link(ctx, kind="alert"), await link(ctx, address="a@b.example")}
    assert len(found) == 4
    assert await link(ctx, address="Elena <Elena.Garcia@example.org>") == await link(ctx)


async def test_a_link_says_what_it_is_about(ctx: Context):
    token = (await link(ctx, "Patient/1")).rpartition("/")[2]
    assert tenant_of(token) == ctx.tenant
    assert await ticket_of(ctx, token) == Ticket("Patient/1", "health-tips", "email", EMAIL)


async def test_a_link_of_another_tenant_or_an_altered_one_does_nothing(
    browser: httpx.AsyncClient, ctx: Context, settings: Settings, database: Any, patient: str
):
    good = await link(ctx, patient)
    other = await Contexts(Database(database, settings, index_models, WORDS), settings).of_tenant(f"{ctx.tenant}x")
    alien = (await link(other, patient)).replace(f"{other.tenant}.", f"{ctx.tenant}.")
    letter = "A" if good[-9] != "A" else "B"
    for url in (
        alien,
        await link(other, patient),
        good[:-9] + letter + good[-8:],
        good[:-1],
        good + "AAAA",
        good.rpartition(".")[0] + ".",
        f"{BASE}/api/v1/prm/notifications/unsubscribe/x",
        f"{BASE}/api/v1/prm/notifications/unsubscribe/{'x' * 3000}",
        f"{BASE}/api/v1/prm/notifications/unsubscribe/{ctx.tenant}.%C3%A9",
    ):
        for reply in (await browser.get(url), await browser.post(url, data=ONE_CLICK)):
            assert reply.status_code == 404, url
            assert "This link does not work." in reply.text
            assert buttons(reply) == []
    assert await wanted(ctx, patient)


async def test_a_form_that_is_too_large_or_strange_is_one_click(browser: httpx.AsyncClient, ctx: Context, patient: str):
    for content in (b"x" * 100_000, b"do=everything", b"\xff\xfe", b"do=undo-kind" + b"&" * 5000 + b"do=all"):
        reply = await browser.post(await link(ctx, patient), content=content)
        assert reply.status_code == 200


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(token=st.text("abcXYZ019-_.~", max_size=200))
async def test_no_token_that_was_not_made_here_is_believed(ctx: Context, token: str):
    assert await ticket_of(ctx, f"{ctx.tenant}.{token}") is None
