"""What the product does with templates, as calls of the engine: it has no data and no rules of its own."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from fhir_server.exchange import Call, Context, Params, Resource
from fhir_server.fhir.outcome import FhirError, conflict, duplicate, unprocessable
from fhir_server.store.versions import instant
from prm_ext.common.paging import search as page_of
from prm_ext.common.problems import refused
from prm_ext.notifications import codes
from prm_ext.notifications.templates import library
from prm_ext.notifications.templates.checks import issues_of
from prm_ext.notifications.templates.flat import fields_of, template_of
from prm_ext.notifications.templates.model import Template
from prm_ext.notifications.templates.resource import from_resource, is_message, merged, to_resource
from prm_ext.notifications.templates.seeds import seed_of_id, seeds

TYPE: Final = library.TYPE
ATTEMPTS: Final = 10
_BUILT_IN: Final = "built-in:"
_URL: Final = "urn:prm:template:"
_NUMBER: Final = re.compile(r"[0-9]+(?=[^0-9]*$)")
_PRECONDITION_FAILED: Final = 412


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which templates are listed."""

    name: str = ""
    channel: str = ""
    status: str = ""
    category: str = ""


class Templates:
    """The templates of a tenant, for one request."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def create(self, values: Mapping[str, Any]) -> Template:
        """Create a template.

        Raises:
            FhirError: 422 for what is wrong with it; 409, there is one of its name.
        """
        template, places = template_of(values)
        _check(template, places)
        # One of the name that is retired keeps its URL, and so its versions.
        template = replace(template, url=f"{_URL}{template.name}:{uuid.uuid4().hex[:8]}")
        criteria = f"name:exact={template.name}&status=draft,active&topic={codes.KIND}|"
        reply = await self._ctx.dispatch(self._ctx, Call("create", TYPE, resource=to_resource(template), if_none_exist=criteria))
        if reply.status != 201:  # noqa: PLR2004 -- created
            raise refused(duplicate(f"There is a template {template.name!r} already; change that one.", "name"))
        return await self.get(reply.location.split("/")[1])

    async def get(self, id_: str) -> Template:
        """Return a template.

        Raises:
            FhirError: 404 or 410, there is none; 422, the ActivityDefinition is none.
        """
        seed = seed_of_id(id_)
        if seed is not None:
            return seed
        return await self._whole(await self._read(id_))

    async def change(self, id_: str, values: Mapping[str, Any], if_match: str = "") -> Template:
        """Change the fields that are given; a change of content makes a new version.

        A built-in template is changed by making one of the tenant's own.

        Raises:
            FhirError: 422, 409 as for `create`; 412 by the precondition.
        """
        seed = seed_of_id(id_)
        if seed is not None:
            return await self.create(fields_of(seed) | dict(values))
        for attempt in range(ATTEMPTS):
            current = await self._read(id_)
            resource = await self._changed(current, values)
            match = if_match or f'W/"{current["meta"]["versionId"]}"'
            try:
                await self._ctx.dispatch(self._ctx, Call("update", TYPE, id_, resource=resource, if_match=match))
            except FhirError as error:
                if error.status != _PRECONDITION_FAILED or if_match or attempt == ATTEMPTS - 1:
                    raise
                continue
            return await self.get(id_)
        raise AssertionError

    async def _changed(self, current: Resource, values: Mapping[str, Any]) -> Resource:
        old = library.read(current)
        new, places = template_of(fields_of(old) | dict(values))
        new = replace(new, id=old.id, url=old.url or f"{_URL}{old.name}:{uuid.uuid4().hex[:8]}", version=old.version or "1")
        _check(new, places)
        if content_of(new) != content_of(old):
            new = replace(new, version=following(old.version))
        if new.name != old.name or (new.status != "retired" and old.status == "retired"):
            await self._check_free(new)
        return merged(current, new)

    async def _check_free(self, template: Template) -> None:
        params: Params = (("name:exact", template.name), ("status", "draft,active"), ("topic", f"{codes.KIND}|"))
        if any(one["id"] != template.id for one in await library.search(self._ctx, params)):
            raise refused(duplicate(f"There is another template {template.name!r}; retire that one first.", "name"))

    async def delete(self, id_: str) -> None:
        """Delete a template that has never been active; retire another, since messages may have been made from it.

        Raises:
            FhirError: 404; 409, it is built in.
        """
        if seed_of_id(id_) is not None:
            text = "A built-in template can not be deleted; PATCH it with the status retired, which makes one of your own."
            raise conflict(text, code="business-rule")
        current = await self._read(id_)
        states = [current, *[one async for one in self._earlier(current)]]
        if any(one.get("status") == "active" for one in states):
            await self.change(id_, {"status": "retired"})
        else:
            await self._ctx.dispatch(self._ctx, Call("delete", TYPE, id_))

    async def versions(self, id_: str) -> list[Template]:
        """Return the versions of a template, each as it last was, the latest first."""
        name = next((name for name, all_ in seeds().items() if all_[-1].id == id_), "")
        if name:
            return list(reversed(seeds()[name]))
        current = await self._read(id_)
        found: dict[str, Template] = {}
        for resource in [current, *[one async for one in self._earlier(current)]]:
            template = from_resource(resource)
            if template is None:
                continue
            known = found.get(template.version)
            found[template.version] = replace(known or template, created=template.updated)
        return list(found.values())

    async def _earlier(self, current: Resource) -> Any:
        for number in range(int(current["meta"]["versionId"]) - 1, 0, -1):
            earlier = await library.earlier_of(self._ctx, current["id"], number)
            if earlier is not None:
                yield earlier

    async def page(self, wanted: Wanted, *, limit: int, cursor: str) -> tuple[list[Template], str]:
        """Return a page: the tenant's own, changed last first, then those that are built in and not replaced."""
        found: list[Template] = []
        following_ = f"{_BUILT_IN}0"
        if not cursor.startswith(_BUILT_IN):
            page = await page_of(self._ctx, TYPE, _params(wanted), limit=limit, cursor=cursor)
            read = [from_resource(one) for one in page.resources]
            found = [one for one in read if one is not None]
            following_ = page.next or following_
        else:
            following_ = cursor
        if following_.startswith(_BUILT_IN):
            start = following_.removeprefix(_BUILT_IN)
            if not start.isdecimal():
                raise refused(unprocessable("The cursor is none that this server gave.", "cursor", code="value"))
            built_in = await self._built_in(wanted)
            place, room = int(start), limit - len(found)
            found += built_in[place : place + room]
            following_ = f"{_BUILT_IN}{place + room}" if place + room < len(built_in) else ""
        return found, following_

    async def _built_in(self, wanted: Wanted) -> list[Template]:
        names = ",".join(seeds())
        own = await library.search(self._ctx, (("name:exact", names), ("status", "active,retired")))
        replaced = {one["name"] for one in own if is_message(one)}
        latest = [versions[-1] for name, versions in seeds().items() if name not in replaced]
        return [
            one
            for one in latest
            if (not wanted.name or one.name.startswith(wanted.name.lower()))
            and wanted.channel in ("", one.channel)
            and wanted.status in ("", one.status)
            and wanted.category in ("", one.category)
        ]

    async def _read(self, id_: str) -> Resource:
        found = (await self._ctx.dispatch(self._ctx, Call("read", TYPE, id_))).resource or {}
        library.read(found)
        return found

    async def _whole(self, resource: Resource) -> Template:
        template = library.read(resource)
        first = await self._ctx.repo.version(TYPE, resource["id"], 1)
        return replace(template, created=instant(first.last_updated) if first is not None else "")


def _params(wanted: Wanted) -> Params:
    topic = f"{codes.KIND}|{library.escaped(wanted.category)}"
    found = [("topic", topic), ("_sort", "-_lastUpdated")]
    found += [("name", library.escaped(wanted.name))] if wanted.name else []
    found += [("status", wanted.status)] if wanted.status else []
    found += [("context", f"{codes.CHANNEL}|{wanted.channel}")] if wanted.channel else []
    return tuple(found)


def _check(template: Template, places: Any) -> None:
    issues = issues_of(template, places)
    if issues:
        raise refused(FhirError(422, issues))


def content_of(template: Template) -> Template:
    """Return what of a template makes a version."""
    return replace(
        template, status="active", description="", id="", url="", version="", updated="", created="", revision="", built_in=False
    )


def following(version: str) -> str:
    """Return the version that follows one: its last number grows."""
    return _NUMBER.sub(lambda found: str(int(found[0]) + 1), version) if _NUMBER.search(version) else f"{version or '1'}.1"
