"""batch and transaction: https://hl7.org/fhir/R4/http.html#transaction.

A batch replays its entries through the dispatcher, each on its own. A transaction is planned in `transaction`.
"""

import asyncio
import base64
import binascii
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fhir_server.exchange import Call, Context, Reply, Resource
from fhir_server.fhir.codec import decode
from fhir_server.fhir.outcome import FhirError, Issue, bad_request, too_costly
from fhir_server.fhir.validate import validate
from fhir_server.interactions.request import call_for
from fhir_server.store.versions import instant

ORDER = ("DELETE", "POST", "PUT", "PATCH", "GET", "HEAD")
PHASES = ({"DELETE"}, {"POST"}, {"PUT", "PATCH"}, {"GET", "HEAD"})
TOGETHER = 16
"""How many entries of a batch are under way at a time."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a Bundle that is to be processed."""

    place: int
    method: str
    full_url: str
    call: Call

    @property
    def path(self) -> str:
        """The FHIRPath of the entry."""
        return f"Bundle.entry[{self.place}]"


def parse_entry(ctx: Context, place: int, entry: Any, outer: Call) -> Entry:
    """Return what an entry asks for.

    Raises:
        FhirError: 400 or 404, with the place of the entry.
    """
    path = f"Bundle.entry[{place}]"
    request = entry.get("request") if isinstance(entry, dict) else None
    if not isinstance(request, dict) or not isinstance(request.get("method"), str) or not isinstance(request.get("url"), str):
        raise bad_request("Every entry needs a `request` with `method` and `url`.", f"{path}.request", code="required")
    method = request["method"]
    if method not in ORDER:
        raise bad_request(f"{method!r} is not one of {', '.join(ORDER)}.", f"{path}.request.method", code="value")
    body = _patch_body(entry.get("resource"), path) if method == "PATCH" else entry.get("resource")
    try:
        call = _call(
            ctx,
            method,
            request["url"],
            resource=body if method not in ("GET", "HEAD", "DELETE") else None,
            if_match=str(request.get("ifMatch", "")),
            if_none_match=str(request.get("ifNoneMatch", "")),
            if_none_exist=request.get("ifNoneExist") if method == "POST" else None,
            if_modified_since=str(request.get("ifModifiedSince", "")),
            prefer=outer.prefer,
        )
    except FhirError as error:
        raise at_entry(error, place) from None
    if call.interaction in ("batch", "transaction"):
        raise bad_request("A Bundle can not be processed inside a Bundle.", f"{path}.request.url", code="not-supported")
    return Entry(place, method, str(entry.get("fullUrl", "")), call)


