"""What is written in an answer is told from what it quotes, in the ways in which mail programs write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm_ext.notifications.mailbox.quoting import reply_of

ANSWERS = {
    "Gmail": "CONFIRM\n\nOn Tue, Nov 24, 2026 at 10:12 AM Clinic <reply@parse.example.org> wrote:\n\n> Hello\n> Elena",
    "Gmail, in two lines": "CONFIRM\n\nOn Tue, Nov 24, 2026 at 10:12 AM Clinic\n<reply@parse.example.org> wrote:\n\n> Hello",
    "Apple Mail": "CONFIRM\n\n> On 24 Nov 2026, at 10:12, Clinic wrote:\n> \n> Hello",
    "Outlook": "CONFIRM\n\n________________________________\nFrom: Clinic <reply@parse.example.org>\nSent: Tuesday\n\nHello",
    "Outlook, old": "CONFIRM\r\n\r\n-----Original Message-----\r\nFrom: Clinic [mailto:reply@parse.example.org]\r\nHello",
    "Outlook, without a line": "CONFIRM\n\nFrom: Clinic <reply@parse.example.org>\nSent: Tuesday\nTo: Elena\n\nHello",
    "Outlook in German": "CONFIRM\n\nVon: Klinik <reply@parse.example.org>\nGesendet: Dienstag\n\nHallo",
    "Gmail in Spanish": "CONFIRM\n\nEl mar, 24 nov 2026 a las 10:12, Clínica (<reply@parse.example.org>) escribió:\n\n> Hola",
    "Gmail in French": "CONFIRM\n\nLe mar. 24 nov. 2026 à 10:12, Clinique <reply@parse.example.org> a écrit :\n\n> Bonjour",
    "Gmail in Japanese": "CONFIRM\n\n2026年11月24日(火) 10:12 Clinic <reply@parse.example.org>:\n\n> こんにちは",
    "QQ": "CONFIRM\n\n发件人: Clinic <reply@parse.example.org>\n发送时间: 2026\n\n你好",
    "a phone": "CONFIRM\n\nSent from my iPhone",
    "a phone in Spanish": "CONFIRM\n\nEnviado desde mi iPhone\n\n> Hola",
    "a signature": "CONFIRM\n-- \nElena Garcia\n+1 415 555 0132",
    "below what it quotes": "On 24 Nov 2026 at 10:12, Clinic <reply@parse.example.org> wrote:\n> Hello\n> Elena\n\nCONFIRM",
    "nothing quoted": "  CONFIRM \n\n",
}


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_what_is_written_is_left(name: str) -> None:
    assert reply_of(ANSWERS[name]) == "CONFIRM"


@pytest.mark.parametrize(
    "text",
    [
        "I was there at 10:15: nobody came.\nCall me.",
        "My questions:\n\n1. When?\n2. Where?",
        "Dear doctor,\n\nfrom: Monday on I can not come.\n\nElena",
        "It hurts - a lot - when I walk",
        "--verbose",
    ],
)
def test_what_only_looks_alike_is_left_as_it_is(text: str) -> None:
    assert reply_of(text) == text


@given(
    st.text(max_size=400) | st.lists(st.sampled_from([*ANSWERS.values(), "> x\n", "\n", "On 10:12:\n"]), max_size=5).map("".join)
)
def test_nothing_is_written_that_was_not_there(text: str) -> None:
    found = reply_of(text)
    lines = {line.strip() for line in text.replace("\r\n", "\n").split("\n")}
    assert {line.strip() for line in found.split("\n")} <= lines | {""}
