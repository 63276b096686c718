"""The two patients of a merge: found, and fit for it."""

from collections.abc import Mapping
from typing import Any

from fhir_server.exchange import Context, Resource
from fhir_server.fhir.outcome import FhirError, Issue, gone, unprocessable
from fhir_server.fhir.reference import parse
from fhir_server.interactions.reading import ID
from fhir_server.operations.merge.request import Asked, Named
from fhir_server.search.run import find_matches
from fhir_server.search.values import escape
from fhir_server.store.versions import Version

Pair = tuple[Version, Version]
MOST = 20
"""So many patients with the same identifiers are looked at."""


async def found_pair(ctx: Context, asked: Asked) -> Pair:
    """Return source and target of a merge as they are now.

    Raises:
        FhirError: 422 or 410, one of them is not there; 422, they can not be merged.
    """
    source, target = await _only(ctx, asked.source), await _only(ctx, asked.target)
    check_pair(source, target)
    return source, target


async def candidates(ctx: Context, named: Named) -> list[Version]:
    """Return the patients that a request may mean.

    Raises:
        FhirError: 422, there are none, or it names another version than the latest.
    """
    if named.identifiers:
        criteria = tuple(("identifier", _token(one)) for one in named.identifiers)
        found = await find_matches(ctx, "Patient", criteria, limit=MOST)
        what = " and ".join(_shown(one) for one in named.identifiers)
    else:
        version = await ctx.repo.current("Patient", named.id) if ID.fullmatch(named.id) else None
        found = [version] if version else []
        what = named.reference
    if not found:
        raise unprocessable(f"The {named.role} patient {what} is not known here.", "Parameters.parameter", code="not-found")
    if named.version and named.version != str(found[0].number):
        raise unprocessable(
            f"The {named.role} patient is at version {found[0].number}, not {named.version}: read it and decide again.",
            "Parameters.parameter",
            code="conflict",
        )
    return found


async def _only(ctx: Context, named: Named) -> Version:
    found = await candidates(ctx, named)
    if len(found) > 1:
        raise several(named)
    if found[0].deleted:
        raise gone("Patient", found[0].id, str(found[0].number))
    return found[0]


def several(named: Named) -> FhirError:
    """422: the identifiers are those of more than one patient."""
    return unprocessable(
        f"Several patients have the identifiers given for the {named.role}; name it by {named.role}-patient.",
        "Parameters.parameter",
        code="multiple-matches",
    )


def _token(identifier: Mapping[str, Any]) -> str:
    value = escape(str(identifier["value"]))
    return f"{escape(str(identifier['system']))}|{value}" if identifier.get("system") else value


def _shown(identifier: Mapping[str, Any]) -> str:
    return f"{identifier.get('system', '')}|{identifier['value']}"


def check_pair(source: Version, target: Version) -> None:
    """Refuse what can not be merged.

    Raises:
        FhirError: 422 `invalid`, with all reasons.
    """
    issues = []
    if source.id == target.id:
        issues.append(_issue(f"Source and target are the same patient, Patient/{source.id}."))
    if (target.resource or {}).get("active") is False:
        issues.append(_issue(f"The target Patient/{target.id} is not active."))
    for role, version in (("source", source), ("target", target)):
        if other := replaced_by(version.resource or {}):
            issues.append(_issue(f"The {role} Patient/{version.id} has been replaced by {other} already."))
    if issues:
        raise FhirError(422, issues)


def _issue(text: str) -> Issue:
    return Issue("invalid", text, ("Parameters.parameter",))


def replaced_by(patient: Resource) -> str:
    """Return the reference to the patient that replaces this one; "" where there is none."""
    links = (link for link in patient.get("link", ()) if link.get("type") == "replaced-by")
    return str(next((link.get("other", {}).get("reference", "another patient") for link in links), ""))


def check_result(ctx: Context, asked: Asked, source: Version, target: Version) -> None:
    """Refuse a `result-patient` that does not fit.

    Raises:
        FhirError: 400 `invalid`, with all reasons.
    """
    result = asked.result
    if result is None:
        return
    issues = []
    if result.get("id") != target.id:
        issues.append(_wrong(f"has the id {result.get('id')!r}, not that of the target, {target.id!r}", "id"))
    present = result.get("identifier", ())
    issues += [
        _wrong(f"lacks the identifier {_shown(wanted)} by which the target was named", "identifier")
        for wanted in asked.target.identifiers
        if not any(_is_same(one, wanted) for one in present)
    ]
    issues += _link_issues(ctx, asked, source)
    if issues:
        raise FhirError(400, issues)


def _link_issues(ctx: Context, asked: Asked, source: Version) -> list[Issue]:
    links = (asked.result or {}).get("link", ())
    if any(link.get("type") == "replaced-by" for link in links):
        return [_wrong("has a link `replaced-by`, but is what is left", "link")]
    found = [
        link
        for link in links
        if link.get("type") == "replaces"
        and parse(link["other"].get("reference", ""), ctx.base_url).target == ("Patient", source.id)
    ]
    if asked.delete_source:
        return [_wrong(f"has a link to Patient/{source.id}, which is to be deleted", "link")] if found else []
    if len(found) == 1:
        return []
    return [_wrong(f"has to have exactly one link of the type `replaces` to Patient/{source.id}, and has {len(found)}", "link")]


def _wrong(text: str, element: str) -> Issue:
    return Issue("invalid", f"The result-patient {text}.", (f"Parameters.parameter.resource.{element}",))


def _is_same(one: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return one.get("value") == wanted.get("value") and (not wanted.get("system") or one.get("system") == wanted["system"])
