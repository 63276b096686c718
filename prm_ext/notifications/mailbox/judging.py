"""Whether an email is from whom it says, and whether a person has written it.

`From` is what anybody likes. It is believed where its own domain has signed the email (DKIM,
https://www.rfc-editor.org/rfc/rfc6376), or where it came from a server of the domain that it came back to (SPF,
https://www.rfc-editor.org/rfc/rfc7208) and that is the same: what https://www.rfc-editor.org/rfc/rfc7489#section-3.1 calls
aligned. SendGrid has verified both, and says so.
"""

import re
from collections.abc import Collection
from typing import Final, Literal

from prm_ext.notifications.channels.mime import REFERENCE
from prm_ext.notifications.mailbox.mail import Mail

Doubt = Literal["", "unverified", "spam", "automatic"]

SPAM: Final = 5.0
"""From this score of SpamAssassin on."""
_SIGNED: Final = re.compile(r"@([A-Za-z0-9._-]+)\s*:\s*(\w+)")
_BULK: Final = frozenset({"bulk", "junk", "list", "auto_reply"})
_MACHINES: Final = frozenset({"mailer-daemon", "postmaster", "no-reply", "noreply", "do-not-reply", "donotreply", "bounce"})
_AUTOMATIC: Final = ("X-Autoreply", "X-Autorespond", "X-Auto-Response-Suppress", "List-Id", "List-Unsubscribe", "Feedback-ID")
"""Headers of what machines send: https://www.rfc-editor.org/rfc/rfc3834#section-2 warns of answering it."""


def doubt_about(mail: Mail, ours: Collection[str]) -> Doubt:
    """Return why an email is for people to judge, and is not acted upon; `ours` are the addresses that we send from."""
    if not is_authentic(mail):
        return "unverified"
    if mail.spam >= SPAM:
        return "spam"
    return "automatic" if is_automatic(mail, ours) else ""


def is_authentic(mail: Mail) -> bool:
    """Tell whether an email is from whom it says."""
    domain = _domain(mail.sender)
    if not domain:
        return False
    signed = [by.lower() for by, result in _SIGNED.findall(mail.dkim) if result.lower() == "pass"]
    if any(_is_of(domain, by) for by in signed):
        return True
    return mail.spf == "pass" and _is_of(domain, _domain(mail.returns_to))


def is_automatic(mail: Mail, ours: Collection[str]) -> bool:
    """Tell whether a machine has sent an email: an answer while somebody is away, a bounce, a list, or we ourselves."""
    headers = mail.headers
    submitted = str(headers.get("Auto-Submitted") or "no").partition(";")[0].strip().lower()
    local = mail.sender.rpartition("@")[0].partition("+")[0]
    return (
        submitted != "no"
        or str(headers.get("Precedence") or "").strip().lower() in _BULK
        or any(headers.get(name) is not None for name in (*_AUTOMATIC, REFERENCE))
        or headers.get_content_type() == "multipart/report"
        or not mail.returns_to
        or local in _MACHINES
        or mail.sender in ours
    )


def _domain(address: str) -> str:
    domain = address.rpartition("@")[2].strip().rstrip(".").lower()
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        return ""


def _is_of(domain: str, other: str) -> bool:
    """Tell whether a domain is another, or is below it; nothing is below a domain of one name alone."""
    return domain == other or ("." in other and domain.endswith(f".{other}"))
