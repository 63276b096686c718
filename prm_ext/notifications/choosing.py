"""Over which channels, and at which addresses, somebody can be reached, in the order in which they are tried.

https://hl7.org/fhir/R4/datatypes.html#ContactPoint, docs/notifications/recipients.md
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType

from fhir_server.exchange import Resource
from fhir_server.fhir import dates
from fhir_server.fhir.contact import may_be_email, normal_email, normal_phone
from prm_ext.notifications.channels.channel import Channel

PREFERRED: Final = "urn:prm:StructureDefinition:preferred-contact-method"
"""On a Patient, `valueCode`: `phone`, `email`, `whatsapp` or `sms`."""
_METHODS: Final[Mapping[str, Channel]] = {"phone": "voice", "email": "email", "whatsapp": "whatsapp", "sms": "sms"}
_WHATSAPP: Final = re.compile(r"\s*whatsapp:|https?://(?:wa\.me|api\.whatsapp\.com)/", re.IGNORECASE)
_WA_LINK: Final = re.compile(r"https?://(?:wa\.me/|api\.whatsapp\.com/send/?\?phone=)\+?(\d{7,15})\b.*", re.IGNORECASE)
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_SYSTEMS: Final[Mapping[Channel, frozenset[str]]] = {
    "whatsapp": frozenset({"phone", "sms"}),
    "sms": frozenset({"phone", "sms"}),
    "voice": frozenset({"phone"}),
    "email": frozenset({"email"}),
}
_UNRANKED: Final = 1.5
"""As for the flat fields of a patient: what has no rank stands between the first and the second."""
_MOBILE_FIRST: Final[Mapping[str, int]] = {"mobile": 0, "home": 2, "work": 3}
_PRIVATE_FIRST: Final[Mapping[str, int]] = {"work": 2}
_ANY_USE: Final = 1
_LANDLINES: Final = frozenset({PhoneNumberType.FIXED_LINE, PhoneNumberType.PAGER, PhoneNumberType.VOICEMAIL})


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to reach somebody."""

    channel: Channel
    address: str
    """A number in E.164, or an email address."""


def choices(
    recipient: Resource | None,
    *,
    explicit: Sequence[Channel],
    order: Sequence[Channel],
    available: Callable[[Channel], bool],
    now: datetime,
    region: str,
) -> list[Choice]:
    """Return how to reach a recipient, the best way first; nothing where there is none (`unreachable` says why).

    Channels that the request names are the only ones. Else the recipient's preferred one comes first, and those of `order`
    follow. Numbers without a country code are of `region`.
    """
    if recipient is None or is_deceased(recipient) or _is_former(recipient, now):
        return []
    points = [one for one in _points(recipient) if _is_present(one, now)]
    channels = explicit or _preferred(recipient, points, order)
    found = []
    for channel in dict.fromkeys(channels):
        address = _address(points, channel, region) if available(channel) else ""
        if address:
            found.append(Choice(channel, address))
    return found


def unreachable(recipient: Resource | None, explicit: Sequence[Channel], *, now: datetime) -> tuple[str, str]:
    """Return why there is no way to reach a recipient, as a word (`no-address` or `deceased`) and as a sentence."""
    if recipient is None:
        return "no-address", "The recipient is not known here, and the request gives no address."
    if is_deceased(recipient):
        return "deceased", "The recipient has died."
    if _is_former(recipient, now):
        return "no-address", "The recipient's relation to the patient, or role, has ended."
    over = f" over {', '.join(explicit)}" if explicit else ""
    if not any(_is_present(one, now) for one in _points(recipient)):
        return "no-address", f"The recipient has no telecom that is in use, so that nothing can be sent{over}."
    return "no-address", f"The recipient has no number or address that can be used{over}."


def is_deceased(recipient: Resource) -> bool:
    """Tell whether a recipient has died."""
    return recipient.get("deceasedBoolean") is True or "deceasedDateTime" in recipient


def _is_former(recipient: Resource, now: datetime) -> bool:
    """Tell whether a relation or a role has ended.

    Of a Patient, `active` only says how the record is used: who has died, or does not want to be written to, says so
    elsewhere.
    """
    if recipient.get("resourceType") not in ("RelatedPerson", "PractitionerRole"):
        return False
    return recipient.get("active") is False or not _is_within(recipient.get("period"), now)


def _points(recipient: Resource) -> Iterator[Mapping[str, Any]]:
    """Yield the ContactPoints that are the recipient's own; those in `contact` are other people's, save a Device's."""
    name = "contact" if recipient.get("resourceType") == "Device" else "telecom"
    found = recipient.get(name)
    yield from (one for one in found if isinstance(one, dict)) if isinstance(found, list) else ()


