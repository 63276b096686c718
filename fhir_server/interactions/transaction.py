"""transaction: https://hl7.org/fhir/R4/http.html#transaction and #trules.

Everything is planned first: what the conditions match, which ids new resources get, what every reference becomes.
Then all writes go to the store as one unit, and searches are answered from the same database transaction. A Bundle
that only creates needs no look at the database before it writes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl

from fhir_server.exchange import Call, Context, Reply, Resource
from fhir_server.fhir.outcome import FhirError, Issue, bad_request, gone, invalid_resource, not_found, precondition_failed
from fhir_server.interactions.bundle import (
    Entry,
    at_entry,
    entries_of,
    parse_entry,
    response_bundle,
    response_entry,
)
from fhir_server.interactions.conditional import check_criteria, criteria, guard, matched_update, only_match
from fhir_server.interactions.delete import deleted, plan_delete
from fhir_server.interactions.following import follow
from fhir_server.interactions.links import Links, conditional_references, relinked
from fhir_server.interactions.patch import plan_patch
from fhir_server.interactions.reading import check_id
from fhir_server.interactions.references import check_references, check_unreferenced
from fhir_server.interactions.update import check_body_id, plan_update
from fhir_server.interactions.writing import check_valid, new_id, planned, written
from fhir_server.security.enforce import check
from fhir_server.store.repository import Repository
from fhir_server.store.versions import Version
from fhir_server.store.writes import Unit, Write

Key = tuple[str, str]


@dataclass(slots=True)
class Plan:
    """What is known so far of a transaction."""

    entries: Sequence[Entry]
    replies: dict[int, Reply] = field(default_factory=dict)
    """Replies that are settled, by the place of the entry."""
    targets: dict[int, Key] = field(default_factory=dict)
    """Type and id of what each entry is about."""
    links: Links = field(default_factory=Links)
    current: dict[Key, Version] = field(default_factory=dict)
    writes: dict[int, Write] = field(default_factory=dict)
    guards: set[str] = field(default_factory=set)
    conditions: dict[int, list[str]] = field(default_factory=dict)
    """Conditional references, by the place of the entry that has them."""
    twins: dict[int, int] = field(default_factory=dict)
    """Conditional creates whose condition an earlier entry has too, with the place of that entry."""

    def of(self, *methods: str) -> list[Entry]:
        """Return the entries with one of the methods that have no reply yet."""
        settled = self.replies.keys() | self.twins.keys()
        return [entry for entry in self.entries if entry.method in methods and entry.place not in settled]


async def transaction(ctx: Context, call: Call) -> Reply:
    """Process all entries or none: https://hl7.org/fhir/R4/http.html#transaction-response.

    Raises:
        FhirError: what the first failing entry gives, with the place of the entry; nothing was changed.
    """
    entries = [parse_entry(ctx, place, entry, call) for place, entry in enumerate(entries_of(ctx, call.resource))]
    _check_allowed(ctx, entries)
    _check_bodies(entries)
    await ctx.repo.prepare({entry.call.type for entry in entries if entry.method not in ("GET", "HEAD") and entry.call.type})
    conditions = {
        entry.place: found
        for entry in entries
        if entry.method in ("POST", "PUT") and (found := conditional_references(entry.call.resource))
    }
    if not conditions and all(
        entry.method == "POST" and entry.call.interaction == "create" and entry.call.if_none_exist is None for entry in entries
    ):
        plan = Plan(entries)
        await _plan(ctx, plan)
        await _finish(ctx, plan)
        return await _answer(ctx, plan)

    async def work(repo: Repository) -> Plan:
        inner = ctx.within(repo)
        plan = Plan(entries, conditions=conditions)
        await _plan(inner, plan)
        await _finish(inner, plan)
        return plan

    return await _answer(ctx, await ctx.repo.transact(work))


def _check_allowed(ctx: Context, entries: Sequence[Entry]) -> None:
    for entry in entries:
        if ctx.access is not None and entry.method not in ("GET", "HEAD") and entry.call.interaction != "operation":
            with _Place(entry):
                check(ctx.access, entry.call)


def _check_bodies(entries: Sequence[Entry]) -> None:
    for entry in entries:
        if entry.call.interaction not in ("create", "update"):
            continue
        resource = entry.call.resource
        found = resource.get("resourceType") if isinstance(resource, dict) else None
        if found != entry.call.type:
            what = "has no resource" if resource is None else f"holds a {found!r}"
            raise bad_request(
                f"Entry {entry.place} {what}, but its request is about {entry.call.type}.", f"{entry.path}.resource"
            )


async def _plan(ctx: Context, plan: Plan) -> None:
    """Find out what every entry writes: what it is about, what its references become, what the new version is."""
    for entry in plan.of("DELETE", "POST", "PUT", "PATCH"):
        with _Place(entry):
            await _target(ctx, plan, entry)
    _check_overlap(plan)
    for version in await ctx.repo.currents(plan.targets[entry.place] for entry in plan.of("DELETE", "PUT", "PATCH")):
        plan.current[version.type, version.id] = version
    for entry in plan.of("POST", "PUT") if plan.conditions else ():
        with _Place(entry):
            await _resolve(ctx, plan, entry)
    issues: list[Issue] = []
    for entry in plan.of("DELETE", "POST", "PUT", "PATCH"):
        try:
            await _write(ctx, plan, entry)
        except FhirError as error:
            placed = at_entry(error, entry.place)
            if error.status != ctx.settings.validation_status or entry.method == "PATCH":
                raise placed from None
            issues += placed.issues
    if issues:
        raise invalid_resource(issues, ctx.settings.validation_status)


class _Place:
    """Errors raised within name the entry."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, FhirError):
            raise at_entry(error, self._entry.place) from None


