"""The day after a message from somebody in which WhatsApp lets any text be sent to them.

https://www.twilio.com/docs/whatsapp/key-concepts#customer-service-window
"""

from dataclasses import replace

from fhir_server.exchange import Context
from prm_ext.notifications.addressing import Reach
from prm_ext.notifications.content import Content, needs_template
from prm_ext.notifications.inbox import Inbox


async def fitted(ctx: Context, reached: Reach, content: Content) -> Content:
    """Return what is sent: within the window the text with its files, not an approved template that has no place for them."""
    if not (content.content_sid and content.media):
        return content
    last = await Inbox(ctx.repo.database).last(ctx.tenant, reached.channel, reached.address, [reached.sender])
    if needs_template(reached.channel, last, ctx.now()):
        return content
    return replace(content, content_sid="", content_variables={})
