"""`/api/v1/prm/patients`: the routes, each a translation of HTTP into a call of the service."""

from typing import Annotated

from fastapi import Header, Query, Response

from fhir_server.exchange import Call, Context
from fhir_server.fhir.outcome import bad_request
from fhir_server.resources.duplicates import duplicates_of
from prm_ext.common.context import CurrentContext
from prm_ext.common.paging import Page, search
from prm_ext.common.problems import RESPONSES, ProblemRoute, refused
from prm_ext.common.routing import PrefixedRouter
from prm_ext.patients import PREFIX, present, queries
from prm_ext.patients.answers import AppointmentList, DuplicateList, MediaList, MergeIn, MergeOut
from prm_ext.patients.history import deleted
from prm_ext.patients.schemas import EmergencyContact, PatientCreate, PatientList, PatientOut, PatientPatch
from prm_ext.patients.service import Patient, Patients

router = PrefixedRouter(PREFIX, route_class=ProblemRoute, responses=RESPONSES, tags=["Patients"])

Limit = Annotated[int, Query(ge=1, le=queries.MOST, description="Largest number of items on the page.")]
Cursor = Annotated[str, Query(description="`next_cursor` of the page before.")]
IfMatch = Annotated[str, Header(alias="If-Match", description='The version that the change is made to: `W/"3"`.')]


@router.post("", status_code=201, summary="Create a patient")
@router.post("/", status_code=201, include_in_schema=False)
async def create(ctx: CurrentContext, body: PatientCreate, response: Response) -> PatientOut:
    """Create a patient. `warnings` name patients that may be the same person, where duplicates are looked for."""
    patients = Patients(ctx)
    found = await patients.create(body.model_dump(exclude_unset=True) | {"status": body.status})
    response.headers["Location"] = f"/api/v1/prm/patients/{found.resource['id']}"
    return _answer(ctx, patients, found, response)


@router.get("", summary="List patients")
@router.get("/", include_in_schema=False)
async def list_patients(ctx: CurrentContext, asked: Annotated[queries.Criteria, Query()]) -> PatientList:
    """List patients, those changed last first; with `query` the best match first. Deleted ones only if asked for."""
    if asked.status == "deleted":
        return await _list_deleted(ctx, asked)
    if asked.query:
        if asked.cursor:
            raise refused(bad_request("`query` has one page, without a cursor: narrow the search instead.", "cursor"))
        return await _ranked(ctx, asked.query, queries.narrowing(asked), asked.limit, asked.offset)
    page = await search(ctx, "Patient", queries.listing(asked), limit=asked.limit, cursor=asked.cursor, offset=asked.offset)
    return await _list(ctx, page, asked.limit, asked.offset)


@router.get("/search", summary="Search patients as people type")
async def search_patients(
    ctx: CurrentContext,
    query: Annotated[str, Query(min_length=1, max_length=200, description="Names, phone, MRN, date of birth, in any order.")],
    limit: Limit = 20,
) -> PatientList:
    """Find patients by what somebody types, the best match first: tolerant of slips, accents, order and nicknames."""
    return await _ranked(ctx, query, (), limit, 0)


@router.post("/merge", summary="Merge two patients")
async def merge(ctx: CurrentContext, body: MergeIn, response: Response) -> MergeOut:
    """Merge the duplicate into the primary, or show what that would give. 202 where it goes on in the background."""
    reply = await ctx.dispatch(ctx, Call("operation", type="Patient", operation="merge", resource=queries.merging(body)))
    response.status_code = reply.status
    parameters = reply.resource or {}
    result = next((part["resource"] for part in parameters.get("parameter", ()) if part.get("name") == "result"), None)
    patients = Patients(ctx)
    shown = None if result is None else _shown(ctx, patients, Patient({"id": body.primary_id} | result, None))
    if shown is not None and not body.preview and reply.status == 200:  # noqa: PLR2004 -- done
        shown = _shown(ctx, patients, await patients.get(shown.id))
    return present.merge_out(parameters, reply.status, shown, preview=body.preview)


@router.get("/{patient_id}", summary="Read a patient")
async def read(
    ctx: CurrentContext,
    patient_id: str,
    response: Response,
    include_deleted: Annotated[bool, Query(description="Show the patient also when it has been deleted.")] = False,
) -> PatientOut:
    """Read a patient."""
    patients = Patients(ctx)
    return _answer(ctx, patients, await patients.get(patient_id, include_deleted=include_deleted), response)


@router.patch("/{patient_id}", summary="Change fields of a patient")
async def change(
    ctx: CurrentContext, patient_id: str, body: PatientPatch, response: Response, if_match: IfMatch = ""
) -> PatientOut:
    """Change the fields that are given; all else stays, also what only an EHR knows."""
    patients = Patients(ctx)
    found = await patients.change(patient_id, body.model_dump(exclude_unset=True), if_match)
    return _answer(ctx, patients, found, response)


