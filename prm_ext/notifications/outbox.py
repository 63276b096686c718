"""The outbox of channels that are set to `console`, as far as whoever asks may read the Communications of its messages."""

from collections.abc import Sequence
from typing import Final

from fhir_server.exchange import Call, Context
from fhir_server.fhir.outcome import forbidden
from fhir_server.security.repository import READING
from fhir_server.store.database import Document
from fhir_server.store.versions import instant
from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.means import Means
from prm_ext.notifications.output import Outbox, OutboxMessage

ROUNDS: Final = 20
_TEXTS: Final = frozenset({"payload", "topic"})


async def outbox_of(ctx: Context, means: Means, *, channel: Channel | None, to: str, limit: int, cursor: str) -> Outbox:
    """Return a page, the newest first.

    Raises:
        FhirError: 400, the cursor is none; 403, no Communication may be read.
    """
    if ctx.access is not None and (
        not ctx.access.may("Communication", "s") or ctx.access.limits.hidden.get("Communication", frozenset()) & _TEXTS
    ):
        raise forbidden(
            "You may not read what messages say; that takes a scope such as user/Communication.rs, and a role for it."
        )
    found: list[Document] = []
    for _ in range(ROUNDS):
        page = await means.providers.console.outbox(ctx.tenant, limit=limit - len(found), cursor=cursor, channel=channel, to=to)
        found += await _readable(ctx, page.messages)
        cursor = page.next
        if not cursor or len(found) >= limit:
            break
    return Outbox(items=[_message(one) for one in found], next_cursor=cursor or None)


async def _readable(ctx: Context, messages: Sequence[Document]) -> list[Document]:
    if ctx.access is None or not messages:
        return list(messages)
    # Asked for as at the FHIR door, so that the audit trail has it.
    params = (("_id", ",".join(one["_id"] for one in messages)), ("_count", str(len(messages))), ("_total", "none"))
    bundle = (await ctx.dispatch(ctx, Call("search-type", "Communication", params=params))).resource or {}
    if not ctx.access.is_confined("Communication", READING):
        return list(messages)
    shown = {entry["resource"]["id"] for entry in bundle.get("entry", ()) if entry["search"]["mode"] == "match"}
    return [one for one in messages if one["_id"] in shown]


def _message(found: Document) -> OutboxMessage:
    return OutboxMessage(
        id=found["_id"],
        channel=found["channel"],
        to=found["to"],
        sender=found.get("sender", ""),
        subject=found.get("subject", ""),
        body=found["body"],
        html=found.get("html"),
        language=found.get("language"),
        media=found.get("media", []),
        created_at=instant(found["at"]),
    )
