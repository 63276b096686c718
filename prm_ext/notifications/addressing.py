"""Over which channel, to which address and from which sender a delivery goes next; or why it can not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.exchange import Context, Resource
from fhir_server.store.database import Document
from prm_ext.notifications.channels.channel import CHANNELS, Channel, Provider
from prm_ext.notifications.choosing import Choice, choices, language_of, unreachable
from prm_ext.notifications.consent import objection
from prm_ext.notifications.machine import given_up, message_of
from prm_ext.notifications.means import Means
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.unsubscribe import unsubscribe_url


@dataclass(frozen=True, slots=True)
class Reach:
    """How a recipient is reached."""

    channel: Channel
    address: str
    provider: Provider
    sender: str
    language: str
    unsubscribe_url: str
    """Of an email; empty where this server has no public URL."""
    others: tuple[Channel, ...]
    """Channels that can be tried after this one."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Why a recipient can not be reached: `no-address`, `opted-out`, `deceased`, or what the last channel failed for."""

    failure: str
    text: str
    code: str = ""


async def reach(
    ctx: Context, means: Means, found: Document, request: Resource, recipient: Resource | None
) -> Reach | Unreachable:
    """Return how to reach the recipient of a delivery: over the channel that is being tried, else the first that is left."""
    settings = means.settings.of(ctx.tenant)
    open_ = _left(found, _choices(ctx, means, found, recipient, settings))
    refused: Unreachable | None = None
    for place, choice in enumerate(open_):
        pair = means.providers.of(ctx.tenant, choice.channel)
        if pair is None:
            refused = refused or Unreachable("content", means.providers.reason(ctx.tenant, choice.channel))
            continue
        provider, sender = pair
        who = _persons(found, request)
        denied = await objection(ctx, who, channel=choice.channel, sender=sender, kind=found["kind"], address=choice.address)
        if denied is not None:
            refused = Unreachable("opted-out", denied.text)
            continue
        return Reach(
            choice.channel,
            choice.address,
            provider,
            sender,
            language_of(recipient, settings.language),
            await _unsubscribe(ctx, settings, found, choice, who),
            tuple(one.channel for one in open_[place + 1 :]),
        )
    return _why_not(ctx, found, recipient, refused)


def _choices(
    ctx: Context, means: Means, found: Document, recipient: Resource | None, settings: NotificationSettings
) -> list[Choice]:
    order = channels_in_order(settings.fallback)
    explicit: Sequence[Channel] = found["channels"]
    if found["given"]:
        by_mail = "@" in found["given"]
        wanted = [one for one in (explicit or order) if (one == "email") == by_mail]
        return [Choice(channel, found["given"]) for channel in wanted]
    return choices(
        recipient,
        explicit=explicit,
        order=order,
        available=lambda channel: means.providers.of(ctx.tenant, channel) is not None,
        now=ctx.now(),
        region=ctx.settings.of(ctx.tenant).phone_region,
    )


def _left(found: Document, all_: Sequence[Choice]) -> list[Choice]:
    """Return the choices whose channel has not been given up, that which is being tried first."""
    failed, current = given_up(found), (message_of(found) or {}).get("channel")
    return sorted((one for one in all_ if one.channel not in failed), key=lambda one: one.channel != current)


def _persons(found: Document, request: Resource) -> list[str]:
    """Return whose objections count: the recipient's, and those of the patient whom the message is about."""
    subject = request.get("subject", {}).get("reference", "")
    return list(dict.fromkeys(one for one in (found["recipient"], subject) if one and not one.startswith("#")))


async def _unsubscribe(ctx: Context, settings: NotificationSettings, found: Document, choice: Choice, who: Sequence[str]) -> str:
    base = settings.public_base(ctx)
    if choice.channel != "email" or not base:
        return ""
    return await unsubscribe_url(ctx, base, person=who[0] if who else "", kind=found["kind"], address=choice.address)


def _why_not(ctx: Context, found: Document, recipient: Resource | None, refused: Unreachable | None) -> Unreachable:
    last: dict[str, Any] = (found.get("messages") or [{}])[-1]
    if refused is None and last.get("status") == "failed":
        return Unreachable(last["failure"], last.get("text", ""), last.get("code", ""))
    if refused is not None:
        return refused
    failure, text = unreachable(recipient, found["channels"], now=ctx.now())
    return Unreachable(failure, text)


def channels_in_order(text: str) -> tuple[Channel, ...]:
    """Return the channels that a setting lists."""
    names = [part.strip() for part in text.split(",")]
    return tuple(channel for name in names for channel in CHANNELS if channel == name)
