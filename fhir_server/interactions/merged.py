"""Writes that name a patient who has been merged into another, and writes of such a patient.

https://build.fhir.org/ig/HL7/fhir-patient-merge-ig (the operation); docs/merge.md (the rules)
"""

from collections.abc import Mapping, Sequence

from fhir_server.exchange import Context, Resource
from fhir_server.fhir.outcome import FhirError, Issue, unprocessable
from fhir_server.fhir.repoint import TYPE, Move, patient_ids, repointed
from fhir_server.interactions.references import references
from fhir_server.store.redirects import redirects_of
from fhir_server.store.versions import Version

Found = tuple[Resource, tuple[Issue, ...]]


async def followed(ctx: Context, resource: Resource, id_: str) -> Found:
    """Return what is stored of a resource that a client wants to write under this id, and warnings about that.

    References to a merged patient become references to the survivor. Where nobody has been merged this costs nothing.

    Raises:
        FhirError: 422 for references to a merged patient where `merged_references` is `refuse`, and for a merged patient
            who would lose the link to the survivor.
    """
    redirects = redirects_of(ctx.repo.database)
    if redirects.idle(ctx.tenant) or not await redirects.refresh(ctx.tenant):
        return resource, ()
    named = set(patient_ids(resource, ctx.base_url))
    if resource["resourceType"] == TYPE:
        named.add(id_)
    named = {one for one in named if redirects.may_be_merged(ctx.tenant, one)}
    survivors = await redirects.survivors(ctx.tenant, named) if named else {}
    if not survivors:
        return resource, ()
    if resource["resourceType"] == TYPE and id_ in survivors:
        _check_merged(resource, id_, survivors[id_])
    return _rerouted(ctx, resource, survivors)


def without_merged(patients: Sequence[Version]) -> list[Version]:
    """Return the patients without those who are replaced by another one among them."""
    present = {f"{TYPE}/{version.id}" for version in patients}
    return [version for version in patients if present.isdisjoint(_replacements(version))]


def _replacements(version: Version) -> list[str]:
    links = (version.resource or {}).get("link", ())
    return [link.get("other", {}).get("reference", "") for link in links if link.get("type") == "replaced-by"]


def _rerouted(ctx: Context, resource: Resource, survivors: Mapping[str, str]) -> Found:
    moves = [Move(source, target, ctx.base_url) for source, target in survivors.items()]
    found = resource
    for move in moves:
        found = repointed(found, move)
    if found is resource:
        return resource, ()
    refused = ctx.settings.merged_references == "refuse"
    issues = tuple(
        _issue(move, path, refused=refused) for path, text in references(resource) for move in moves if move.match(text)
    )
    if refused:
        raise FhirError(422, issues)
    return found, issues


def _issue(move: Move, path: str, *, refused: bool) -> Issue:
    text = f"Patient/{move.source} has been merged into Patient/{move.target}"
    if refused:
        return Issue("business-rule", f"{text}: refer to that.", (path,))
    return Issue("informational", f"{text}, which the reference was changed to.", (path,), "warning")


def _check_merged(resource: Resource, id_: str, target: str) -> None:
    links = resource.get("link", ())
    kept = any(
        link.get("type") == "replaced-by" and link.get("other", {}).get("reference", "").endswith(f"{TYPE}/{target}")
        for link in links
    )
    if not kept or resource.get("active") is not False:
        raise unprocessable(
            f"Patient/{id_} has been merged into Patient/{target}: it stays inactive, with its link replaced-by"
            f" Patient/{target}. Write to Patient/{target}, or take the merge back with Patient/$undo-merge.",
            "Patient.link",
            code="business-rule",
        )
