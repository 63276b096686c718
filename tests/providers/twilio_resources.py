"""Messages, calls and pages of them as Twilio writes them, with every member that its SDK reads."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from tests.providers.ledger import Entry
from tests.providers.wire import Request


def message_json(entry: Entry, account: str) -> dict[str, Any]:
    """Return a message."""
    uri = f"/2010-04-01/Accounts/{account}/Messages/{entry.id}"
    service = entry.sender.startswith("MG")
    return {
        "account_sid": account,
        "api_version": "2010-04-01",
        "body": entry.body,
        "date_created": rfc2822(entry.created),
        "date_sent": rfc2822(entry.sent),
        "date_updated": rfc2822(entry.updated),
        "direction": "outbound-api",
        "error_code": int(entry.error) if entry.error else None,
        "error_message": None,
        "from": None if service else entry.sender,
        "messaging_service_sid": entry.sender if service else None,
        "num_media": str(len(entry.raw.get("MediaUrl", ()))),
        "num_segments": "0" if service else "1",
        "price": None,
        "price_unit": "USD",
        "sid": entry.id,
        "status": entry.status,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": entry.to,
        "uri": f"{uri}.json",
    }


def call_json(entry: Entry, account: str) -> dict[str, Any]:
    """Return a call."""
    uri = f"/2010-04-01/Accounts/{account}/Calls/{entry.id}"
    # What is still to be dialled has no further states in the API.
    status = {"initiated": "queued"}.get(entry.status, entry.status)
    return {
        "account_sid": account,
        "annotation": None,
        "answered_by": None,
        "api_version": "2010-04-01",
        "caller_name": None,
        "date_created": rfc2822(entry.created),
        "date_updated": rfc2822(entry.updated),
        "direction": "outbound-api",
        "duration": "12" if status == "completed" else None,
        "end_time": rfc2822(entry.updated) if status == "completed" else None,
        "forwarded_from": None,
        "from": entry.sender,
        "from_formatted": entry.sender,
        "group_sid": None,
        "parent_call_sid": None,
        "phone_number_sid": "PN" + "0" * 32,
        "price": None,
        "price_unit": "USD",
        "queue_time": "0",
        "sid": entry.id,
        "start_time": rfc2822(entry.sent),
        "status": status,
        "subresource_uris": {"events": f"{uri}/Events.json"},
        "to": entry.to,
        "to_formatted": entry.to,
        "trunk_sid": None,
        "uri": f"{uri}.json",
    }


def page_json(found: list[Entry], request: Request, kind: str, account: str) -> dict[str, Any]:
    """Return a page of a list, with where the next one is."""
    size, page = min(int(request.param("PageSize") or 50), 1000), int(request.param("Page") or 0)
    begin, end = page * size, (page + 1) * size
    path = f"/2010-04-01/Accounts/{account}/{kind}.json"
    asked = [(name, value) for name, value in request.query if name not in ("Page", "PageToken")]

    def uri(number: int) -> str:
        return f"{path}?{urlencode([*asked, ('Page', str(number))])}"

    make = call_json if kind == "Calls" else message_json
    return {
        kind.lower(): [make(one, account) for one in found[begin:end]],
        "end": max(begin, min(end, len(found)) - 1),
        "first_page_uri": uri(0),
        "next_page_uri": uri(page + 1) if len(found) > end else None,
        "page": page,
        "page_size": size,
        "previous_page_uri": uri(page - 1) if page else None,
        "start": begin,
        "uri": uri(page),
    }


def rfc2822(moment: datetime | None) -> str | None:
    """Return a time as Twilio writes it: in whole seconds."""
    return moment.strftime("%a, %d %b %Y %H:%M:%S +0000") if moment else None
