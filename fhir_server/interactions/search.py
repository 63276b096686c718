"""search, of a type, of the whole system or in a compartment: https://hl7.org/fhir/R4/http.html#search."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from fhir_server.exchange import Call, Context, Params, Reply, Resource
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import bad_request, operation_outcome
from fhir_server.fhir.subset import elements, summary
from fhir_server.interactions.writing import new_id
from fhir_server.search.compartment import compartment_types
from fhir_server.search.fuzzy.query import search_fuzzily
from fhir_server.search.query import Results
from fhir_server.search.run import SearchResult, search
from fhir_server.store.stored import EncodedCache
from fhir_server.store.versions import StoredVersion, Version, instant

_UNESCAPED: Final = ":,$/*@-._~"
_ESCAPES: Final = {code: quote(chr(code), safe=_UNESCAPED) for code in range(128)}


async def search_type(ctx: Context, call: Call) -> Reply:
    """Answer a page of the resources of one type that match."""
    run = search_fuzzily if any(name == "_query" for name, _ in call.params) else search
    result = await run(ctx, call.type, call.params, strict=call.prefer.strict)
    return Reply(200, searchset(ctx, call.type, result, encoded=call.encoded))


async def search_system(ctx: Context, call: Call) -> Reply:
    """Answer a page of the resources of all types, or of those in `_type`, that match."""
    existing = await ctx.repo.existing_types()
    types = asked_types(call.params) or sorted(existing)
    # What was asked for alone is searched even if nothing of the type is stored, so that its parameters are judged.
    known = types if len(types) == 1 else [type_ for type_ in types if type_ in existing]
    if ctx.access is not None:
        # Which types there are resources of must not decide how parameters are judged.
        known = sorted(ctx.access.types("s").intersection(asked_types(call.params) or RESOURCE_TYPES))
    result = await search(ctx, known or types, call.params, strict=call.prefer.strict)
    return Reply(200, searchset(ctx, "", result, encoded=call.encoded))


async def search_compartment(ctx: Context, call: Call) -> Reply:
    """Answer a page of the resources in a compartment, of one type or of all."""
    if call.compartment is None:
        raise bad_request("A search in a compartment needs its type and id.")
    compartment, id_ = call.compartment
    possible = compartment_types(compartment)
    path = f"{compartment}/{id_}/{call.type or '*'}"
    if call.type:
        types: Sequence[str] = (call.type,)
    else:
        existing = await ctx.repo.existing_types()
        asked = asked_types(call.params) or possible
        if ctx.access is not None:
            existing = ctx.access.types("s")
        types = [type_ for type_ in asked if type_ in existing and type_ in possible] or [compartment]
    result = await search(ctx, types, call.params, compartment=call.compartment, strict=call.prefer.strict)
    return Reply(200, searchset(ctx, path, result, encoded=call.encoded))


def asked_types(params: Params) -> list[str]:
    """Return the types that `_type` names, each once, in alphabetical order.

    Raises:
        FhirError: 400 for a name that is no resource type.
    """
    names = {part.strip() for name, value in params if name == "_type" for part in value.split(",") if part.strip()}
    for name in names:
        if name not in RESOURCE_TYPES:
            raise bad_request(f"_type={name!r} is not a resource type of FHIR R4.")
    return sorted(names)


def searchset(ctx: Context, path: str, result: SearchResult, *, encoded: bool = False) -> Resource:
    """Return the Bundle of a page: https://hl7.org/fhir/R4/bundle.html#searchset.

    Where `encoded` is set, whole resources are `msgspec.Raw`.
    """
    cache = ctx.repo.database.encoded if encoded else None
    bundle: Resource = {
        "resourceType": "Bundle",
        "id": new_id(),
        "meta": {"lastUpdated": instant(ctx.now())},
        "type": "searchset",
    }
    if result.total is not None:
        bundle["total"] = result.total
    bundle["link"] = _links(ctx, path, result)
    entries = [_entry(ctx.base_url, version, "match", result.results, cache) for version in result.matches]
    for entry, score in zip(entries, result.scores, strict=False):
        entry["search"]["score"] = score
    entries += [_entry(ctx.base_url, version, "include", result.results, cache) for version in result.included]
    if result.issues:
        entries.append({"resource": operation_outcome(result.issues), "search": {"mode": "outcome"}})
    if entries:
        bundle["entry"] = entries
    return bundle


def _entry(base_url: str, version: Version, mode: str, results: Results, cache: EncodedCache | None) -> dict[str, Any]:
    return {
        "fullUrl": f"{base_url}/{version.reference}",
        "resource": _shown(version, results, cache),
        "search": {"mode": mode},
    }


def _shown(version: Version, results: Results, cache: EncodedCache | None) -> Resource | msgspec.Raw:
    if results.summary == "false" and not results.elements and cache is not None and isinstance(version, StoredVersion):
        return msgspec.Raw(version.json(cache))
    resource = version.resource or {}
    if results.summary != "false":
        resource = summary(resource, results.summary)
    return elements(resource, results.elements) if results.elements else resource


def _links(ctx: Context, path: str, result: SearchResult) -> list[dict[str, str]]:
    first = _url(ctx, path, result.understood)
    own = result.results.cursor
    links = [{"relation": "self", "url": _at(first, own) if own else first}]
    if result.next or result.previous or own:
        links.append({"relation": "first", "url": first})
    for relation, cursor in (("previous", result.previous), ("next", result.next)):
        if cursor:
            links.append({"relation": relation, "url": _at(first, cursor)})
    return links


def _at(url: str, cursor: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}_cursor={_escaped(cursor)}"


def _url(ctx: Context, path: str, params: Params) -> str:
    base = f"{ctx.base_url}/{path}" if path else ctx.base_url
    query = "&".join([f"{_escaped(name)}={_escaped(value)}" for name, value in params])
    return f"{base}?{query}" if query else base


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES) if text.isascii() else quote(text, safe=_UNESCAPED)
