"""Medical record numbers: given to new patients, unique in their system, and never used again.

docs/patients.md, https://hl7.org/fhir/R4/datatypes.html#Identifier
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from fhir_server.config import Settings
from fhir_server.exchange import Call, Context, Draft, Resource
from fhir_server.fhir.outcome import FhirError, duplicate
from fhir_server.search.run import find_matches
from fhir_server.search.values import escape
from fhir_server.store.claims import claimed
from fhir_server.store.numbers import Sequence, numbers_of
from fhir_server.store.versions import current_key
from fhir_server.store.writes import claim_key

TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
MR: Final = "MR"
_NO_DIGIT = re.compile(r"\D")


async def with_mrn(ctx: Context, draft: Draft, settings: Settings) -> Draft:
    """Return the draft with a number where it should have one, and with claims for those of its own that are new.

    Raises:
        FhirError: 409, a number of its own is another patient's.
    """
    system = mrn_system(settings, ctx.tenant)
    before = draft.previous.resource if draft.previous else None
    held = {value for _, value in _numbers(before, system)} if before else set()
    fresh = {value: place for place, value in _numbers(draft.resource, system) if value not in held}
    if fresh:
        return replace(draft, claims=(*draft.claims, *await _claims(ctx, draft, system, fresh)))
    wanted = settings.mrn and draft.creates and (settings.mrn_on_update or not draft.names_its_id)
    if not wanted or _has_mrn(draft.resource, system):
        return draft
    number = await numbers_of(ctx.repo.database).take(sequence(settings, ctx.tenant, ctx.now().year))
    identifiers = [*draft.resource.get("identifier", ()), identifier(system, number)]
    return replace(draft, resource=draft.resource | {"identifier": identifiers})


def mrn_system(settings: Settings, tenant: str) -> str:
    """Return the system of a tenant's medical record numbers."""
    return settings.mrn_system.replace("{tenant}", tenant)


def identifier(system: str, number: str) -> dict[str, Any]:
    """Return the Identifier that holds a number."""
    return {"use": "usual", "type": {"coding": [{"system": TYPES, "code": MR}]}, "system": system, "value": number}


def sequence(settings: Settings, tenant: str, year: int) -> Sequence:
    """Return the sequence that numbers of a year are taken from."""
    system = mrn_system(settings, tenant)
    prefix = settings.mrn_prefix.replace("{year}", f"{year:04}")

    def text(number: int) -> str:
        written = f"{prefix}{number:0{settings.mrn_digits}}"
        return f"{written}{check_digit(written)}" if settings.mrn_check_digit else written

    return Sequence(tenant, f"mrn/{system}|{prefix}", settings.mrn_start, text, lambda value: _key(system, value))


def check_digit(number: str) -> int:
    """Return the Luhn digit of all digits of a number: https://www.iso.org/standard/70484.html (annex B)."""
    total = 0
    for place, digit in enumerate(reversed(_NO_DIGIT.sub("", number))):
        doubled = int(digit) * (2 - place % 2)
        total += doubled - 9 if doubled > 9 else doubled  # noqa: PLR2004 -- the sum of its two digits
    return -total % 10


def _key(system: str, value: str) -> str:
    return f"mrn/{system}|{value}"


def _numbers(patient: Resource, system: str) -> Iterator[tuple[int, str]]:
    """Yield the place and value of each number that is in use; an old one is another patient's, or was this one's."""
    for place, found in enumerate(patient.get("identifier", ())):
        if found.get("system") == system and found.get("value") and found.get("use") != "old":
            yield place, found["value"]


def _has_mrn(patient: Resource, system: str) -> bool:
    """Tell whether there is a medical record number, of this system or of another one."""
    return any(
        found.get("value")
        and found.get("use") != "old"
        and (found.get("system") == system or any(_is_mr(coding) for coding in found.get("type", {}).get("coding", ())))
        for found in patient.get("identifier", ())
    )


def _is_mr(coding: dict[str, Any]) -> bool:
    return coding.get("code") == MR and coding.get("system", TYPES) == TYPES


async def _claims(ctx: Context, draft: Draft, system: str, fresh: dict[str, int]) -> list[str]:
    """Return what is to be claimed for numbers that the patient brings along; nothing for those it has had before."""
    keys = {claim_key(ctx.tenant, _key(system, value)): value for value in fresh}
    taken = await claimed(ctx.repo.database, keys)
    own = draft.previous.id if draft.previous else draft.resource.get("id") if draft.names_its_id else None
    for key, claim in taken.items():
        value = keys[key]
        if own is None or not ((claim.type, claim.id) == ("Patient", own) or await _has_had(ctx, own, system, value)):
            raise await _is_taken(ctx, system, value, fresh[value])
    return [_key(system, value) for key, value in keys.items() if key not in taken]


async def _has_had(ctx: Context, id_: str, system: str, value: str) -> bool:
    """Tell whether an earlier version of a patient has the number: it was given here, to this one."""
    key = current_key(ctx.tenant, id_)
    held = {"r.identifier": {"$elemMatch": {"system": system, "value": value, "use": {"$ne": "old"}}}}
    earlier = ctx.repo.history_collection("Patient").find_one(
        {"_id": {"$gte": f"{key}/", "$lt": f"{key}0"}, **held}, {"_id": 1}, session=ctx.repo.session
    )
    return await earlier is not None


async def _is_taken(ctx: Context, system: str, value: str, place: int) -> FhirError:
    holder = await _holder(ctx, system, value)
    whose = f"is that of {holder}" if holder else "is taken, or has been used before"
    text = f"The medical record number {value!r} {whose}; leave it out and a free one is given."
    return duplicate(text, f"Patient.identifier[{place}].value")


async def _holder(ctx: Context, system: str, value: str) -> str:
    """Return the reference to the patient with a number; "" where there is none that the principal may read."""
    for version in await find_matches(ctx, "Patient", (("identifier", f"{escape(system)}|{escape(value)}"),), limit=1):
        try:
            await ctx.dispatch(ctx, Call("read", "Patient", version.id))
        except FhirError:
            return ""
        return version.reference
    return ""
