"""Pages of searches, by offset or by cursor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fhir_server.exchange import Call, Context, Params

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Resources that were found, in their order."""

    resources: Sequence[Resource]
    total: int | None
    """How many there are in all, where that is known."""
    next: str
    """The cursor of the page behind, or nothing."""
    scores: Mapping[str, float]
    """How well each fits, by id, where the search ranks."""


async def search(ctx: Context, type_: str, params: Params, *, limit: int, cursor: str = "", offset: int = 0) -> Page:
    """Return one page; an offset is reached by reading the pages before it, as large as they may be."""
    total: int | None = None
    while offset > 0:
        skipped = await _search(ctx, type_, params, min(offset, ctx.settings.max_count), cursor)
        total = skipped.total if total is None else total
        offset -= len(skipped.resources)
        cursor = skipped.next
        if not cursor:
            return Page((), total, "", {})
    page = await _search(ctx, type_, params, limit, cursor)
    return Page(page.resources, page.total if total is None else total, page.next, page.scores)


async def _search(ctx: Context, type_: str, params: Params, count: int, cursor: str) -> Page:
    asked = (*params, ("_count", str(count)), *((("_cursor", cursor),) if cursor else ()))
    bundle = (await ctx.dispatch(ctx, Call("search-type", type=type_, params=asked))).resource or {}
    entries = [entry for entry in bundle.get("entry", ()) if entry.get("search", {}).get("mode") != "outcome"]
    resources = [entry["resource"] for entry in entries]
    scores = {entry["resource"]["id"]: float(entry["search"]["score"]) for entry in entries if "score" in entry.get("search", {})}
    return Page(resources, bundle.get("total"), cursor_of(bundle), scores)


def cursor_of(bundle: Mapping[str, Any]) -> str:
    """Return the cursor of the page behind, or nothing."""
    link = next((link["url"] for link in bundle.get("link", ()) if link.get("relation") == "next"), "")
    return next(iter(parse_qs(urlsplit(link).query).get("_cursor", ())), "")
