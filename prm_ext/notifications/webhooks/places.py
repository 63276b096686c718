"""Where providers report to."""

from typing import Final

PREFIX: Final = "/api/v1/prm/notifications"


def callback_url(base: str, provider: str, tenant: str, reference: str) -> str:
    """Return where a provider reports what becomes of one message; nothing where this server has no public URL.

    Our reference is in it, so that a report finds its message also where the answer with the provider's id was lost.
    """
    return f"{base}{PREFIX}/webhooks/{provider}/{tenant}/{reference}" if base else ""
