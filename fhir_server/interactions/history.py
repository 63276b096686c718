"""history, of a resource, a type or the whole system: https://hl7.org/fhir/R4/http.html#history."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from fhir_server.exchange import Call, Context, Params, Reply, Resource
from fhir_server.fhir import dates
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import bad_request, not_found
from fhir_server.interactions.reading import check_id, subset
from fhir_server.security.history import count_visible, find_visible, guard_of
from fhir_server.store import cursor
from fhir_server.store.history import After, Wanted, count_versions, find_versions
from fhir_server.store.versions import Version, instant

_SUBSETS = ("_summary", "_elements")
_STATUS = {"POST": "201 Created", "DELETE": "204 No Content"}
_LARGEST = 1_000_000_000


async def history_instance(ctx: Context, call: Call) -> Reply:
    """Answer the versions of one resource; 404 where there has never been one."""
    check_id(call.id)
    if await ctx.repo.current(call.type, call.id) is None:
        raise not_found(call.type, call.id)
    return await _answer(ctx, call, (call.type,))


async def history_type(ctx: Context, call: Call) -> Reply:
    """Answer the versions of all resources of one type."""
    return await _answer(ctx, call, (call.type,))


async def history_system(ctx: Context, call: Call) -> Reply:
    """Answer the versions of all resources, or of those of the types in `_type`."""
    existing = await ctx.repo.existing_types()
    asked = [name for key, value in call.params if key == "_type" for name in value.split(",")]
    for name in asked:
        if name not in RESOURCE_TYPES:
            raise bad_request(f"_type={name!r} is not a resource type of FHIR R4.")
    if ctx.access is not None:
        existing &= ctx.access.types("s")
    return await _answer(ctx, call, tuple(sorted(existing.intersection(asked) if asked else existing)))


async def _answer(ctx: Context, call: Call, types: Sequence[str]) -> Reply:
    wanted, count, page, used = _parse(ctx, call, types)
    purpose = f"history {call.type}/{call.id}?{urlencode(used)}"
    after = _after(await cursor.unseal(ctx.repo, purpose, page)) if page else None
    timeout = ctx.settings.search_timeout_ms
    versions = await _find(ctx, wanted, after, count + 1) if count else []
    more = len(versions) > count
    shown = versions[:count]
    if page is None and not more and count:
        total: int | None = len(shown)
    else:
        total = await _total(ctx, wanted, timeout if call.id or not count else 0)
    following = ""
    if more:
        last = shown[-1]
        following = await cursor.seal(
            ctx.repo, purpose, [round(last.last_updated.timestamp() * 1000), last.type, last.id, last.number]
        )
    return Reply(200, _bundle(ctx, call, shown, total, used, following))


async def _find(ctx: Context, wanted: Wanted, after: After | None, limit: int) -> list[Version]:
    timeout, letters = ctx.settings.search_timeout_ms, "r" if wanted.id else "s"
    repo = guard_of(ctx.repo, wanted.types, letters)
    if repo is not None:
        return await find_visible(repo, wanted, letters, after=after, limit=limit, timeout_ms=timeout)
    return await find_versions(ctx.repo, wanted, after=after, limit=limit, timeout_ms=timeout)


async def _total(ctx: Context, wanted: Wanted, timeout_ms: int) -> int | None:
    """Return how many versions there are; without a time to do so only where they are counted quickly."""
    letters = "r" if wanted.id else "s"
    repo = guard_of(ctx.repo, wanted.types, letters)
    if repo is None:
        return await count_versions(ctx.repo, wanted, timeout_ms=timeout_ms or ctx.settings.count_timeout_ms)
    return await count_visible(repo, wanted, letters, timeout_ms=timeout_ms) if timeout_ms else None


def _after(value: Any) -> After:
    moment, type_, id_, number = value
    return After(datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=moment), type_, id_, number)


def _parse(ctx: Context, call: Call, types: Sequence[str]) -> tuple[Wanted, int, str | None, Params]:
    """Return what is wanted, the page size, the cursor, and the parameters that were understood.

    Raises:
        FhirError: 400 for a value that can not be read, and for unknown parameters under strict handling.
    """
    wanted = Wanted(tuple(types), call.id)
    count, page = ctx.settings.default_count, None
    used = []
    for name, value in call.params:
        if name == "_count":
            count = min(_number(value), ctx.settings.max_count)
        elif name == "_since":
            wanted = replace(wanted, since=_interval(name, value)[0])
        elif name == "_at":
            wanted = replace(wanted, at=_interval(name, value))
        elif name == "_cursor":
            page = value
            continue
        elif name not in ("_type", *_SUBSETS):
            if call.prefer.strict:
                raise bad_request(f"{name!r} is not a parameter of history; known are _count, _since, _at, _type.")
            continue
        used.append((name, value))
    return wanted, count, page, tuple(used)


def _number(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise bad_request(f"_count={value!r} is not a whole number.")
    return min(int(value[:10]), _LARGEST)


def _interval(name: str, value: str) -> tuple[datetime, datetime]:
    try:
        # An unescaped + in a query is a space.
        return dates.interval(value.replace(" ", "+"))
    except ValueError:
        raise bad_request(f"{name}={value!r} is not a date or instant, such as 2024-01-31T10:00:00Z.") from None


def _bundle(ctx: Context, call: Call, versions: Sequence[Version], total: int | None, used: Params, following: str) -> Resource:
    path = "/".join(part for part in (call.type, call.id, "_history") if part)
    bundle: Resource = {"resourceType": "Bundle", "type": "history"}
    if total is not None:
        bundle["total"] = total
    links = [{"relation": "self", "url": _url(ctx, path, used)}]
    if following:
        links.append({"relation": "next", "url": _url(ctx, path, (*used, ("_cursor", following)))})
    bundle["link"] = links
    shown = [item for item in call.params if item[0] in _SUBSETS]
    if versions:
        bundle["entry"] = [_entry(ctx, version, tuple(shown)) for version in versions]
    return bundle


def _url(ctx: Context, path: str, params: Params) -> str:
    query = urlencode(params)
    return f"{ctx.base_url}/{path}?{query}" if query else f"{ctx.base_url}/{path}"


def _entry(ctx: Context, version: Version, shown: Params) -> dict[str, Any]:
    entry: dict[str, Any] = {"fullUrl": f"{ctx.base_url}/{version.reference}"}
    if version.resource is not None:
        entry["resource"] = subset(version.resource, shown) if shown else version.resource
    url = version.type if version.method == "POST" else version.reference
    status = _STATUS.get(version.method, "201 Created" if version.number == 1 else "200 OK")
    return entry | {
        "request": {"method": version.method, "url": url},
        "response": {"status": status, "etag": f'W/"{version.number}"', "lastModified": instant(version.last_updated)},
    }
