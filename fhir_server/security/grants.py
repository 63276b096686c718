"""From a principal and the policy of the tenant to permissions.

https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html

`patient/` scopes give the record of the patient in context, `user/` scopes what the roles of the person allow, `system/` scopes
all of the tenant. Roles bound what the scopes of people give; those that the policy names for a client bound its `system/`.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from fhir_server.config import Settings
from fhir_server.exchange import Context, Params, Principal
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import FhirError, forbidden
from fhir_server.search.access import Access
from fhir_server.search.compile import Compiler
from fhir_server.search.query import parse_criteria
from fhir_server.search.registry import BUILTIN
from fhir_server.search.sort import Filter
from fhir_server.security import matching
from fhir_server.security.consent import denials_of
from fhir_server.security.permissions import Grant, Grants, Identifiers, Limits, Permissions, Way
from fhir_server.security.policy import LABELS, Policy, Role, Rule, members
from fhir_server.security.scopes import ALL, LETTERS, Scope, parse_all

_NOT_BOUNDING: Final = ("_list", "_filter", "_content", "_text")
"""What depends on other resources, or can not be evaluated for a version in history."""
_SHOWN: Final[Sequence[Identifiers]] = ("full", "masked", "hidden")


async def permissions_for(ctx: Context, principal: Principal, policy: Policy) -> Permissions:
    """Return what a principal may do; `ctx` is that of the server itself.

    Raises:
        FhirError: 403, a reason to break the glass is given and no role allows it.
    """
    roles = _roles(ctx, principal, policy)
    scopes = parse_all(principal.scopes)
    client = policy.clients.get(principal.client)
    client_roles = [policy.roles[name] for name in client.roles] if client else []
    ways: list[Way] = []
    for context, bound_by in (("patient", roles), ("user", roles), ("system", client_roles)):
        grants = await _of_scopes(ctx, principal, [scope for scope in scopes if scope.context == context])
        if not grants or (context == "user" and not bound_by):
            continue
        bounds = (grants, await _of_roles(ctx, principal, bound_by)) if bound_by else (grants,)
        denials = await denials_of(ctx, principal) if context == "patient" else ()
        ways.append(Way(bounds, _hidden_labels(bound_by, principal), denials))
    if not scopes and roles and ctx.settings.auth_roles_without_scopes:
        ways.append(Way((await _of_roles(ctx, principal, roles),), _hidden_labels(roles, principal)))
    bounding = [*roles, *client_roles]
    limits = Limits(
        tuple(ways),
        hidden=_hidden(bounding),
        identifiers=min((role.identifiers for role in bounding), key=_SHOWN.index, default="full"),
        operator=any(role.operator for role in bounding) or (not client_roles and Scope("system", ALL, LETTERS) in scopes),
    )
    # References to this server that name another base are not known as such: who sends a request must not choose the base.
    return Permissions(principal, ctx.tenant, ctx.registry or BUILTIN, limits, ctx.settings.base_url.rstrip("/"))


def _roles(ctx: Context, principal: Principal, policy: Policy) -> list[Role]:
    default = ctx.settings.auth_default_role
    names = principal.roles or ({default} if default and not _is_system(principal) else frozenset())
    roles = [policy.roles[name] for name in sorted(names) if name in policy.roles]
    if principal.break_glass and not any(role.break_glass for role in roles):
        raise forbidden("None of your roles may break the glass; send the request without X-Break-Glass.")
    return roles


def _is_system(principal: Principal) -> bool:
    return any(scope.startswith("system/") for scope in principal.scopes)


async def _of_scopes(ctx: Context, principal: Principal, scopes: Iterable[Scope]) -> Grants:
    found = []
    for scope in scopes:
        types = RESOURCE_TYPES if scope.type == ALL else frozenset({scope.type})
        conditions = await conditions_of(ctx, types, scope.criteria) if scope.criteria else None
        found.append(Grant(types, scope.letters, principal.patient if scope.context == "patient" else None, conditions))
    return tuple(found)


async def _of_roles(ctx: Context, principal: Principal, roles: Iterable[Role]) -> Grants:
    found = []
    for role in roles:
        rules = role.rules
        if principal.break_glass and role.break_glass:
            rules = (*rules, *role.break_glass.allow)
        found += [await _of_rule(ctx, principal, rule) for rule in rules]
    return tuple(found)


async def _of_rule(ctx: Context, principal: Principal, rule: Rule) -> Grant:
    types = frozenset(type_ for type_ in RESOURCE_TYPES if rule.covers(type_))
    conditions = await conditions_of(ctx, types, rule.where) if rule.where else None
    return Grant(types, rule.allow, own_patient(principal) if rule.own_record else None, conditions)


def own_patient(principal: Principal) -> str:
    """Return the id of the patient whose record is the person's own; "" where the person is no patient.

    Whoever acts for a patient (a RelatedPerson) has the record of the patient in context.
    """
    type_, _, id_ = principal.fhir_user.partition("/")
    if type_ == "Patient":
        return id_
    return principal.patient if type_ == "RelatedPerson" else ""


async def conditions_of(ctx: Context, types: Iterable[str], criteria: Params) -> dict[str, Filter]:
    """Return the filters that criteria mean, by type; types for which they mean nothing are not among them.

    Criteria must be such that they can be judged by a resource alone: chains, `_has` and lists can not.
    """
    registry = ctx.registry or BUILTIN
    compiler = Compiler(Access(ctx), registry)
    found: dict[str, Filter] = {}
    for type_ in sorted(types):
        try:
            query = parse_criteria(type_, criteria, registry, ctx.settings)
            compiled = await compiler.compile(type_, query.condition)
            matching.check(compiled.filter)
        except (FhirError, matching.UnsupportedFilterError):
            continue
        if compiled.filter and not compiled.joins and not any(name.startswith(_NOT_BOUNDING) for name, _ in criteria):
            found[type_] = compiled.filter
    return found


def criteria_problems(policy: Policy, settings: Settings) -> list[str]:
    """Return what is wrong with the criteria of a policy's rules, as far as they name types."""
    found = []
    for name, role in policy.roles.items():
        rules = (*role.rules, *(role.break_glass.allow if role.break_glass else ()))
        for place, rule in enumerate(rules):
            for type_ in rule.types if rule.where else ():
                if type_ == ALL:
                    continue
                try:
                    parse_criteria(type_, rule.where, BUILTIN, settings)
                except FhirError as error:
                    found.append(f"roles.{name}.rules.{place}.where: {error.issues[0].diagnostics}")
    return found


def _hidden_labels(roles: Sequence[Role], principal: Principal) -> frozenset[str]:
    """Return the labels that none of the roles is cleared for; without roles there is no bound but the scopes."""
    if not roles:
        return frozenset()
    cleared = {label for role in roles for label in role.labels}
    if principal.break_glass:
        cleared.update(label for role in roles if role.break_glass for label in role.break_glass.labels)
    return frozenset(LABELS) - cleared


def _hidden(roles: Sequence[Role]) -> dict[str, frozenset[str]]:
    """Return the members that all roles hide."""
    if not roles:
        return {}
    found = {}
    for type_ in roles[0].hide:
        names = frozenset.intersection(*(_members(role, type_) for role in roles))
        if names:
            found[type_] = names
    return found


def _members(role: Role, type_: str) -> frozenset[str]:
    return frozenset(member for element in role.hide.get(type_, ()) for member in {element, *members(type_, element)})
