"""What providers of email send: the events of SendGrid and, by SNS, those of Amazon SES."""

from typing import Any, Final

import msgspec
import structlog

from fhir_server.exchange import Context, utc_now
from fhir_server.fhir.outcome import unavailable
from prm_ext.notifications.channels.reports import sendgrid_events, sendgrid_objections, ses_event, ses_objection
from prm_ext.notifications.channels.signatures import sendgrid_signed
from prm_ext.notifications.channels.sns import Sns, SnsError
from prm_ext.notifications.means import MeansOf
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.webhooks import sns
from prm_ext.notifications.webhooks.door import Sent
from prm_ext.notifications.webhooks.reported import take

LARGEST_EVENTS: Final = 2 * 2**20
LARGEST_SNS: Final = 524_288
_KEPT: Final = 100


async def is_sendgrid(settings: NotificationSettings, sent: Sent) -> bool:
    """Tell whether SendGrid has sent a request; nobody has where there is no key to say so."""
    try:
        return bool(settings.sendgrid_webhook_key) and sendgrid_signed(
            sent.body, sent.headers, settings.sendgrid_webhook_key, utc_now()
        )
    except ValueError:
        structlog.get_logger().error("PRM_NOTIFY_SENDGRID_WEBHOOK_KEY is no public key")
        return False


async def sendgrid(ctx: Context, means_of: MeansOf, body: bytes) -> None:
    """Take events of SendGrid."""
    try:
        events: Any = msgspec.json.decode(body)
    except ValueError:
        # It is signed, and would be no better if it came again.
        return
    means, now = await means_of(ctx), ctx.now()
    receipts = sendgrid_events(events, now, means.providers.errors(ctx.tenant))
    await take(ctx, means, "sendgrid", receipts, sendgrid_objections(events, now))


class Topics:
    """Verifies the messages of SNS topics, and confirms subscriptions."""

    def __init__(self) -> None:
        self._known: dict[str, Sns] = {}

    async def is_signed(self, settings: NotificationSettings, sent: Sent) -> bool:
        """Tell whether SNS has sent a request for the topic of the settings; nobody has where there is none."""
        if not settings.ses_topic_arn:
            return False
        try:
            await self._verify(settings, sent.body)
        except SnsError as error:
            structlog.get_logger().info("a message of SNS is not believed", reason=str(error))
            return False
        return True

    async def _verify(self, settings: NotificationSettings, body: bytes) -> dict[str, str]:
        topic = settings.ses_topic_arn
        if topic not in self._known:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[topic] = Sns(topic, sns.fetched)
        return await self._known[topic].verify(body, utc_now())

    async def take(self, ctx: Context, means_of: MeansOf, body: bytes) -> None:
        """Take a message that has been verified.

        Raises:
            FhirError: 503, the subscription could not be confirmed now.
        """
        message: dict[str, str] = {name: str(value) for name, value in msgspec.json.decode(body).items()}
        if message["Type"] == "SubscriptionConfirmation":
            try:
                await sns.fetched(message["SubscribeURL"])
            except (OSError, ValueError) as error:
                raise unavailable(f"The subscription could not be confirmed: {type(error).__name__}.") from None
        if message["Type"] != "Notification":
            return
        means, now = await means_of(ctx), ctx.now()
        receipt = ses_event(message, now, means.providers.errors(ctx.tenant))
        objection = ses_objection(message, now)
        await take(ctx, means, "ses", [receipt] if receipt else [], [objection] if objection else [])