@router.delete("/{patient_id}", status_code=204, summary="Delete a patient")
async def delete(ctx: CurrentContext, patient_id: str, if_match: IfMatch = "") -> None:
    """Delete a patient softly: it is no longer found, keeps its history, and can be activated again."""
    await Patients(ctx).delete(patient_id, if_match)


@router.post("/{patient_id}/activate", summary="Activate a patient")
async def activate(ctx: CurrentContext, patient_id: str, response: Response) -> PatientOut:
    """Bring back a patient that was deleted, under its id, or make an inactive one active."""
    patients = Patients(ctx)
    return _answer(ctx, patients, await patients.activate(patient_id), response)


@router.post("/{patient_id}/emergency-contact", summary="Add an emergency contact")
async def add_emergency_contact(
    ctx: CurrentContext, patient_id: str, body: EmergencyContact, response: Response, if_match: IfMatch = ""
) -> PatientOut:
    """Put an emergency contact before those that there are; one of the same name is changed instead."""
    patients = Patients(ctx)
    found = await patients.add_emergency_contact(patient_id, body.model_dump(exclude_unset=True), if_match)
    return _answer(ctx, patients, found, response)


@router.get("/{patient_id}/appointments", summary="Appointments of a patient")
async def appointments(ctx: CurrentContext, patient_id: str, limit: Limit = 50, cursor: Cursor = "") -> AppointmentList:
    """List the appointments of a patient, the latest first."""
    page = await _of_patient(ctx, "Appointment", patient_id, (("_sort", "-date"),), limit, cursor)
    shown = present.appointment_out(f"Patient/{patient_id}")
    return AppointmentList(items=[shown(one) for one in page.resources], total=page.total, next_cursor=page.next or None)


@router.get("/{patient_id}/media", summary="Media of a patient")
async def media(ctx: CurrentContext, patient_id: str, limit: Limit = 50, cursor: Cursor = "") -> MediaList:
    """List documents, pictures and recordings of a patient, the newest first."""
    page = await _of_patient(ctx, "DocumentReference", patient_id, (("_sort", "-_lastUpdated"),), limit, cursor)
    return MediaList(items=[present.media_out(one) for one in page.resources], total=page.total, next_cursor=page.next or None)


@router.get("/{patient_id}/duplicates", summary="Likely duplicates of a patient")
async def duplicates(ctx: CurrentContext, patient_id: str) -> DuplicateList:
    """List patients that may be the same person, the likeliest first, with the evidence of each field."""
    await ctx.dispatch(ctx, Call("read", type="Patient", id=patient_id))
    found = await duplicates_of(ctx, patient_id)
    patients = Patients(ctx)
    read_again = [await ctx.dispatch(ctx, Call("read", type="Patient", id=one.version.id)) for one in found]
    shown = await patients.whole([reply.resource or {} for reply in read_again])
    pairs = zip(shown, found, strict=True)
    return DuplicateList(items=[present.duplicate_out(_shown(ctx, patients, one), duplicate) for one, duplicate in pairs])


async def _ranked(ctx: Context, query: str, params: tuple[tuple[str, str], ...], limit: int, offset: int) -> PatientList:
    asked = (("_query", "fuzzy"), ("q", query), *params)
    page = await search(ctx, "Patient", asked, limit=limit + offset)
    rest = page.resources[offset:]
    return await _list(ctx, Page(rest, page.total, "", page.scores), limit, offset)


async def _list_deleted(ctx: Context, asked: queries.Criteria) -> PatientList:
    if asked.cursor or asked.query or asked.phone or asked.date_of_birth:
        raise refused(bad_request("Deleted patients are listed by `limit` and `offset` only.", "status"))
    patients = Patients(ctx)
    found = [Patient(resource, None, moment) for resource, moment in await deleted(ctx, limit=asked.limit, offset=asked.offset)]
    return PatientList(items=[_shown(ctx, patients, one) for one in found], limit=asked.limit, offset=asked.offset)


async def _list(ctx: Context, page: Page, limit: int, offset: int) -> PatientList:
    patients = Patients(ctx)
    found = await patients.whole(page.resources)
    items = [present.patient_out(ctx, patients, one, page.scores.get(one.resource["id"])) for one in found]
    return PatientList(items=items, total=page.total, limit=limit, offset=offset, next_cursor=page.next or None)


async def _of_patient(
    ctx: Context, type_: str, patient_id: str, params: tuple[tuple[str, str], ...], limit: int, cursor: str
) -> Page:
    await ctx.dispatch(ctx, Call("read", type="Patient", id=patient_id))
    return await search(ctx, type_, (("patient", f"Patient/{patient_id}"), *params), limit=limit, cursor=cursor)


def _answer(ctx: Context, patients: Patients, found: Patient, response: Response) -> PatientOut:
    response.headers["ETag"] = f'W/"{found.version}"'
    return _shown(ctx, patients, found)


def _shown(ctx: Context, patients: Patients, found: Patient) -> PatientOut:
    return present.patient_out(ctx, patients, found)