async def _target(ctx: Context, plan: Plan, entry: Entry) -> None:
    """Settle type and id of what the entry is about, looking its condition up where it has one."""
    call = entry.call
    if call.interaction == "operation" or call.interaction.startswith("search"):
        if entry.method == "POST" and call.interaction == "operation":
            raise bad_request("Operations that change something can not be part of a transaction.", code="not-supported")
        return
    if entry.method == "POST":
        await _target_of_create(ctx, plan, entry)
        return
    match = None
    if not call.id:
        check_criteria(call.params)
        match = await only_match(ctx, call.type, call.params)
        plan.guards.add(guard(call.type, call.params))
    _settle_target(plan, entry, match)
    if entry.method == "PUT":
        plan.links.add(entry.full_url, call.type, plan.targets[entry.place][1])


def _settle_target(plan: Plan, entry: Entry, match: Version | None) -> None:
    call = entry.call
    if call.id:
        plan.targets[entry.place] = (call.type, check_id(call.id))
    elif match is not None:
        plan.targets[entry.place] = (call.type, match.id)
        if entry.method == "PUT":
            matched_update(call, call.resource, match)
    elif entry.method == "PUT":
        plan.targets[entry.place] = (call.type, check_id(call.resource.get("id") or new_id()))
    elif entry.method == "PATCH":
        raise not_found(call.type, "?" + "&".join(f"{name}={value}" for name, value in call.params))
    else:
        plan.replies[entry.place] = deleted(call, None)


async def _target_of_create(ctx: Context, plan: Plan, entry: Entry) -> None:
    call = entry.call
    match: Key | None = None
    if call.if_none_exist is not None:
        params = criteria(call.if_none_exist)
        key = guard(call.type, params)
        if key in plan.guards:
            first = next(other.place for other in plan.entries if _guard_of(other) == key)
            match = plan.targets[first]
            plan.twins[entry.place] = first
        else:
            plan.guards.add(key)
            found = await only_match(ctx, call.type, params)
            if found is not None:
                match = (found.type, found.id)
                plan.replies[entry.place] = written(200, found)
    plan.targets[entry.place] = match or (call.type, new_id())
    plan.links.add(entry.full_url, *plan.targets[entry.place])


def _guard_of(entry: Entry) -> str:
    condition = entry.call.if_none_exist
    return "" if condition is None else guard(entry.call.type, criteria(condition))


