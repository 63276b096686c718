"""Who refers to a patient: every resource of every type, by an index.

Most references are the entries of some search parameter. Those that are of none (`MedicationRequest.reportedReference`,
authors of notes, values of extensions, references inside contained resources) stand in an entry of their own, `s._refs`,
which only resources have that hold such a reference to a patient.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from fhir_server.fhir.reference import parse
from fhir_server.fhir.repoint import RECORDS, TYPE, patient_texts
from fhir_server.search.registry import BUILTIN
from fhir_server.store.repository import Repository

REFS: Final = "_refs"
FIELD: Final = f"s.{REFS}"
Key = tuple[str, str]


@cache
def patient_fields(type_: str) -> tuple[str, ...]:
    """Return the fields of index entries, all of them indexed, in which references to patients stand."""
    found = {
        parameter.field
        for parameter in BUILTIN.of(type_).values()
        if parameter.type == "reference" and not (parameter.parts or parameter.joined or parameter.shared)
        if parameter.field.startswith("s.") and (not parameter.target or TYPE in parameter.target)
    }
    return tuple(sorted(found))


@cache
def _names(type_: str) -> tuple[str, ...]:
    return tuple(field.removeprefix("s.") for field in patient_fields(type_))


def uncovered(resource: Mapping[str, Any], found: Mapping[str, Any], base_url: str) -> list[str]:
    """Return those references to patients of this server that are not among the entries that were `found`."""
    texts = patient_texts(resource)
    if not texts:
        return []
    wanted = {one.text for text in texts if (one := parse(text, base_url)).kind == "relative" and one.type == TYPE}
    for name in _names(resource["resourceType"]):
        values = found.get(name)
        if values is not None:
            wanted.difference_update((values,) if isinstance(values, str) else values)
    return sorted(wanted)


def filter_to(type_: str, tenant: str, patient: str) -> dict[str, Any]:
    """Return the filter of the resources of a type that may refer to a patient (an id)."""
    reference = f"{TYPE}/{patient}"
    return {"$or": [{"t": tenant, field: reference} for field in (*patient_fields(type_), FIELD)]}


async def find_referrers(repo: Repository, patient: str, limit: int) -> list[Key]:
    """Return up to `limit` types and ids of resources that may refer to a patient (an id), outside of transactions.

    Found is also what refers to the patient where references are never changed.
    """
    first, *others = sorted(await repo.existing_types() - RECORDS) or [TYPE]
    pipeline = _stages(first, repo.tenant, patient)
    pipeline += [{"$unionWith": {"coll": type_, "pipeline": _stages(type_, repo.tenant, patient)}} for type_ in others]
    cursor = await repo.collection(first).aggregate([*pipeline, {"$limit": limit}])
    return [(document["k"], document["i"]) async for document in cursor]


def _stages(type_: str, tenant: str, patient: str) -> list[dict[str, Any]]:
    return [{"$match": filter_to(type_, tenant, patient)}, {"$project": {"_id": 0, "i": 1}}, {"$set": {"k": type_}}]


async def count_referrers(repo: Repository, patient: str) -> int:
    """Return about how many resources refer to a patient (an id)."""
    total = 0
    for type_ in sorted(await repo.existing_types() - RECORDS):
        total += await repo.collection(type_).count_documents(filter_to(type_, repo.tenant, patient))
    return total


def refs_entry(resource: Mapping[str, Any], finished: dict[str, Any], base_url: str) -> None:
    """Add the entry `_refs` to the other entries, where the resource needs one."""
    texts = uncovered(resource, finished, base_url)
    if texts:
        finished[REFS] = texts
