"""Patients and encounters as the pickers show them, found by the engine under the rights of who is asking."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from fhir_server.exchange import Call, Context, Params, Principal, Resource
from fhir_server.fhir.outcome import FhirError
from fhir_server.security.authorization.place import Place
from fhir_server.security.authorization.users import User

ContextOf = Callable[[Principal], Awaitable[Context]]
MOST: Final = 20
_DATE: Final = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")
_SCOPES: Final = frozenset({"user/Patient.rs", "user/Encounter.rs", "user/RelatedPerson.rs"})


@dataclass(frozen=True, slots=True)
class Choice:
    """Something to choose: its id, and two lines about it."""

    id: str
    title: str
    detail: str = ""


class Directory:
    """Looks things up for users."""

    def __init__(self, context_of: ContextOf, place: Place) -> None:
        self._context_of = context_of
        self._place = place

    async def own_patient(self, user: User) -> str:
        """Return the id of the patient whose record is the user's own, or that of a relative; empty for others."""
        type_, _, id_ = user.fhir_user.partition("/")
        if type_ == "RelatedPerson":
            found = await self._read(user, "RelatedPerson", id_)
            reference = str((found or {}).get("patient", {}).get("reference", ""))
            return reference.removeprefix("Patient/") if reference.startswith("Patient/") else ""
        return user.patient

    async def patient(self, user: User, id_: str) -> Choice | None:
        """Return a patient; None for one that does not exist or that the user may not see."""
        found = await self._read(user, "Patient", id_)
        return _patient(found) if found else None

    async def patients(self, user: User, text: str) -> list[Choice]:
        """Return the patients that match words of a name, a birth date or an identifier; without any the latest."""
        words = text.split()[:8]
        params: Params = tuple(_criterion(word) for word in words)
        order = () if words else (("_sort", "-_lastUpdated"),)
        found = await self._search(user, "Patient", (*params, *order, ("_count", str(MOST))))
        return [_patient(one) for one in found]

    async def encounters(self, user: User, patient: str) -> list[Choice]:
        """Return the latest visits of a patient."""
        params = (("patient", f"Patient/{patient}"), ("_sort", "-date"), ("_count", str(MOST)))
        return [_encounter(one) for one in await self._search(user, "Encounter", params)]

    async def _read(self, user: User, type_: str, id_: str) -> Resource | None:
        ctx = await self._context_of(self._principal(user))
        try:
            return (await ctx.dispatch(ctx, Call("read", type=type_, id=id_))).resource
        except FhirError:
            return None

    async def _search(self, user: User, type_: str, params: Params) -> list[Resource]:
        ctx = await self._context_of(self._principal(user))
        try:
            bundle = (await ctx.dispatch(ctx, Call("search-type", type=type_, params=params))).resource or {}
        except FhirError:
            return []
        return [entry["resource"] for entry in bundle.get("entry", ()) if entry["resource"]["resourceType"] == type_]

    def _principal(self, user: User) -> Principal:
        return Principal(
            id=user.id,
            scopes=_SCOPES,
            tenant=user.tenant,
            issuer=self._place.issuer,
            roles=frozenset(user.roles),
            fhir_user=user.fhir_user,
        )


def _criterion(word: str) -> tuple[str, str]:
    plain = word.replace("\\", "").replace(",", "").replace("$", "").replace("|", "")
    if _DATE.fullmatch(plain) and "-" in plain:
        return "birthdate", plain
    return ("identifier", plain) if any(sign.isdigit() for sign in plain) else ("name", plain)


def _patient(found: Resource) -> Choice:
    details = [str(found[name]) for name in ("birthDate", "gender") if name in found]
    details += [str(one["value"]) for one in found.get("identifier", ())[:1] if "value" in one]
    return Choice(str(found["id"]), _name(found) or f"Patient {found['id']}", ", ".join(details))


def _name(found: Resource) -> str:
    names: list[dict[str, Any]] = sorted(found.get("name", ()), key=lambda name: name.get("use") != "official")
    if not names:
        return ""
    parts = [*names[0].get("given", ()), names[0].get("family", "")]
    return str(names[0].get("text") or " ".join(part for part in parts if part))


def _encounter(found: Resource) -> Choice:
    period = found.get("period", {})
    kinds = [one.get("text") or next((c.get("display", "") for c in one.get("coding", ())), "") for one in found.get("type", ())]
    title = next((kind for kind in kinds if kind), "") or found.get("class", {}).get("display") or "Visit"
    return Choice(str(found["id"]), str(title), str(period.get("start", ""))[:16].replace("T", " "))
