"""What all interactions that look at one resource share: finding it, and judging preconditions.

https://hl7.org/fhir/R4/http.html#concurrency
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from fhir_server.exchange import Call, Context, Params, Resource
from fhir_server.fhir.outcome import FhirError, Issue, bad_request, gone, not_found, precondition_failed
from fhir_server.fhir.subset import elements, parse_elements, parse_summary, summary
from fhir_server.store.versions import Version

ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9\-.]{1,64}")
"""R4's ids but `.` and `..`, which clients and proxies resolve away as steps of the path."""
_ETAG = re.compile(r'(?:W/)?"([^"]*)"')


def check_id(id_: str, expression: str = "") -> str:
    """Return the id if it is one: https://hl7.org/fhir/R4/datatypes.html#id."""
    if not ID.fullmatch(id_):
        raise bad_request(
            f"{id_!r} is not an id: 1 to 64 letters of A-Z, a-z, 0-9, '-' and '.' are allowed, and not '.' or '..' alone.",
            expression,
            code="value",
        )
    return id_


async def living(ctx: Context, type_: str, id_: str) -> Version:
    """Return the current version of a resource that has not been deleted.

    Raises:
        FhirError: 404 where there has never been one, 410 where it has been deleted.
    """
    version = await ctx.repo.current(type_, check_id(id_))
    if version is None:
        raise not_found(type_, id_)
    if version.deleted:
        raise gone(type_, id_, str(version.number))
    return version


def etags(header: str) -> frozenset[str]:
    """Return the version ids that an `If-Match` or `If-None-Match` header lists; `*` stands for itself.

    A bare version id is read as well, since many clients send one.
    """
    if not header:
        return frozenset()
    quoted = _ETAG.findall(header)
    return frozenset(quoted) if quoted else frozenset(part.strip() for part in header.split(","))


def check_if_match(ctx: Context, call: Call, current: Version | None) -> None:
    """Refuse when `If-Match` names another version than the current one (412), or is missing but required (428)."""
    if not call.if_match:
        if ctx.settings.require_if_match and current is not None and not current.deleted:
            text = 'This server requires If-Match on every change: send If-Match: W/"<versionId>" of the version that you read.'
            raise FhirError(428, (Issue("required", text),))
        return
    wanted = etags(call.if_match)
    if current is None or current.deleted:
        raise precondition_failed(f"If-Match asks for version {call.if_match}, but the resource does not exist.")
    if "*" not in wanted and str(current.number) not in wanted:
        raise precondition_failed(
            f"If-Match asks for version {call.if_match}, but the current version is {current.number}: read it and try again."
        )


def is_unchanged(call: Call, version: Version) -> bool:
    """Return whether `If-None-Match` or else `If-Modified-Since` says that the client has this version."""
    if call.if_none_match:
        return not etags(call.if_none_match).isdisjoint({"*", str(version.number)})
    since = _http_date(call.if_modified_since)
    return since is not None and version.last_updated.replace(microsecond=0) <= since


def _http_date(text: str) -> datetime | None:
    """Return the date of a header; RFC 9110 wants one that can not be read to be ignored."""
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def subset(resource: Resource, params: Params) -> Resource:
    """Return what `_summary` and `_elements` among the parameters leave of a resource."""
    for name, value in params:
        if name == "_summary":
            resource = summary(resource, parse_summary(value))
        elif name == "_elements":
            resource = elements(resource, parse_elements(value))
    return resource
