"""What the documents say of schedules and consents is what the code does."""

import json
import re
from pathlib import Path

from fhir_server.fhir.validate import validate
from prm_ext.notifications.channels.channel import CHANNELS
from prm_ext.notifications.clock import CLOCK_CODES, DEFAULT
from prm_ext.notifications.codes import KIND
from prm_ext.notifications.directives import PREFERENCES
from prm_ext.notifications.keywords import meaning
from prm_ext.notifications.provisions import ACTION, ADDRESS, CATEGORY, MARKETING, SENDER, Contact, denies
from prm_ext.notifications.timings import CODES
from tests.prm_ext.notifications.test_occurrences import NOW, due

ROOT = Path(__file__).parents[3]
SCHEDULES = (ROOT / "docs" / "notifications" / "schedules.md").read_text()
CONSENT = (ROOT / "docs" / "notifications" / "consent.md").read_text()


def test_every_clock_time_is_documented():
    table = SCHEDULES[SCHEDULES.index("### Clock times") :]
    cells = [cell.strip() for line in table.splitlines() if line.startswith("| `") for cell in line.strip("|").split("|")]
    said = dict(zip(cells[::2], cells[1::2], strict=True))
    times = {code: [f"{str(at)[:-3]:0>5}" for at in found] for code, found in DEFAULT.items()}
    assert {f"`{code}`": ", ".join(found) for code, found in times.items()} == {code: at for code, at in said.items() if code}


def test_every_code_of_a_timing_is_documented():
    assert {code for code in CODES if f"`{code}`" not in SCHEDULES} == set()
    assert {code for code in CLOCK_CODES if f"`{code}`" not in SCHEDULES and not re.fullmatch("[AP]C[MDV]", code)} == set()


def test_the_schedule_that_is_shown_can_be_scheduled():
    (example,) = re.findall(r"```json\n(.*?)```", SCHEDULES, re.DOTALL)
    assert due(**json.loads(example)).key == "20261202T140000Z"


def test_the_consent_that_is_shown_is_valid_and_denies_marketing_by_sms():
    (example,) = re.findall(r"```json\n(.*?)```", CONSENT, re.DOTALL)
    consent = json.loads(example)
    assert [issue for issue in validate(consent) if issue.severity == "error"] == []
    kinds = (*MARKETING, "appointment-reminder")
    denied = {(channel, kind) for channel in CHANNELS for kind in kinds if denies(consent, Contact(channel, kind), NOW)}
    assert denied == {("sms", kind) for kind in MARKETING}


def test_every_system_and_marketing_kind_is_documented():
    systems = (ACTION, ADDRESS, CATEGORY, KIND, PREFERENCES, SENDER)
    assert [name for name in (*systems, *MARKETING) if f"`{name}`" not in CONSENT and f'"{name}"' not in CONSENT] == []


def test_the_words_of_replies_mean_what_is_said():
    rows = re.findall(r"^\| (stop|start|help|confirm|cancel) \| (.*?) \|", CONSENT, re.MULTILINE)
    assert len(rows) == 5
    for expected, text in rows:
        for word in re.findall(r"`([A-Z]+)`|([👍✅❌])", text):
            awaiting = expected in ("confirm", "cancel")
            assert meaning("".join(word), awaiting_reply=awaiting) == expected, word
