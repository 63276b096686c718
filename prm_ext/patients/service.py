"""What the product does with patients, as calls of the engine: it has no data and no rules of its own."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fhir_server.exchange import Call, Context, Prefer, Reply
from fhir_server.fhir.outcome import FhirError, Issue, conflict, gone, unprocessable
from fhir_server.resources.matches import survivor_of
from fhir_server.resources.mrn import mrn_system
from prm_ext.common.problems import MappedError, refused
from prm_ext.patients import coverage, mapping
from prm_ext.patients.fields import emergency
from prm_ext.patients.fields.field import Resource, objects
from prm_ext.patients.history import created_at, last_living

ATTEMPTS: Final = 10
INSURANCES: Final = 1000


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient as stored, with all that its flat form needs."""

    resource: Resource
    created_at: str | None
    deleted_at: str | None = None
    insurance: Sequence[Resource] | None = None
    """Its Coverages; None where whoever asks may not see them."""
    issues: tuple[Issue, ...] = ()
    """Warnings of the write."""

    @property
    def version(self) -> str:
        """The version that it is at."""
        return str(self.resource.get("meta", {}).get("versionId", ""))


class Patients:
    """The patients of a tenant, for one request."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.mrn_system = mrn_system(ctx.settings.of(ctx.tenant), ctx.tenant)

    async def create(self, values: Mapping[str, Any]) -> Patient:
        """Create a patient, with its insurance in the same transaction."""
        self._check_org(values)
        resource = mapping.new(values, self.mrn_system)
        insurance = values.get("insurance") or []
        if insurance:
            return await self._create_with(resource, insurance)
        reply = await self._write(Call("create", type="Patient", resource=resource), resource)
        return await self._stored(reply)

    async def get(self, id_: str, *, include_deleted: bool = False) -> Patient:
        """Return a patient.

        Raises:
            FhirError: 404 where there has never been one, 410 where it was deleted and that was not asked for.
        """
        try:
            resource = await self._read(id_)
        except FhirError as error:
            if error.status != gone("", "").status or not include_deleted:
                raise
            living, deleted_at = await last_living(self._ctx, id_)
            return Patient(living, await created_at(self._ctx, living), deleted_at, await self._insurance(id_))
        return await self._whole(resource)

    async def change(self, id_: str, values: Mapping[str, Any], if_match: str = "") -> Patient:
        """Change the fields that are given, and nothing else."""
        self._check_org(values)

        def changed(resource: Resource) -> Resource:
            return mapping.changed(resource, values, self.mrn_system)

        stored = await self._update(id_, changed, if_match)
        if values.get("insurance") is not None:
            await self._write_insurance(id_, values["insurance"])
        return await self._whole(stored.resource or {}, stored.issues)

    async def delete(self, id_: str, if_match: str = "") -> None:
        """Delete a patient softly: its history stays, and it can be activated again."""
        try:
            await self._read(id_)
        except FhirError as error:
            if error.status == gone("", "").status:
                return
            raise
        await self._call(Call("delete", type="Patient", id=id_, if_match=if_match))

    async def activate(self, id_: str) -> Patient:
        """Bring a deleted patient back under its id, and make an inactive one active."""
        try:
            resource = await self._read(id_)
        except FhirError as error:
            if error.status != gone("", "").status:
                raise
            living, _ = await last_living(self._ctx, id_)
            self._check_survives(living)
            resource = (await self._write(Call("operation", type="Patient", id=id_, operation="restore"), living)).resource or {}
        if resource.get("active") is not False:
            return await self._whole(resource)
        self._check_survives(resource)
        reply = await self._update(id_, lambda found: found | {"active": True})
        return await self._whole(reply.resource or {}, reply.issues)

    async def add_emergency_contact(self, id_: str, values: Mapping[str, Any], if_match: str = "") -> Patient:
        """Put an emergency contact before those that there are; one of the same name is changed instead."""

        def changed(resource: Resource) -> Resource:
            contacts = [dict(one) for one in objects(resource, "contact")]
            same = [
                one
                for one in contacts
                if emergency.is_emergency(one) and _folded(emergency.read_name(one)) == _folded(values["name"])
            ]
            contact = mapping.copied(same[0]) if same else emergency.new_contact()
            for part in ("name", "phone", "relationship"):
                if part in values:
                    emergency.set_part(contact, part, values[part])
            others = [one for one in contacts if not same or one is not same[0]]
            return resource | {"contact": [contact, *others]}

        reply = await self._update(id_, changed, if_match)
        return await self._whole(reply.resource or {}, reply.issues)

    async def whole(self, resources: Sequence[Resource]) -> list[Patient]:
        """Return found patients with their insurance, asked for at once, and the times of their creation."""
        insurance = await self._insurances([resource["id"] for resource in resources])
        created = await asyncio.gather(*(created_at(self._ctx, resource) for resource in resources))
        return [
            Patient(resource, moment, insurance=None if insurance is None else insurance.get(resource["id"], []))
            for resource, moment in zip(resources, created, strict=True)
        ]

    def field_of(self, resource: Resource) -> Any:
        """Return what says which flat field a FHIRPath into a resource is about."""
        return lambda expression: mapping.field_of(_inner(expression), resource, self.mrn_system)

    async def _call(self, call: Call) -> Reply:
        return await self._ctx.dispatch(self._ctx, call)

    async def _read(self, id_: str) -> Resource:
        return (await self._call(Call("read", type="Patient", id=id_))).resource or {}

    async def _write(self, call: Call, resource: Resource) -> Reply:
        try:
            return await self._call(replace(call, prefer=Prefer(return_="representation")))
        except FhirError as error:
            raise MappedError(error, self.field_of(resource)) from error

    async def _update(self, id_: str, change: Any, if_match: str = "") -> Reply:
        """Store what `change` makes of the current version; without If-Match again, when others were faster."""
        must_match = self._ctx.settings.require_if_match
        for attempt in range(ATTEMPTS):
            current = await self._read(id_)
            resource = change(current)
            if resource == current and not if_match:
                return Reply(200, current)
            own = "" if must_match else f'W/"{current["meta"]["versionId"]}"'
            try:
                return await self._write(
                    Call("update", type="Patient", id=id_, resource=resource, if_match=if_match or own), resource
                )
            except MappedError as error:
                if error.error.status != 412 or if_match or attempt == ATTEMPTS - 1:  # noqa: PLR2004 -- precondition failed
                    raise
        raise AssertionError

    async def _create_with(self, resource: Resource, insurance: Sequence[Mapping[str, Any]]) -> Patient:
        url = "urn:uuid:00000000-0000-4000-8000-000000000001"
        entries = [{"fullUrl": url, "resource": resource, "request": {"method": "POST", "url": "Patient"}}]
        for values in insurance:
            made = coverage.new(url, dict(values))
            entries.append({"resource": made, "request": {"method": "POST", "url": "Coverage"}})
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        reply = await self._write(Call("transaction", resource=bundle), resource)
        answers = (reply.resource or {})["entry"]
        return await self._whole(answers[0]["resource"], reply.issues)

    async def _write_insurance(self, id_: str, wanted: Sequence[Mapping[str, Any]]) -> None:
        """Make the Coverages of a patient what the list says; those that it leaves out are cancelled."""
        present = {one["id"]: one for one in await self._insurance(id_) or ()}
        entries = []
        for values in wanted:
            old = present.pop(values.get("id") or "", None)
            if values.get("id") and old is None:
                text = f"{values['id']!r} is not an insurance of this patient."
                raise refused(unprocessable(text, "insurance", code="not-found"))
            if old is None:
                made = coverage.new(f"Patient/{id_}", dict(values))
                entries.append({"resource": made, "request": {"method": "POST", "url": "Coverage"}})
            elif (changed := coverage.changed(old, dict(values))) != old:
                entries.append(_put(changed))
        entries += [_put(old | {"status": "cancelled"}) for old in present.values()]
        if entries:
            await self._call(Call("transaction", resource={"resourceType": "Bundle", "type": "transaction", "entry": entries}))

    async def _stored(self, reply: Reply) -> Patient:
        resource = reply.resource or {}
        return Patient(resource, await created_at(self._ctx, resource), insurance=[], issues=reply.issues)

    async def _whole(self, resource: Resource, issues: tuple[Issue, ...] = ()) -> Patient:
        moment, insurance = await asyncio.gather(created_at(self._ctx, resource), self._insurance(resource["id"]))
        return Patient(resource, moment, insurance=insurance, issues=issues)

    async def _insurance(self, id_: str) -> list[Resource] | None:
        found = await self._insurances([id_])
        return None if found is None else found.get(id_, [])

    async def _insurances(self, ids: Sequence[str]) -> dict[str, list[Resource]] | None:
        """Return the active Coverages by patient; None where they may not be seen."""
        if not ids:
            return {}
        who = ",".join(f"Patient/{id_}" for id_ in ids)
        params = (("beneficiary", who), ("status", "active"), ("_sort", "_id"), ("_count", str(INSURANCES)))
        try:
            bundle = (await self._call(Call("search-type", type="Coverage", params=params))).resource or {}
        except FhirError as error:
            if error.status == 403:  # noqa: PLR2004 -- forbidden
                return None
            raise
        found: dict[str, list[Resource]] = {}
        for entry in bundle.get("entry", ()):
            resource = entry["resource"]
            if resource.get("resourceType") == "Coverage":
                reference = resource.get("beneficiary", {}).get("reference", "")
                found.setdefault(reference.rpartition("/")[2], []).append(resource)
        return found

    def _check_org(self, values: Mapping[str, Any]) -> None:
        asked = values.get("org_id")
        if asked is not None and asked != self._ctx.tenant:
            text = f"org_id={asked!r} is not the organization that this request is made for."
            raise refused(unprocessable(text, "org_id", code="value"))

    @staticmethod
    def _check_survives(resource: Resource) -> None:
        survivor = survivor_of(resource)
        if survivor:
            raise conflict(
                f"This record has been merged into Patient/{survivor}: use that one, or undo the merge by Patient/$undo-merge."
            )


def _put(resource: Resource) -> dict[str, Any]:
    return {"resource": resource, "request": {"method": "PUT", "url": f"Coverage/{resource['id']}"}}


def _folded(text: str | None) -> str:
    return (text or "").casefold()


def _inner(expression: str) -> str:
    """Return an expression into an entry of a Bundle as one into the resource there."""
    return "Patient." + expression.partition(".resource.")[2] if expression.startswith("Bundle.entry[0]") else expression
