"""`/api/v1/prm/notifications`: the routes, each a translation of HTTP into a call of the service."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from fhir_server.exchange import Context
from prm_ext.common.context import CurrentContext, context_of
from prm_ext.common.problems import RESPONSES
from prm_ext.notifications.bulk import Campaigns
from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.idempotency import HEADER, IdempotentRoute, nonce_of
from prm_ext.notifications.listing import Wanted, page_of
from prm_ext.notifications.mapping import flat
from prm_ext.notifications.means import Means, MeansOf
from prm_ext.notifications.outbox import outbox_of
from prm_ext.notifications.output import (
    Notification,
    NotificationDetail,
    NotificationList,
    Outbox,
    Progress,
    ProgressList,
    Stats,
)
from prm_ext.notifications.records import Status
from prm_ext.notifications.schemas import Bulk, Day, Schedule, Send, SendTemplate, When
from prm_ext.notifications.service import Found, Notifications
from prm_ext.notifications.stats import stats_of
from prm_ext.notifications.timeline import timeline_of
from prm_ext.notifications.webhooks.places import PREFIX
from prm_ext.notifications.wording import Wording

Limit = Annotated[int, Query(ge=1, le=200, description="Largest number of items on the page.")]
Cursor = Annotated[str, Query(description="`next_cursor` of the page before.")]
From = Annotated[Day | None, Query(description="Asked for at this time or later; a date begins in UTC.")]
To = Annotated[Day | None, Query(description="Asked for at this time or before; a date is included.")]
_KEY: dict[str, Any] = {
    "parameters": [
        {
            "name": HEADER,
            "in": "header",
            "required": False,
            "schema": {"type": "string", "maxLength": 255},
            "description": "A key of yours for this request: sent again within 24 hours with the same body it is done once, and "
            "answered the same; with another body it is refused (422).",
        }
    ]
}

sending = APIRouter(route_class=IdempotentRoute, responses=RESPONSES, tags=["Notifications"])
router = APIRouter(route_class=IdempotentRoute, responses=RESPONSES, tags=["Notifications"])


def add_sending(to: APIRouter, means: MeansOf) -> None:
    """Add the routes by which messages are asked for, which use these means, to a router without a prefix."""
    to.include_router(sending, dependencies=_provided(means))


def add_routes(to: APIRouter, means: MeansOf) -> None:
    """Add the other routes, one of which takes what has no path of its own."""
    provided = _provided(means)
    to.include_router(router, dependencies=provided)
    # FastAPI includes no path that is empty.
    to.add_api_route(
        "", list_notifications, summary="List notifications", responses=RESPONSES, tags=["Notifications"], dependencies=provided
    )


def _provided(means: MeansOf) -> Sequence[Any]:
    async def provide(request: Request) -> None:
        request.state.means = await means(await context_of(request))

    return [Depends(provide)]


async def _means(request: Request) -> Means:
    found: Means = request.state.means
    return found


CurrentMeans = Annotated[Means, Depends(_means)]


async def _notifications(request: Request) -> Notifications:
    return Notifications(await context_of(request), request.state.means, nonce_of(request))


async def _campaigns(request: Request, ctx: CurrentContext, means: CurrentMeans) -> Campaigns:
    return Campaigns(ctx, means, nonce_of(request))


Service = Annotated[Notifications, Depends(_notifications)]
Many = Annotated[Campaigns, Depends(_campaigns)]


@sending.post("/send", status_code=201, summary="Send a message", openapi_extra=_KEY)
async def send(service: Service, body: Send, response: Response) -> Notification:
    """Send a message to a patient, or to an address, at once."""
    return await _asked(service, body, response)


@sending.post("/send-template", status_code=201, summary="Send a message by a template", openapi_extra=_KEY)
async def send_template(service: Service, body: SendTemplate, response: Response) -> Notification:
    """Send what a template says, in the language of the patient."""
    return await _asked(service, body, response)


@sending.post("/schedule", status_code=201, summary="Send a message later", openapi_extra=_KEY)
async def schedule(service: Service, body: Schedule, response: Response) -> Notification:
    """Send a message at a time, within a period, or again and again."""
    return await _asked(service, body, response)


@sending.post("/bulk", status_code=202, summary="Send to many", openapi_extra=_KEY)
async def bulk(campaigns: Many, body: Bulk, response: Response) -> Progress:
    """Send one message, or what a template says, to many; it goes on in the background."""
    found = await campaigns.begin(body)
    response.headers["Location"] = f"{PREFIX}/bulk/{found.id}"
    return found


@router.get("/bulk", summary="List campaigns")
async def list_campaigns(campaigns: Many, limit: Limit = 50, cursor: Cursor = "") -> ProgressList:
    """List campaigns, the newest first."""
    return await campaigns.page(limit=limit, cursor=cursor)


@router.get("/bulk/{campaign_id}", summary="Look how far a campaign is")
async def progress(campaigns: Many, campaign_id: str) -> Progress:
    """Tell how many messages of a campaign there are in each status."""
    return await campaigns.progress(campaign_id)


@router.post("/bulk/{campaign_id}/cancel", status_code=202, summary="Cancel a campaign", openapi_extra=_KEY)
async def cancel_campaign(campaigns: Many, campaign_id: str) -> Progress:
    """Write no more requests of a campaign, and withdraw those that have not been sent yet."""
    return await campaigns.cancel(campaign_id)


@router.get("/stats", summary="How well messages arrive")
async def stats(
    ctx: CurrentContext,
    means: CurrentMeans,
    date_from: From = None,
    date_to: To = None,
    channel: Channel | None = None,
    campaign: Annotated[str, Query(description="Id of the campaign.")] = "",
) -> Stats:
    """Count messages by status, channel and day, with delivery rate, delivery time and the success of retries."""
    return await stats_of(ctx, means.deliveries, date_from, date_to, channel=channel or "", campaign=campaign)


@router.get("/outbox", summary="Messages that were kept instead of sent")
async def outbox(
    ctx: CurrentContext,
    means: CurrentMeans,
    channel: Channel | None = None,
    to: Annotated[str, Query(description="A number or address.")] = "",
    limit: Limit = 50,
    cursor: Cursor = "",
) -> Outbox:
    """List the messages of channels that are set to `console`, the newest first: nothing of them left this machine."""
    return await outbox_of(ctx, means, channel=channel, to=to, limit=limit, cursor=cursor)


@router.get("/", include_in_schema=False)
async def list_notifications(
    ctx: CurrentContext,
    means: CurrentMeans,
    status: Status | None = None,
    channel: Channel | None = None,
    patient: Annotated[str, Query(description="Id of the patient.")] = "",
    template: Annotated[str, Query(description="Name or URL of the template.")] = "",
    date_from: From = None,
    date_to: To = None,
    campaign: Annotated[str, Query(description="Id of the campaign.")] = "",
    limit: Limit = 50,
    cursor: Cursor = "",
) -> NotificationList:
    """List notifications, the newest first. A page may be shorter than asked for; the last has no `next_cursor`."""
    url = await Wording(ctx, means.settings).template_url(template) if template else ""
    wanted = Wanted(status or "", channel or "", patient, url, campaign, date_from, date_to)
    page = await page_of(ctx, means.deliveries, wanted, limit=limit, cursor=cursor)
    items = [Notification(**flat(ctx.tenant, one)) for one in page.items]
    return NotificationList(items=items, next_cursor=page.next or None)


@router.get("/{notification_id}", summary="Read a notification")
async def read(ctx: CurrentContext, service: Service, notification_id: str) -> NotificationDetail:
    """Read a notification with all that has happened to it."""
    return await _detail(ctx, service, await service.get(notification_id))


@router.post("/{notification_id}/cancel", summary="Cancel a notification", openapi_extra=_KEY)
async def cancel(ctx: CurrentContext, service: Service, notification_id: str) -> NotificationDetail:
    """Withdraw a notification that has not been sent yet."""
    return await _detail(ctx, service, await service.cancel(notification_id))


@router.post("/{notification_id}/reschedule", summary="Send a notification at another time", openapi_extra=_KEY)
async def reschedule(ctx: CurrentContext, service: Service, notification_id: str, body: When) -> NotificationDetail:
    """Send a notification that has not been tried yet at another time."""
    return await _detail(ctx, service, await service.reschedule(notification_id, body))


@router.post("/{notification_id}/retry", summary="Send a failed notification again", openapi_extra=_KEY)
async def retry(ctx: CurrentContext, service: Service, notification_id: str) -> NotificationDetail:
    """Send once more what has failed for good; it keeps its id, and its tries are counted anew."""
    return await _detail(ctx, service, await service.retry(notification_id))


async def _asked(service: Notifications, body: Send | SendTemplate | Schedule, response: Response) -> Notification:
    found = Notification(**flat(service.tenant, await service.ask(body)))
    response.headers["Location"] = f"{PREFIX}/{found.id}"
    return found


async def _detail(ctx: Context, service: Notifications, found: Found) -> NotificationDetail:
    seen = await service.shown(found)
    values = flat(ctx.tenant, seen)
    if found.whole:
        values["id"] = found.request["id"]
    others = [one["_id"].partition("/")[2] for one in found.deliveries if one is not found.delivery]
    return NotificationDetail(**values, timeline=timeline_of(seen, ctx.now()), others=others)