def _call(ctx: Context, method: str, url: str, **details: Any) -> Call:
    if url.isalpha():
        return call_for(method, url, **details)
    if url.startswith(ctx.base_url + "/"):
        url = url.removeprefix(ctx.base_url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise bad_request(f"{url!r} is not a URL.", code="value") from None
    if parts.scheme or parts.netloc:
        raise bad_request(f"{url!r} is not below the base {ctx.base_url}.", code="value")
    params = tuple(parse_qsl(parts.query, keep_blank_values=True))
    asked = tuple((name, value) for name, value in params if name not in ("_format", "_pretty"))
    return call_for(method, parts.path, asked, **details)


def _patch_body(resource: Any, path: str) -> Any:
    """Return a FHIRPath Patch as it is, and the JSON Patch that a Binary carries."""
    if not isinstance(resource, dict) or resource.get("resourceType") != "Binary":
        return resource
    try:
        return decode(base64.b64decode(resource.get("data", ""), validate=True))
    except (binascii.Error, ValueError, TypeError):
        raise bad_request(
            "The Binary of a JSON Patch has to hold base64 in `data`.", f"{path}.resource.data", code="value"
        ) from None


def at_entry(error: FhirError, place: int) -> FhirError:
    """Return the error with its places given relative to the whole Bundle."""
    path = f"Bundle.entry[{place}]"

    def moved(issue: Issue) -> Issue:
        if issue.expression and issue.expression[0].startswith("Bundle.entry["):
            return issue
        inner = tuple(_below_resource(path, item) for item in issue.expression) or (path,)
        return replace(issue, expression=inner, diagnostics=f"Entry {place}: {issue.diagnostics}")

    return FhirError(error.status, [moved(issue) for issue in error.issues], error.headers)


def _below_resource(path: str, expression: str) -> str:
    _, dot, rest = expression.partition(".")
    return f"{path}.resource.{rest}" if dot else f"{path}.resource"


def entries_of(ctx: Context, bundle: Resource) -> list[Any]:
    """Return the entries of a batch or transaction after judging the Bundle around them."""
    entries: Any = bundle.get("entry", [])
    if isinstance(entries, list) and len(entries) > ctx.settings.max_bundle_entries:
        raise too_costly(
            f"The Bundle has {len(entries)} entries; this server takes {ctx.settings.max_bundle_entries}. Split it.", 413
        )
    shell = {name: value for name, value in bundle.items() if name != "entry"}
    issues = validate(shell)
    if not isinstance(entries, list) or ("entry" in bundle and not entries):
        issues.append(Issue("structure", "`entry` has to be an array with at least one member.", ("Bundle.entry",)))
    if issues:
        raise FhirError(ctx.settings.validation_status, issues)
    found: list[Any] = entries
    return found


def response_entry(ctx: Context, call: Call, reply: Reply) -> dict[str, Any]:
    """Return the entry of a response Bundle that says how an entry went."""
    response: dict[str, Any] = {"status": f"{reply.status} {HTTPStatus(reply.status).phrase}"}
    if reply.location:
        response["location"] = f"{ctx.base_url}/{reply.location}"
    if reply.version:
        response["etag"] = f'W/"{reply.version}"'
    if reply.last_modified is not None:
        response["lastModified"] = instant(reply.last_modified)
    if call.prefer.return_ == "OperationOutcome" and reply.issues:
        response["outcome"] = {"resourceType": "OperationOutcome", "issue": [issue.to_fhir() for issue in reply.issues]}
    entry: dict[str, Any] = {}
    if reply.location:
        entry["fullUrl"] = f"{ctx.base_url}/{reply.location.partition('/_history/')[0]}"
    reads = not call.affects_state or call.interaction in ("operation", "search-type", "search-system", "search-compartment")
    if reply.resource is not None and (reads or call.prefer.return_ == "representation"):
        entry["resource"] = reply.resource
    return entry | {"response": response}


def failed_entry(error: FhirError) -> dict[str, Any]:
    """Return the entry of a batch response that says why an entry failed."""
    status = f"{error.status} {HTTPStatus(error.status).phrase}"
    response: dict[str, Any] = {"status": status, "outcome": error.to_fhir()}
    if "ETag" in error.headers:
        response["etag"] = error.headers["ETag"]
    return {"response": response}


async def batch(ctx: Context, call: Call) -> Reply:
    """Process entries independently of each other; the answers stand in the order of the requests."""
    answers: dict[int, dict[str, Any]] = {}
    parsed: list[Entry] = []
    for place, entry in enumerate(entries_of(ctx, call.resource)):
        try:
            parsed.append(parse_entry(ctx, place, entry, call))
        except FhirError as error:
            answers[place] = failed_entry(error)
    gate = asyncio.Semaphore(TOGETHER)

    async def process(entry: Entry) -> None:
        async with gate:
            try:
                answers[entry.place] = response_entry(ctx, entry.call, await ctx.dispatch(ctx, entry.call))
            except FhirError as error:
                answers[entry.place] = failed_entry(at_entry(error, entry.place))

    for methods in PHASES:
        await asyncio.gather(*(process(entry) for entry in parsed if entry.method in methods))
    return response_bundle("batch-response", answers)


def response_bundle(type_: str, answers: dict[int, dict[str, Any]]) -> Reply:
    """Return the response Bundle, its entries in the order of the requests."""
    bundle: Resource = {"resourceType": "Bundle", "type": type_}
    if answers:
        bundle["entry"] = [answers[place] for place in sorted(answers)]
    return Reply(200, bundle)
