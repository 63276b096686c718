"""`/api/v1/prm/notifications/templates`: the routes, each a translation of HTTP into a call of the service."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from fhir_server.exchange import Context
from prm_ext.common.context import CurrentContext
from prm_ext.common.problems import RESPONSES
from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.idempotency import IdempotentRoute
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates.flat import shown
from prm_ext.notifications.templates.model import Status, Template
from prm_ext.notifications.templates.preview import previews
from prm_ext.notifications.templates.schemas import (
    Category,
    PreviewIn,
    PreviewList,
    TemplateCreate,
    TemplateList,
    TemplateOut,
    TemplatePatch,
    TemplateVersions,
)
from prm_ext.notifications.templates.service import Templates, Wanted

IfMatch = Annotated[str, Header(alias="If-Match", description='The version of the resource that the change is made to: `W/"3"`.')]
PREFIX = "/api/v1/prm/notifications/templates"


def template_router(settings: NotificationSettings) -> APIRouter:
    """Return the routes, below `/templates`."""
    router = APIRouter(prefix="/templates", route_class=IdempotentRoute, responses=RESPONSES, tags=["Templates of messages"])

    @router.post("", status_code=201, summary="Create a template")
    @router.post("/", status_code=201, include_in_schema=False)
    async def create(ctx: CurrentContext, body: TemplateCreate, response: Response) -> TemplateOut:
        """Create a template, in use at once unless its status is `draft`."""
        found = await Templates(ctx).create(body.model_dump())
        response.headers["Location"] = f"{PREFIX}/{found.id}"
        return _answer(ctx, found, response)

    @router.get("", summary="List templates")
    @router.get("/", include_in_schema=False)
    async def list_templates(
        ctx: CurrentContext,
        name: Annotated[str, Query(max_length=64, description="How the name begins.")] = "",
        channel: Channel | None = None,
        status: Status | None = None,
        category: Category | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: Annotated[str, Query(description="`next_cursor` of the page before.")] = "",
    ) -> TemplateList:
        """List templates, those changed last first, then those that are built in."""
        wanted = Wanted(name, channel or "", status or "", category or "")
        found, following = await Templates(ctx).page(wanted, limit=limit, cursor=cursor)
        return TemplateList(items=[shown(one, ctx.tenant) for one in found], next_cursor=following or None)

    @router.get("/{template_id}", summary="Read a template")
    async def read(ctx: CurrentContext, template_id: str, response: Response) -> TemplateOut:
        """Read a template."""
        return _answer(ctx, await Templates(ctx).get(template_id), response)

    @router.patch("/{template_id}", summary="Change a template")
    async def change(
        ctx: CurrentContext, template_id: str, body: TemplatePatch, response: Response, if_match: IfMatch = ""
    ) -> TemplateOut:
        """Change the fields that are given. A change of content makes a new version; messages that wait keep theirs."""
        found = await Templates(ctx).change(template_id, body.model_dump(exclude_unset=True), if_match)
        return _answer(ctx, found, response)

    @router.delete("/{template_id}", status_code=204, summary="Delete or retire a template")
    async def delete(ctx: CurrentContext, template_id: str) -> None:
        """Delete a template that has never been active. Another is retired: what was made from it can still be shown."""
        await Templates(ctx).delete(template_id)

    @router.get("/{template_id}/versions", summary="List the versions of a template")
    async def versions(ctx: CurrentContext, template_id: str) -> TemplateVersions:
        """List the versions of a template, the latest first."""
        found = await Templates(ctx).versions(template_id)
        return TemplateVersions(items=[shown(one, ctx.tenant) for one in found])

    @router.post("/{template_id}/preview", summary="Show what a template says")
    async def preview(ctx: CurrentContext, template_id: str, body: PreviewIn | None = None) -> PreviewList:
        """Show what a template says by channel and language, with samples for what is not given; nothing is sent."""
        template = await Templates(ctx).get(template_id)
        items = await previews(ctx, settings.of(ctx.tenant), template, body or PreviewIn())
        return PreviewList(template_id=template.id, version=template.version, items=items)

    return router


def _answer(ctx: Context, found: Template, response: Response) -> TemplateOut:
    if found.revision:
        response.headers["ETag"] = f'W/"{found.revision}"'
    return shown(found, ctx.tenant)
