"""What goes with an email and comes back in events."""

from typing import Final

REFERENCE: Final = "reference"
"""The custom argument (SendGrid) or tag (SES) that holds our reference."""


def message_id_of(msg_id: str) -> str:
    """Return the `X-Message-Id` that an id in events and in the Email Activity begins with."""
    for mark in (".filter", ".recv"):
        msg_id = msg_id.partition(mark)[0]
    return msg_id
