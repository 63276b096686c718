"""Referential integrity, where settings ask for it.

https://hl7.org/fhir/R4/http.html#integrity
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fhir_server.exchange import Context, Resource
from fhir_server.fhir.outcome import FhirError, Issue
from fhir_server.fhir.reference import parse
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter
from fhir_server.store.writes import Write

Target = tuple[str, str]


def references(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the FHIRPath and text of each `Reference.reference` below a resource."""
    if isinstance(node, dict):
        path = path or node.get("resourceType", "")
        for name, value in node.items():
            if name == "reference" and isinstance(value, str):
                yield f"{path}.reference", value
            elif isinstance(value, dict | list):
                yield from references(value, f"{path}.{name}")
    elif isinstance(node, list):
        for place, item in enumerate(node):
            yield from references(item, f"{path}[{place}]")


def _local(resource: Resource, base_url: str) -> Iterator[tuple[str, Target]]:
    for path, text in references(resource):
        target = parse(text, base_url).target
        if target is not None:
            yield path, target


async def check_references(ctx: Context, writes: Sequence[Write]) -> None:
    """Refuse (422) writes that refer to local resources that neither exist nor are written together with them."""
    if not ctx.settings.reference_check:
        return
    present = {(item.version.type, item.version.id) for item in writes if not item.version.deleted}
    wanted = [
        (path, target) for item in writes if item.version.resource for path, target in _local(item.version.resource, ctx.base_url)
    ]
    missing = {target for _, target in wanted} - present
    missing -= {(version.type, version.id) for version in await ctx.repo.currents(missing) if not version.deleted}
    issues = [
        Issue("not-found", f"{target[0]}/{target[1]} does not exist here; create it first, or in the same transaction.", (path,))
        for path, target in wanted
        if target in missing
    ]
    if issues:
        raise FhirError(422, issues)


async def check_unreferenced(ctx: Context, writes: Iterable[Write]) -> None:
    """Refuse (409) deletions of resources that others, not deleted with them, refer to."""
    if not ctx.settings.delete_check:
        return
    doomed = {(item.version.type, item.version.id) for item in writes if item.version.deleted}
    issues = [
        Issue("conflict", f"{type_}/{id_} can not be deleted: {await _named(ctx, referrer)} refers to it.")
        for type_, id_ in sorted(doomed)
        if (referrer := await _referrer(ctx, (type_, id_), doomed))
    ]
    if issues:
        raise FhirError(409, issues)


async def _named(ctx: Context, referrer: str) -> str:
    """Return the name of a resource, unless whoever is asking may not see it."""
    type_, _, id_ = referrer.partition("/")
    return referrer if ctx.access is None or await ctx.repo.currents([(type_, id_)]) else "another resource"


async def _referrer(ctx: Context, target: Target, doomed: set[Target]) -> str:
    """Return one living resource that refers to the target, or nothing."""
    text = f"{target[0]}/{target[1]}"
    registry = ctx.registry or BUILTIN
    for type_ in sorted(await ctx.repo.database.existing_types()):
        pointing = [
            parameter
            for parameter in registry.of(type_).values()
            if parameter.type == "reference" and not parameter.shared and not parameter.parts
            if not parameter.target or target[0] in parameter.target
        ]
        if not pointing:
            continue
        condition = {"$or": [{"t": ctx.tenant, **parameter_filter(parameter, "", [text])} for parameter in pointing]}
        async for document in ctx.repo.collection(type_).find(
            condition, {"i": 1}, session=ctx.repo.session, limit=len(doomed) + 1
        ):
            if (type_, document["i"]) not in doomed:
                return f"{type_}/{document['i']}"
    return ""