def _check_overlap(plan: Plan) -> None:
    """Refuse two entries about the same resource: https://hl7.org/fhir/R4/http.html#trules."""
    seen: dict[Key, int] = {}
    for entry in plan.of("DELETE", "POST", "PUT", "PATCH"):
        key = plan.targets.get(entry.place)
        if key is None:
            continue
        if key in seen:
            raise bad_request(
                f"Entries {seen[key]} and {entry.place} are both about {key[0]}/{key[1]}; a resource may stand in one only.",
                f"{entry.path}.request.url",
                code="duplicate",
            )
        seen[key] = entry.place


async def _resolve(ctx: Context, plan: Plan, entry: Entry) -> None:
    """Look up the conditional references of an entry, such as `Patient?identifier=urn:x|1`."""
    for text in plan.conditions.get(entry.place, ()):
        if text in plan.links.by_url:
            continue
        type_, _, query = text.partition("?")
        match = await only_match(ctx, type_, tuple(parse_qsl(query, keep_blank_values=True)))
        if match is None:
            raise precondition_failed(f"Nothing matches the conditional reference {text!r}.", code="not-found")
        plan.links.by_url[text] = match.reference


async def _write(ctx: Context, plan: Plan, entry: Entry) -> None:
    """Plan the new version of an entry, with its references as they will be."""
    if entry.place not in plan.targets:
        return
    type_, id_ = plan.targets[entry.place]
    current = plan.current.get((type_, id_))
    if entry.method in ("POST", "PUT"):
        resource = relinked(entry.call.resource, plan.links, entry.full_url)
        check_valid(ctx, resource)
        if entry.method == "POST":
            item = await planned(ctx, resource, id_=id_, method="POST")
        else:
            item = await _planned_update(ctx, entry, id_, resource, current)
    elif entry.method == "DELETE":
        call = _on(entry, id_)
        deletion = plan_delete(ctx, call, current)
        if deletion is None:
            plan.replies[entry.place] = deleted(call, current)
            return
        item = deletion
    else:
        item = await plan_patch(ctx, _on(entry, id_), _living(current, type_, id_))
    plan.writes[entry.place] = item


def _on(entry: Entry, id_: str) -> Call:
    """Return the Call of an entry, on the resource that its condition has led to."""
    return replace(entry.call, id=id_, params=())


async def _planned_update(ctx: Context, entry: Entry, id_: str, resource: Resource, current: Version | None) -> Write:
    if entry.call.id:
        check_body_id(resource, id_)
    return await plan_update(ctx, _on(entry, id_), resource, current)


def _living(version: Version | None, type_: str, id_: str) -> Version:
    if version is None:
        raise not_found(type_, id_)
    if version.deleted:
        raise gone(type_, id_, str(version.number))
    return version


async def _finish(ctx: Context, plan: Plan) -> None:
    """Write what was planned, and read what is to be read."""
    writes = tuple(plan.writes.values())
    await check_references(ctx, writes)
    await check_unreferenced(ctx, writes)
    if writes or plan.guards:
        await ctx.repo.commit(Unit(writes, tuple(sorted(plan.guards))))
    for entry in plan.entries:
        item = plan.writes.get(entry.place)
        if item is not None:
            plan.replies[entry.place] = _written(entry, item)
    for place, first in plan.twins.items():
        plan.replies[place] = replace(plan.replies[first], status=200)
    for entry in plan.of("GET", "HEAD"):
        with _Place(entry):
            plan.replies[entry.place] = await ctx.dispatch(ctx, entry.call)


async def _answer(ctx: Context, plan: Plan) -> Reply:
    """Do what follows from the writes, and answer."""
    for place, item in plan.writes.items():
        issues = await follow(ctx, (item,))
        if issues:
            plan.replies[place] = replace(plan.replies[place], issues=(*plan.replies[place].issues, *issues))
    answers = {entry.place: response_entry(ctx, entry.call, plan.replies[entry.place]) for entry in plan.entries}
    return response_bundle("transaction-response", answers)


def _written(entry: Entry, item: Write) -> Reply:
    if entry.method == "DELETE":
        return deleted(replace(entry.call, id=item.version.id), item.version)
    is_new = item.previous is None or item.previous.deleted
    return written(201 if is_new else 200, item.version)