def _is_present(point: Mapping[str, Any], now: datetime) -> bool:
    if not isinstance(point.get("value"), str) or point.get("use") == "old":
        return False
    return _is_within(point.get("period"), now)


def _is_within(period: Mapping[str, Any] | None, now: datetime) -> bool:
    try:
        limits = dates.period(period or {})
    except ValueError:
        return True
    return limits is None or limits[0] <= now < limits[1]


def _preferred(recipient: Resource, points: Sequence[Mapping[str, Any]], order: Sequence[Channel]) -> Sequence[Channel]:
    """Return the order of channels: by the method that is preferred, else by the ranks of the addresses."""
    method = next((one.get("valueCode") for one in recipient.get("extension", ()) if one.get("url") == PREFERRED), "")
    if method in _METHODS:
        return (_METHODS[method], *order)
    ranks = {
        channel: min((one["rank"] for one in points if "rank" in one and _serves(one, channel)), default=float("inf"))
        for channel in order
    }
    return sorted(order, key=lambda channel: ranks[channel])


def _serves(point: Mapping[str, Any], channel: Channel) -> bool:
    return point.get("system") in _SYSTEMS[channel] or (channel == "whatsapp" and _is_whatsapp(point))


def _is_whatsapp(point: Mapping[str, Any]) -> bool:
    return point.get("system") in ("other", "url", "phone") and _WHATSAPP.match(point["value"]) is not None


def _address(points: Sequence[Mapping[str, Any]], channel: Channel, region: str) -> str:
    """Return the best address for a channel, or nothing."""
    candidates = [(_order(one, channel, place, region), one) for place, one in enumerate(points) if _serves(one, channel)]
    for _, point in sorted(candidates, key=lambda one: one[0]):
        found = _written(point["value"], channel, region)
        if found:
            return found
    return ""


def _order(point: Mapping[str, Any], channel: Channel, place: int, region: str) -> tuple[float, ...]:
    """Return what addresses are ordered by; the lower the better."""
    written = channel in ("sms", "whatsapp")
    landline = written and _is_landline(_written(point["value"], channel, region))
    by_use = (_MOBILE_FIRST if written else _PRIVATE_FIRST).get(point.get("use", ""), _ANY_USE)
    meant = _is_whatsapp(point) if channel == "whatsapp" else point.get("system") == channel
    rank = point.get("rank", _UNRANKED)
    return (landline, not meant, by_use, float(rank), place)


def _written(value: str, channel: Channel, region: str) -> str:
    if channel == "email":
        return normal_email(value) if may_be_email(value) else ""
    link = _WA_LINK.fullmatch(value.strip())
    return normal_phone(f"+{link[1]}" if link else value, region)


@lru_cache(maxsize=16384)
def _is_landline(number: str) -> bool:
    try:
        return phonenumbers.number_type(phonenumbers.parse(number)) in _LANDLINES
    except NumberParseException:
        return False


def language_of(recipient: Resource | None, default: str) -> str:
    """Return the language to write in, as a BCP 47 tag: the preferred one, else the only or the first one."""
    spoken = (recipient or {}).get("communication", ())
    # That of a Patient or RelatedPerson holds a concept, that of a Practitioner is one.
    ranked = sorted((one for one in spoken if isinstance(one, dict)), key=lambda one: one.get("preferred") is not True)
    if all(one.get("preferred") is False for one in ranked):
        return default
    for one in ranked:
        found = _tag(one.get("language", one))
        if found:
            return found
    return default


def _tag(concept: Any) -> str:
    if not isinstance(concept, dict):
        return ""
    for code in (*(coding.get("code") for coding in concept.get("coding", ())), concept.get("text")):
        tag = str(code or "").replace("_", "-")
        if _LANGUAGE.fullmatch(tag):
            return tag
    return ""


def members_of(group: Resource, now: datetime | None = None) -> list[str]:
    """Return the references of those who are in a Group, or take part in a CareTeam; no member twice.

    Of a Group that only describes whom it may hold there are none. Members may be groups themselves.
    """
    if group.get("resourceType") == "CareTeam":
        found = [(one.get("member", {}), one) for one in group.get("participant", ())]
    elif group.get("actual") is False:
        found = []
    else:
        found = [(one.get("entity", {}), one) for one in group.get("member", ()) if one.get("inactive") is not True]
    references = [entity.get("reference", "") for entity, one in found if now is None or _is_within(one.get("period"), now)]
    return list(dict.fromkeys(one for one in references if one))
