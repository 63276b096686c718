"""All providers in one: what tests and benchmarks send to instead of the real ones.

async with running() as providers:
    providers.url                 # base URL of Twilio, SendGrid and SES
    providers.ledger.duplicates()
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.providers.behaviour import Behaviour, Weather
from tests.providers.callbacks import Callbacks
from tests.providers.ledger import Ledger
from tests.providers.sendgrid_server import SendGridServer
from tests.providers.ses_server import SesServer
from tests.providers.smtp_server import SmtpServer
from tests.providers.twilio_server import TwilioServer
from tests.providers.wire import HttpServer, Request, Response, answer

ACCOUNT = "AC" + "0123456789abcdef" * 2
TOKEN = "twilio-auth-token"
KEY = "SG.test-key"


class StandIns:
    """The providers, over one ledger and one behaviour."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        reroute: Mapping[str, str] | None = None,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.ledger = Ledger()
        self.callbacks = Callbacks(reroute, client)
        weather = Weather(self.behaviour)
        self.twilio = TwilioServer(self.ledger, weather, self.callbacks, ACCOUNT, TOKEN)
        self.sendgrid = SendGridServer(self.ledger, weather, self.callbacks, KEY)
        self.ses = SesServer(self.ledger, weather, self.callbacks)
        self.smtp = SmtpServer(self.ledger, weather)
        self.http = HttpServer(self.handle)

    @property
    def url(self) -> str:
        """The base URL of those that speak HTTP."""
        return f"http://127.0.0.1:{self.http.port}"

    @property
    def settings(self) -> dict[str, Any]:
        """What leads notifications here (NotificationSettings), but for who delivers what."""
        return {
            "twilio_account_sid": ACCOUNT,
            "twilio_auth_token": TOKEN,
            "twilio_base_url": self.url,
            "sendgrid_key": KEY,
            "sendgrid_base_url": self.url,
            "sendgrid_webhook_key": self.sendgrid.public_key,
            "sendgrid_parse_key": self.sendgrid.public_key,
            "ses_base_url": self.url,
            "smtp_host": "127.0.0.1",
            "smtp_port": self.smtp.port or 25,
            "smtp_tls": "none",
            "sms_from": "+14155550100",
            "whatsapp_from": "+14155550101",
            "voice_from": "+14155550102",
            "email_from": "Clinic <no-reply@example.org>",
        }

    async def start(self, port: int = 0, smtp_port: int = 0) -> None:
        """Listen."""
        await self.http.start(port)
        await self.smtp.start(smtp_port)
        self.twilio.origin = self.url

    async def stop(self) -> None:
        """Listen no more."""
        await self.callbacks.close()
        await self.http.stop()
        await self.smtp.stop()

    async def handle(self, request: Request) -> Response:
        """Answer as whoever the path belongs to."""
        if request.path.startswith(("/2010-04-01/", "/media-cdn/")):
            return await self.twilio.handle(request)
        if request.path.startswith("/v3/"):
            return await self.sendgrid.handle(request)
        if request.path.startswith("/v2/email/"):
            return await self.ses.handle(request)
        return await self._admin(request)

    async def _admin(self, request: Request) -> Response:
        """Show and change what there is: `/ledger`, `/behaviour`, `/inbound`, `/webhooks`, `/idle`."""
        match request.method, request.path:
            case "GET", "/ledger":
                return answer(200, {**self.ledger.to_json(), "callbacks": self.callbacks.answers})
            case "DELETE", "/ledger":
                self.ledger.clear()
                return Response(204)
            case "POST", "/behaviour":
                try:
                    self.behaviour.change(request.json)
                except ValueError as error:
                    return answer(400, {"error": str(error)})
                return Response(204)
            case "POST", "/webhooks":
                self.sendgrid.webhook = request.json.get("sendgrid", self.sendgrid.webhook)
                self.ses.webhook = request.json.get("ses", self.ses.webhook)
                return answer(200, {"sendgrid_webhook_key": self.sendgrid.public_key})
            case "POST", "/inbound":
                got = await self.twilio.receive(**request.json)
                return answer(200, {"status": got.status_code if got else 0, "body": got.text if got else ""})
            case "POST", "/idle":
                await self.callbacks.idle()
                return Response(204)
        return Response(404)


@asynccontextmanager
async def running(
    behaviour: Behaviour | None = None, *, reroute: Mapping[str, str] | None = None, client: httpx.AsyncClient | None = None
) -> AsyncIterator[StandIns]:
    """Run the providers in this event loop."""
    providers = StandIns(behaviour, reroute, client)
    await providers.start()
    try:
        yield providers
    finally:
        await providers.stop()
