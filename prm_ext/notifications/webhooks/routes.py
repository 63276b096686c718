"""`/api/v1/prm/notifications/webhooks`: where providers report to, and where messages come in (docs/notifications/inbound.md)."""

import asyncio
from typing import Final

from fastapi import APIRouter, Request, Response

from fhir_server.fhir.outcome import unavailable
from prm_ext.common.problems import ProblemRoute
from prm_ext.notifications.inbound import Inbound
from prm_ext.notifications.means import MeansOf
from prm_ext.notifications.webhooks import email, mail, twilio
from prm_ext.notifications.webhooks.door import Door

PREFIX: Final = "/webhooks"
XML: Final = "text/xml"


def router(means: MeansOf, base_url: str) -> APIRouter:
    """Return the routes; `base_url` is the setting of that name, which signatures are computed with where no other URL is set."""
    made = APIRouter(prefix=PREFIX, route_class=ProblemRoute, include_in_schema=False)
    door, inbound, topics = Door(means.settings, base_url), Inbound(means), email.Topics()
    places = asyncio.Semaphore(mail.AT_ONCE)

    @made.post("/twilio/{tenant}")
    async def twilio_message(request: Request, tenant: str) -> Response:
        ctx, _, body = await door.enter(request, tenant, "twilio", twilio.is_signed, most=twilio.LARGEST)
        return Response(await twilio.receive(ctx, inbound, body), media_type=XML)

    @made.post("/twilio/{tenant}/{reference}")
    async def twilio_status(request: Request, tenant: str, reference: str) -> Response:
        ctx, _, body = await door.enter(request, tenant, "twilio", twilio.is_signed, most=twilio.LARGEST)
        await twilio.report(ctx, means, body, reference)
        return Response(status_code=204)

    @made.post("/sendgrid/{tenant}")
    async def sendgrid_events(request: Request, tenant: str) -> Response:
        ctx, _, body = await door.enter(request, tenant, "sendgrid", email.is_sendgrid, most=email.LARGEST_EVENTS)
        await email.sendgrid(ctx, means, body)
        return Response(status_code=204)

    @made.post("/sendgrid/{tenant}/inbound")
    async def sendgrid_mail(request: Request, tenant: str) -> Response:
        try:
            async with asyncio.timeout(mail.SECONDS), places:
                ctx, settings, body = await door.enter(request, tenant, "sendgrid", mail.is_signed, most=mail.LARGEST)
                await mail.receive(ctx, settings, inbound, request.headers.get("content-type", ""), body)
        except TimeoutError:
            raise unavailable("The email could not be taken in time; post it again.") from None
        return Response(status_code=204)

    @made.post("/ses/{tenant}")
    async def ses_events(request: Request, tenant: str) -> Response:
        ctx, _, body = await door.enter(request, tenant, "ses", topics.is_signed, most=email.LARGEST_SNS)
        await topics.take(ctx, means, body)
        return Response(status_code=204)

    return made
