"""$everything of a Patient or an Encounter.

https://hl7.org/fhir/R4/patient-operation-everything.html, https://hl7.org/fhir/R4/encounter-operation-everything.html

First come the resources of the compartment, type by type, then what they refer to outside of it: practitioners,
organizations, locations, medications. A page may hold both; none is told twice.
"""

from collections.abc import Iterator
from datetime import datetime

from fhir_server.exchange import Call, Context, Reply
from fhir_server.fhir import dates
from fhir_server.fhir.outcome import FhirError, Issue, bad_request
from fhir_server.interactions.reading import living
from fhir_server.interactions.search import asked_types, searchset
from fhir_server.operations.record import Asked, Record
from fhir_server.search import page
from fhir_server.search.access import Access
from fhir_server.search.query import Results
from fhir_server.search.run import SearchResult, registry_of
from fhir_server.store.redirects import redirects_of

_KNOWN = frozenset({"_since", "_type", "_count", "start", "end", "_cursor"})


async def everything(ctx: Context, call: Call) -> Reply:
    """Answer a page of all that is known about a patient (or all patients) or an encounter.

    Raises:
        FhirError: 404 or 410 for the resource itself, 400 for malformed parameters; under strict handling also 400 for
            unknown ones, and for a patient whose record has been merged into another's.
    """
    asked, issues = _parse(ctx, call)
    id_ = call.id
    if id_:
        survivor = await _survivor(ctx, call.type, id_)
        if survivor:
            issues = (*issues, _merged(call, survivor))
            id_ = survivor
    registry = registry_of(ctx)
    record = Record(Access(ctx), registry, call.type, id_, asked)
    bound_to = page.purpose(f"{call.type}/{call.id}/$everything", asked.understood)
    place = await page.unseal(ctx.repo, asked.cursor, bound_to) if asked.cursor else None
    versions = await record.page(place, asked.count + 1)
    total = len(versions) if place is None and len(versions) <= asked.count else None
    more, versions = len(versions) > asked.count, versions[: asked.count]
    following = await page.seal(ctx.repo, record.place(versions[-1]), bound_to) if more and versions else ""
    result = SearchResult(
        matches=tuple(versions),
        total=total,
        understood=asked.understood,
        results=Results(asked.count, cursor=asked.cursor),
        next=following,
        issues=issues,
    )
    return Reply(200, searchset(ctx, "/".join(part for part in (call.type, call.id, "$everything") if part), result))


def _parse(ctx: Context, call: Call) -> tuple[Asked, tuple[Issue, ...]]:
    known, issues = [], []
    for name, value in (*call.params, *_body_parameters(call)):
        if name not in _KNOWN or (call.type != "Patient" and name in ("start", "end")):
            if call.prefer.strict:
                raise bad_request(f"{name!r} is not a parameter of {call.type}/$everything.", code="not-supported")
            issues.append(Issue("not-supported", f"The parameter {name!r} is not known and was ignored.", severity="warning"))
        elif value:
            known.append((name, value))
    values = dict(known)
    count = values.get("_count", str(ctx.settings.default_count))
    if not (count.isascii() and count.isdigit()) or len(count) > 18 or not int(count):  # noqa: PLR2004 -- beyond any number
        raise bad_request(f"_count={count[:40]!r} is not a positive integer.")
    asked = Asked(
        types=frozenset(asked_types(tuple(known))),
        since=_moment("_since", values["_since"]) if "_since" in values else None,
        start=_date("start", values.get("start", "")),
        end=_date("end", values.get("end", "")),
        count=min(int(count), ctx.settings.max_count),
        cursor=values.get("_cursor", ""),
        understood=tuple(pair for pair in known if pair[0] != "_cursor"),
    )
    return asked, tuple(issues)


def _body_parameters(call: Call) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a POST with a Parameters resource."""
    if not isinstance(call.resource, dict):
        return
    for parameter in call.resource.get("parameter", ()):
        value = next((value for name, value in parameter.items() if name.startswith("value")), None)
        if value is not None:
            yield parameter.get("name", ""), str(value)


def _moment(name: str, value: str) -> datetime:
    try:
        return dates.interval(value.replace(" ", "+"))[0]
    except ValueError:
        raise bad_request(f"{name}={value!r} is not a date or an instant.") from None


def _date(name: str, value: str) -> str:
    if value:
        _moment(name, value)
    return value


async def _survivor(ctx: Context, type_: str, id_: str) -> str:
    """Return the id of the patient that this one has been merged into; "" where the resource is itself.

    Raises:
        FhirError: 404 or 410, there is no such resource, nor one that it has been merged into.
    """
    try:
        version = await living(ctx, type_, id_)
    except FhirError:
        redirects = redirects_of(ctx.repo.database)
        await redirects.refresh(ctx.tenant)
        survivors = await redirects.survivors(ctx.tenant, [id_]) if type_ == "Patient" else {}
        if id_ not in survivors:
            raise
        await living(ctx, type_, survivors[id_])
        return survivors[id_]
    links = (version.resource or {}).get("link", ()) if type_ == "Patient" else ()
    other = next((link.get("other", {}).get("reference", "") for link in links if link.get("type") == "replaced-by"), "")
    return str(other.removeprefix("Patient/")) if other.startswith("Patient/") else ""


def _merged(call: Call, survivor: str) -> Issue:
    text = f"The record of Patient/{call.id} has been merged into that of Patient/{survivor}"
    if call.prefer.strict:
        raise bad_request(f"{text}: ask for Patient/{survivor}/$everything.", code="not-supported")
    return Issue("informational", f"{text}, which is what is shown.", severity="warning")
