"""An SMTP server that takes, refuses or loses messages, by the beginning of the address."""

import asyncio
import email
import ssl
import warnings
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.providers.behaviour import Weather
from tests.providers.ledger import Entry, Ledger

RECIPIENTS = {
    "invalid@": "550 5.1.1 No such user invalid@example.org here",
    "plain@": "550 No such user here",
    "full@": "552 5.2.2 Mailbox full",
    "later@": "450 4.2.1 Try again later",
    "policy@": "554 5.7.1 Relay access denied for policy@example.org",
}
CONTENTS = {"spam@": "554 5.7.1 Message looks like spam", "busy@": "451 4.3.0 Try again later"}
LOST, NEVER = "lost@", "never@"


class SmtpServer:
    """One server; it listens on loopback."""

    def __init__(self, ledger: Ledger, weather: Weather) -> None:
        self.ledger = ledger
        self.weather = weather
        self.logins = {"clinic": "secret"}
        self.port = 0
        self.sessions = 0
        self._server: asyncio.Server | None = None
        self._writers: set[Any] = set()

    async def start(
        self, port: int = 0, tls: ssl.SSLContext | None = None, *, implicit: bool = False, auth: bool = False
    ) -> None:
        """Listen: in the clear, with STARTTLS, or with TLS from the beginning."""

        def make() -> SMTP:
            self.sessions += 1
            with warnings.catch_warnings():
                # It does not know of TLS from the beginning.
                warnings.simplefilter("ignore", UserWarning)
                return made()

        def made() -> SMTP:
            return SMTP(
                self,
                hostname="mx.example.org",
                enable_SMTPUTF8=False,
                tls_context=None if implicit else tls,
                require_starttls=bool(tls) and not implicit,
                authenticator=self._authenticate if auth else None,
                auth_required=auth,
                auth_require_tls=not implicit,
            )

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(make, "127.0.0.1", port, ssl=tls if implicit else None)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        del server, session, envelope, mechanism
        assert isinstance(data, LoginPassword)
        right = self.logins.get(data.login.decode()) == data.password.decode()
        return AuthResult(success=right, handled=False)

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802 -- a name of aiosmtpd's
        """Take a sender."""
        del server, session
        await self.weather.wait()
        if self.weather.behaviour.outage:
            return "421 4.3.2 Service not available"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802 -- a name of aiosmtpd's
        """Take a recipient, or not."""
        del server, session
        if refused := next((text for start, text in RECIPIENTS.items() if address.startswith(start)), ""):
            return refused
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 -- a name of aiosmtpd's
        """Take a message, or not."""
        del session
        to = envelope.rcpt_tos[0]
        if refused := next((text for start, text in CONTENTS.items() if to.startswith(start)), ""):
            return refused
        fault = self.weather.fault()
        if fault == "transient":
            return "451 4.3.0 Try again later"
        if to.startswith(NEVER):
            await asyncio.sleep(3600)
        entry = self._accept(envelope, to)
        if fault or to.startswith(LOST):
            entry.answered = False
            assert server.transport is not None
            server.transport.abort()
        return "250 2.0.0 OK"

    def _accept(self, envelope: Envelope, to: str) -> Entry:
        parsed = email.message_from_bytes(bytes(envelope.content or b""), policy=default)
        text = parsed.get_body(("plain",))
        body = text.get_content().replace("\r\n", "\n").rstrip("\n") if text else ""
        entry = Entry("smtp", str(parsed["Message-ID"]), "email", to, envelope.mail_from or "", body)
        entry.reference, entry.subject, entry.status = (
            str(parsed["X-Notification-Reference"] or ""),
            str(parsed["Subject"]),
            "delivered",
        )
        entry.raw = {"headers": dict(parsed.items()), "parts": [part.get_content_type() for part in parsed.walk()]}
        return self.ledger.add(entry)
