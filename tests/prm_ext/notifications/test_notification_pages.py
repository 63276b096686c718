"""docs/prm/notifications.md, docs/notifications/README.md and docs/events.md say what the code does."""

import json
import re
from pathlib import Path

from fhir_server.resources.communication import PROVIDER as PROVIDER_CLAIMED
from fhir_server.resources.communication_request import IDEMPOTENCY as IDEMPOTENCY_CLAIMED
from prm_ext.notifications import codes
from prm_ext.notifications.api import router, sending
from prm_ext.notifications.output import Notification, NotificationDetail, Progress, Stats, TimelineEntry
from prm_ext.notifications.records import RANK
from prm_ext.notifications.results import _NOT_DONE
from prm_ext.notifications.schemas import Bulk, BulkRecipient, Repeat, Schedule, Send, SendTemplate, When

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "prm" / "notifications.md").read_text()
INDEX = (DOCS / "notifications" / "README.md").read_text()
EVENTS = (DOCS / "events.md").read_text()
SOURCE = (Path(__file__).parents[3] / "prm_ext" / "notifications" / "events.py").read_text()


def test_every_route_is_in_the_table() -> None:
    documented = set(re.findall(r"^\| `(\w+ /[^`]*)`", PAGE, re.MULTILINE))
    routes = {
        f"{method} {re.sub('{[a-z_]+}', '{id}', route.path)}"
        for route in [*sending.routes, *router.routes]
        for method in route.methods
        if route.include_in_schema
    }
    assert documented == routes | {"GET /"}


def test_every_field_is_documented() -> None:
    named = set(re.findall(r"[`\"](\w+)[`\"]", PAGE))
    models = (Notification, NotificationDetail, Progress, Stats, TimelineEntry)
    shown = {name for model in models for name in model.model_fields} - {"at", "event", "name", "error"}
    asked = {name for model in (Send, SendTemplate, Schedule, Bulk, BulkRecipient, Repeat, When) for name in model.model_fields}
    assert (shown | asked) - named == set()


def test_the_times_that_are_shown_are_such() -> None:
    block = PAGE[PAGE.index("### Later") :]
    lines = re.findall(r"```json\n(.*?)```", block, re.DOTALL)[0].splitlines()
    assert [next(iter(When(**json.loads(line)).model_fields_set)) for line in lines] == ["send_at", "period", "repeat"]


def test_the_campaign_that_is_shown_is_one() -> None:
    block = PAGE[PAGE.index("### To many") :]
    assert Bulk(**json.loads(re.findall(r"```json\n(.*?)```", block, re.DOTALL)[0])).name == "Flu shots 2026"


def test_every_status_and_reason_is_in_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\|$", INDEX, re.MULTILINE)
    assert set(RANK) <= set(rows)
    assert {code for code, _ in _NOT_DONE.values() if f"`{code}`" not in INDEX} <= {"family-objection"}
    assert codes.ANOTHER_CHANNEL in INDEX


def test_every_extension_and_system_is_documented() -> None:
    names = (codes.SUBJECT, codes.VARIABLES, codes.ADDRESS, codes.TIMING, codes.METADATA, codes.READ_AT)
    assert [one for one in names if one.rpartition(":")[2] not in INDEX] == []
    assert [one for one in (codes.KIND, codes.CHANNEL, codes.REASON, codes.CAMPAIGN, codes.IDEMPOTENCY) if one not in INDEX] == []


def test_what_is_unique_is_what_the_codes_say() -> None:
    assert (PROVIDER_CLAIMED, IDEMPOTENCY_CLAIMED) == (codes.PROVIDER, codes.IDEMPOTENCY)


def test_every_event_of_notifications_is_documented() -> None:
    names = set(re.findall(r'"(NOTIFICATION_[A-Z]+)"', SOURCE))
    assert len(names) == 7
    assert names == set(re.findall(r"^\| `(NOTIFICATION_[A-Z]+)`", EVENTS, re.MULTILINE))
