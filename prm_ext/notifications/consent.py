"""Who does not want to be written to: looked up before each message, kept as Consents.

https://hl7.org/fhir/R4/consent.html, docs/notifications/consent.md, docs/decisions/0041-opt-out.md
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fhir_server.exchange import Call, Context, Resource
from fhir_server.fhir.outcome import FhirError, conflict, unprocessable
from fhir_server.search.types.token import entry
from fhir_server.search.values import escape
from fhir_server.store.redirects import redirects_of
from fhir_server.store.search import Search
from fhir_server.store.versions import Version
from prm_ext.common.paging import search
from prm_ext.notifications.channels.channel import CHANNELS, Channel
from prm_ext.notifications.choosing import choices
from prm_ext.notifications.codes import KINDS
from prm_ext.notifications.directives import (
    OPT_OUT,
    PREFERENCES,
    address_consent,
    identifier_of,
    is_about,
    preferences_consent,
    rules_of,
    stamped,
    turned,
)
from prm_ext.notifications.provisions import ADDRESS, Contact, denies, plain

_MOST: Final = 1000
_CODE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""A kind; messages of FHIR clients may have others than ours."""
_ATTEMPTS: Final = 5
_LOST: Final = frozenset({409, 412})
_CREATED: Final = 201
"""Else somebody was faster."""
_UNKNOWN: Final = 422


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a message is not sent."""

    consent: str
    """Reference to the Consent that says so."""
    text: str


@dataclass(frozen=True, slots=True)
class Preference:
    """Whether a patient is written to with messages of a kind over a channel."""

    kind: str
    channel: Channel
    allowed: bool
    consent: str
    """Reference to a Consent that denies it; empty where it is allowed."""


async def objection(
    ctx: Context, people: Iterable[str], *, channel: Channel, sender: str, kind: str, address: str
) -> Objection | None:
    """Return what stands against a message to an address, which concerns people; one query for all of it.

    What is denied by any Consent is denied, whatever others permit.
    """
    who = await _with_survivors(ctx, people)
    contact = Contact(channel, kind, frozenset(who), plain(address), plain(sender))
    for version in await _consents(ctx, who, [contact.address or ""]):
        if version.resource is not None and denies(version.resource, contact, ctx.now()):
            text = f"The recipient does not want messages of the kind {kind!r} over {channel}: {version.reference}."
            return Objection(version.reference, text)
    return None


async def opt_out(
    ctx: Context,
    people: Iterable[str],
    *,
    channel: Channel,
    sender: str,
    address: str,
    source: str,
    kind: str = "",
    message: str = "",
) -> None:
    """Keep that nothing is to be sent to an address over a channel from a sender (empty: from any).

    A Consent is kept for each patient among the people, and where there is none, one for the address alone. `source` is a
    code for how it came about, `message` a reference to the message that said so. What is kept already stays as it is.
    """
    address, sender = plain(address), plain(sender)
    patients = [one for one in await _with_survivors(ctx, people) if one.startswith("Patient/")]
    for person in patients or [""]:
        wanted = address_consent(person=person, channel=channel, sender=sender, address=address, kind=kind)
        wanted = stamped(wanted, now=ctx.now(), source=source, message=message)
        try:
            await _deny(ctx, wanted, address)
        except FhirError as error:
            if error.status != _UNKNOWN or not person:
                raise
            # The patient is gone; the address is not.
            await opt_out(ctx, [], channel=channel, sender=sender, address=address, source=source, kind=kind, message=message)


async def opt_in(
    ctx: Context, *, channel: Channel, sender: str, address: str, source: str, kind: str = "", message: str = ""
) -> int:
    """Take back what `opt_out` has kept for an address, a channel and a sender; return how many Consents have changed.

    What was kept for one kind is taken back with that kind only; what patients prefer, and what other systems have written,
    stays.
    """
    changed = 0
    for version in await _consents(ctx, [], [plain(address)]):
        consent = version.resource
        about = consent is not None and is_about(consent, channel=channel, sender=plain(sender), kind=kind)
        if consent is None or not about or not _denies_now(consent):
            continue
        permitted = stamped(turned(consent, denied=False), now=ctx.now(), source=source, message=message)
        changed += await _replace(ctx, version, permitted)
    return changed


async def preferences(ctx: Context, patient: Resource, senders: Mapping[Channel, str] | None = None) -> list[Preference]:
    """Return what a patient, as stored, wants: each kind over each channel, at the addresses that it has now.

    `senders` are those whose messages it is about; without, a refusal of any sender counts.
    """
    at = _addresses(ctx, patient)
    consents = await _active(ctx, f"Patient/{patient['id']}", at.values())
    found = []
    for kind in KINDS:
        for channel in CHANNELS:
            sender = plain(senders[channel]) if senders and channel in senders else None
            contact = Contact(channel, kind, (f"Patient/{patient['id']}",), at.get(channel, ""), sender)
            denied = next((one for one in consents if denies(one, contact, ctx.now())), None)
            found.append(Preference(kind, channel, denied is None, f"Consent/{denied['id']}" if denied else ""))
    return found


async def set_preference(
    ctx: Context, patient: str, *, kind: str, channel: str, allowed: bool, source: str = "preference", message: str = ""
) -> None:
    """Keep whether a patient, by id, wants messages of a kind over a channel; an empty one stands for all.

    What was said from an address (`opt_out`), or in a Consent of another system, goes on to count; `preferences` shows it.

    Raises:
        FhirError: 422 for what is no kind or no channel, 409 when others keep changing it.
    """
    if kind and not _CODE.fullmatch(kind):
        raise unprocessable(f"{kind!r} is no kind of notification; such as {', '.join(KINDS)}.", code="value")
    if channel and channel not in CHANNELS:
        raise unprocessable(f"{channel!r} is no channel; there are {', '.join(CHANNELS)}.", code="value")
    for _ in range(_ATTEMPTS):
        if await _set(ctx, patient, kind, channel, allowed=allowed, source=source, message=message):
            return
    raise conflict("Others keep changing what this patient prefers; send it again.")


async def _set(ctx: Context, patient: str, kind: str, channel: str, *, allowed: bool, source: str, message: str) -> bool:
    """Return whether what is kept is as asked for; False where others were faster."""
    stored = await _kept_preferences(ctx, patient)
    rules = rules_of(stored, ctx.now())
    wanted = {name: rule.changed(kind, denied=not allowed) if channel in ("", name) else rule for name, rule in rules.items()}
    kept = sorted(stored, key=lambda one: one["status"] != "active")
    if wanted == rules and all(one["status"] != "active" for one in kept[1:]):
        return True
    resource = stamped(preferences_consent(patient, wanted), now=ctx.now(), source=source, message=message)
    try:
        if not kept:
            condition = f"identifier={PREFERENCES}|{patient}"
            reply = await ctx.dispatch(ctx, Call("create", "Consent", resource=resource, if_none_exist=condition))
            return reply.status == _CREATED
        # Of patients who were merged there may be several: they become one.
        for other in kept[1:]:
            if other["status"] == "active":
                await _put(ctx, {**other, "status": "inactive"})
        await _put(ctx, {**resource, "id": kept[0]["id"], "meta": kept[0]["meta"]})
    except FhirError as error:
        if error.status not in _LOST:
            raise
        return False
    return True


async def _kept_preferences(ctx: Context, patient: str) -> list[Resource]:
    """Return the Consents of ours that hold what a patient prefers, also those that are not in force any more."""
    found = await _search(ctx, ("patient", f"Patient/{patient}")) + await _search(ctx, ("identifier", f"{PREFERENCES}|{patient}"))
    return [one for one in {one["id"]: one for one in found}.values() if identifier_of(one, PREFERENCES)]


async def _put(ctx: Context, resource: Resource) -> None:
    version = resource["meta"]["versionId"]
    await ctx.dispatch(ctx, Call("update", "Consent", resource["id"], resource=resource, if_match=f'W/"{version}"'))


async def _deny(ctx: Context, wanted: Resource, address: str) -> None:
    """Make what denies, or let what was permitted meanwhile deny again."""
    key = identifier_of(wanted, OPT_OUT)
    for _ in range(_ATTEMPTS):
        same = [
            one
            for one in await _consents(ctx, [], [address])
            if one.resource is not None and identifier_of(one.resource, OPT_OUT) == key
        ]
        if any(one.resource is not None and _denies_now(one.resource) for one in same):
            return
        if same:
            if await _replace(ctx, same[0], wanted):
                return
            continue
        call = Call("create", "Consent", resource=wanted, if_none_exist=f"identifier={OPT_OUT}|{key}")
        if (await ctx.dispatch(ctx, call)).status == _CREATED:
            return
    raise conflict("Others keep changing the Consent of this address.")


def _denies_now(consent: Resource) -> bool:
    return consent.get("status") == "active" and consent.get("provision", {}).get("type") == "deny"


async def _replace(ctx: Context, version: Version, resource: Resource) -> bool:
    """Store a new version of a Consent; False where somebody was faster."""
    body = {**resource, "id": version.id}
    call = Call("update", "Consent", version.id, resource=body, if_match=f'W/"{version.number}"')
    try:
        await ctx.dispatch(ctx, call)
    except FhirError as error:
        if error.status not in _LOST:
            raise
        return False
    return True


async def _with_survivors(ctx: Context, people: Iterable[str]) -> list[str]:
    """Return people with those whom patients among them have been merged into."""
    found = list(dict.fromkeys(one for one in people if one))
    redirects = redirects_of(ctx.repo.database)
    if redirects.idle(ctx.tenant) or not await redirects.refresh(ctx.tenant):
        return found
    ids = {one.removeprefix("Patient/") for one in found if one.startswith("Patient/")}
    survivors = await redirects.survivors(ctx.tenant, ids)
    return list(dict.fromkeys((*found, *(f"Patient/{id_}" for id_ in survivors.values()))))


async def _consents(ctx: Context, people: Collection[str], addresses: Sequence[str]) -> list[Version]:
    """Return the Consents about people or addresses, by one query over three indexes."""
    branches: list[dict[str, Any]] = []
    patients = [one for one in people if one.startswith("Patient/")]
    others = [one for one in people if not one.startswith("Patient/")]
    for field, values in (
        ("s.patient", patients),
        ("s.actor", others),
        ("s.identifier", [entry(one, ADDRESS) for one in addresses if one]),
    ):
        if values:
            # With the tenant in each: an index that begins with it serves a branch only then.
            branches.append({"t": ctx.tenant, field: {"$in": values}})
    if not branches:
        return []
    database = ctx.repo.database
    condition = {"t": ctx.tenant, "d": None, **({"$or": branches} if len(branches) > 1 else branches[0])}
    # Only what is sorted shares a round trip; by the version, since an index of the order would be taken for it.
    asked = Search("Consent", condition, {"s": 0}, (("v", 1),), _MOST, database.settings.search_timeout_ms)
    return [Version.from_document("Consent", one) for one in await database.find(asked)]


async def _active(ctx: Context, patient: str, addresses: Iterable[str]) -> list[Resource]:
    """Return the active Consents of a patient or of addresses, as far as whoever asks may see them."""
    found = await _search(ctx, ("patient", patient), ("status", "active"))
    if at := ",".join(f"{ADDRESS}|{escape(one)}" for one in sorted(set(addresses))):
        found += await _search(ctx, ("identifier", at), ("status", "active"))
    return list({one["id"]: one for one in found}.values())


async def _search(ctx: Context, *params: tuple[str, str]) -> list[Resource]:
    page = await search(ctx, "Consent", params, limit=min(_MOST, ctx.settings.max_count))
    return list(page.resources)


def _addresses(ctx: Context, patient: Resource) -> dict[Channel, str]:
    """Return the address of a patient for each channel that there is one for."""
    found = choices(
        patient,
        explicit=CHANNELS,
        order=(),
        available=lambda _: True,
        now=ctx.now(),
        region=ctx.settings.of(ctx.tenant).phone_region,
    )
    return {one.channel: one.address for one in found}
