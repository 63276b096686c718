"""Finding templates: by name for what is to be sent now, by `url|version` for what was asked for.

https://hl7.org/fhir/R4/references.html#canonical
"""

from dataclasses import replace
from typing import Final
from weakref import WeakKeyDictionary

from fhir_server.exchange import Call, Context, Params, Resource
from fhir_server.fhir.outcome import unprocessable
from fhir_server.fhir.reference import parse
from fhir_server.security.views import shown
from fhir_server.store.database import Database
from prm_ext.notifications.templates.model import Template
from prm_ext.notifications.templates.resource import from_resource, is_message, is_ours
from prm_ext.notifications.templates.seeds import seed_named, seed_of_id, seed_of_url
from prm_ext.notifications.templates.values import Variable
from prm_ext.notifications.templates.wellknown import WELL_KNOWN

TYPE: Final = "ActivityDefinition"
_KEPT: Final = 2000
_kept: WeakKeyDictionary[Database, dict[tuple[str, str], Template]] = WeakKeyDictionary()
"""Versions that never change, by tenant and canonical URL."""


async def template_named(ctx: Context, name: str) -> str:
    """Return the canonical URL, with its version, of what a name stands for now: the tenant's own, or the built-in template.

    Raises:
        FhirError: 422, there is none, or it is retired.
    """
    return (await named(ctx, name)).canonical


async def named(ctx: Context, name: str) -> Template:
    """Return the template that a name stands for now.

    That is the tenant's active one. One that is retired turns a built-in template of its name off; a draft does not.

    Raises:
        FhirError: 422, there is none that is in use.
    """
    found = [one for one in await search(ctx, (("name:exact", escaped(name)), ("_sort", "-_lastUpdated"))) if is_message(one)]
    active = next((one for one in found if one.get("status") == "active"), None)
    if active is not None:
        return read(active)
    if any(one.get("status") == "retired" for one in found):
        raise unprocessable(f"The template {name!r} is retired; activate it, or name another.", code="business-rule")
    seed = seed_named(name)
    if seed is not None:
        return seed
    text = "is a draft only; activate it first" if found else "is not known; GET /templates lists those that there are"
    raise unprocessable(f"The template {name!r} {text}.", code="not-found")


async def resolved(ctx: Context, canonical: str) -> Template:
    """Return the template that a canonical URL stands for: with a version exactly that one, also when there are later ones.

    Raises:
        FhirError: 422, there is none.
    """
    url, _, version = canonical.partition("|")
    found = seed_of_url(url, version) or _remembered(ctx, canonical)
    if found is not None:
        return found
    resource = await _resource(ctx, url, version)
    if resource is None:
        raise unprocessable(f"There is no template {canonical!r}.", code="not-found")
    template = read(resource)
    if version and is_ours(resource) and template.status != "draft":
        _remember(ctx, canonical, template)
    return template


def read(resource: Resource) -> Template:
    """Return the template of an ActivityDefinition; what an EHR uses without declaring it is a text.

    Raises:
        FhirError: 422, it is none.
    """
    template = from_resource(resource)
    if template is None:
        text = "is no template: it needs the kind CommunicationRequest, and for its payload an expression of texts and variables"
        raise unprocessable(f"ActivityDefinition/{resource.get('id')} {text}.", code="not-supported")
    unknown = [] if is_ours(resource) else [name for name in template.names() if name not in {**template.variables, **WELL_KNOWN}]
    return (
        replace(template, variables={**template.variables, **{name: Variable(name) for name in unknown}}) if unknown else template
    )


async def _resource(ctx: Context, url: str, version: str) -> Resource | None:
    local = parse(url, ctx.base_url).target
    asked: Params = (("_id", local[1]),) if local is not None and local[0] == TYPE else (("url", escaped(url)),)
    found = await search(ctx, (*asked, ("_sort", "-_lastUpdated")))
    if not version:
        return next((one for one in found if one.get("status") == "active"), next(iter(found), None))
    exact = next((one for one in found if one.get("version") == version), None)
    if exact is not None:
        return exact
    for one in found:
        earlier = await version_of(ctx, one, version)
        if earlier is not None:
            return earlier
    return None


async def version_of(ctx: Context, current: Resource, version: str) -> Resource | None:
    """Return the latest state of an ActivityDefinition in which it had a (business) version; None: it never had."""
    for number in range(int(current["meta"]["versionId"]) - 1, 0, -1):
        earlier = await earlier_of(ctx, current["id"], number)
        if earlier is not None and earlier.get("version") == version and earlier.get("url") == current.get("url"):
            return earlier
    return None


async def earlier_of(ctx: Context, id_: str, number: int) -> Resource | None:
    """Return an earlier state of an ActivityDefinition; None where it was deleted then, or may not be seen."""
    found = await ctx.repo.version(TYPE, id_, number)
    if found is None or found.resource is None:
        return None
    return found.resource if ctx.access is None else shown(ctx.access, found.resource)


async def search(ctx: Context, params: Params) -> list[Resource]:
    """Return ActivityDefinitions."""
    reply = await ctx.dispatch(ctx, Call("search-type", TYPE, params=(*params, ("_count", "100"))))
    entries = (reply.resource or {}).get("entry", ())
    return [entry["resource"] for entry in entries if entry.get("search", {}).get("mode") == "match"]


def escaped(value: str) -> str:
    """Return a value of a search parameter: https://hl7.org/fhir/R4/search.html#escaping."""
    found = value.replace("\\", "\\\\")
    for letter in ",|$":
        found = found.replace(letter, "\\" + letter)
    return found


def _remembered(ctx: Context, canonical: str) -> Template | None:
    # Who may not see everything has to ask.
    return _kept.get(ctx.repo.database, {}).get((ctx.tenant, canonical)) if ctx.access is None else None


def _remember(ctx: Context, canonical: str, template: Template) -> None:
    if ctx.access is None:
        kept = _kept.setdefault(ctx.repo.database, {})
        if len(kept) >= _KEPT:
            kept.clear()
        kept[ctx.tenant, canonical] = template


async def template_of_id(ctx: Context, id_: str) -> str:
    """Return the canonical URL, with its version, of a template by its id.

    Raises:
        FhirError: 404 or 410, there is none; 422, it is not in use.
    """
    seed = seed_of_id(id_)
    if seed is not None:
        return seed.canonical
    template = read((await ctx.dispatch(ctx, Call("read", TYPE, id_))).resource or {})
    if template.status != "active":
        raise unprocessable(f"The template {template.name!r} is {template.status}; activate it first.", code="business-rule")
    return template.canonical
