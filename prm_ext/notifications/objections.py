"""What a provider knows of those who do not want to be written to, kept here as well."""

from fhir_server.exchange import Context
from fhir_server.store.database import Document
from prm_ext.notifications.consent import opt_out


async def note_objection(ctx: Context, found: Document) -> None:
    """Keep what a provider said of the last message of a delivery: nothing more over this channel from this sender."""
    message = found["messages"][-1]
    people = [found["recipient"]] if found["recipient"] and not found["recipient"].startswith("#") else []
    await opt_out(ctx, people, channel=message["channel"], sender=message["sender"], address=message["to"], source="provider")
