"""The address that answers to an email go to: one for each message, so that an answer says which it answers.

https://www.rfc-editor.org/rfc/rfc5233 (subaddresses).
"""

from email.utils import formataddr, parseaddr
from typing import Final

LONGEST_LOCAL: Final = 64 - len("+") - 36
"""What is left for the part before the `@`: https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1.1."""


def reply_address(base: str, reference: str) -> str:
    """Return the address for answers to a message; empty where there is none for answers at all."""
    name, address = parseaddr(base)
    local, at, domain = address.rpartition("@")
    return formataddr((name, f"{local}+{reference}@{domain}")) if at else ""


def reference_in(address: str) -> str:
    """Return the reference of the message that an address is for; empty where it is for none."""
    return address.rpartition("@")[0].partition("+")[2]
