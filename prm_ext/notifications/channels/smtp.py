"""Email by SMTP: https://www.rfc-editor.org/rfc/rfc5321, enhanced status codes https://www.rfc-editor.org/rfc/rfc3463.

A server that takes a message says nothing more of it, and can not be asked. The Message-ID is made from our reference, so
that a message that went twice can be told by whoever receives it.
"""

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiosmtplib

from prm_ext.notifications.channels.accounts import SmtpServer
from prm_ext.notifications.channels.attachments import Attachments
from prm_ext.notifications.channels.channel import Accepted, Failure, Message, Outcome, Receipt, Refused, Unknown
from prm_ext.notifications.channels.errors import Errors
from prm_ext.notifications.channels.masking import mask
from prm_ext.notifications.channels.mime import AddressError, address_of, message_id, mime

NAME: Final = "smtp"
TRUSTED_SECONDS: Final = 5.0
"""A connection that was used so lately is not asked whether it is still there."""
_ENHANCED: Final = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_BY_CODE: Final[Mapping[str, Failure]] = {
    # A mailbox that is full, or a list that is being moved: another day it may be otherwise.
    "5.2.2": "transient",
    "5.3.1": "transient",
    "5.2.3": "content",
    "5.3.4": "content",
    "5.1.7": "content",
    "5.1.8": "content",
}
_BY_SUBJECT: Final[Mapping[str, Failure]] = {"1": "address", "2": "address", "4": "address"}
"""By the second number: addressing, mailbox, routing; what is left is about content, policy or the protocol."""


class Smtp:
    """A Provider for one server."""

    name = NAME
    reports = False
    looks_up = False

    def __init__(self, server: SmtpServer, *, errors: Errors, connections: int = 16, trust: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._errors = errors
        self._trust = trust
        self._attachments = Attachments(server.timeout)
        self._room = asyncio.Semaphore(connections)
        self._idle: list[tuple[aiosmtplib.SMTP, float]] = []

    async def send(self, message: Message) -> Outcome:
        """Hand a message over."""
        attachments = await self._attachments.fetch(message.media)
        if isinstance(attachments, Refused):
            return attachments
        try:
            sender, to = address_of(message.sender), address_of(message.to)
            content = mime(message, attachments).as_bytes()
        except AddressError as error:
            return Refused("address", "address", f"The sender or the recipient {error}.")
        if not to.addr_spec.isascii():
            return Refused("address", "5.6.7", "The server may not take addresses that are not ASCII.")
        async with self._room:
            return await self._deliver(message, sender.addr_spec, to.addr_spec, content, message_id(message, sender))

    async def find(self, message: Message) -> Outcome | None:
        """The server can not be asked."""
        del message
        return Unknown("An SMTP server can not be asked what it has taken.")

    async def status(self, message: Message, provider_id: str) -> Receipt | None:
        """The server can not be asked."""
        del message, provider_id
        return None

    async def close(self) -> None:
        """Close the connections."""
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            with suppress(aiosmtplib.SMTPException, OSError):
                await connection.quit()
            connection.close()
        await self._attachments.close()

    async def _deliver(self, message: Message, sender: str, to: str, content: bytes, id_: str) -> Outcome:
        begun = False
        try:
            async with self._connection() as connection:
                await connection.mail(sender, options=[f"SIZE={len(content)}"] if connection.supports_extension("size") else [])
                await connection.rcpt(to)
                begun = True
                await connection.data(content)
        except aiosmtplib.SMTPResponseException as error:
            return self._refusal(error, message)
        except (aiosmtplib.SMTPException, OSError) as error:
            kind = type(error).__name__
            if begun:
                return Unknown(f"The SMTP server did not answer: {kind}")
            return self._errors.refused(NAME, "connection", 503, f"The SMTP server can not be reached: {kind}", message)
        return Accepted(id_, "sent")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosmtplib.SMTP]:
        connection = await self._ready()
        try:
            yield connection
        except aiosmtplib.SMTPResponseException:
            # It is the message that is refused; the connection goes on.
            await self._keep(connection, reset=True)
            raise
        except BaseException:
            connection.close()
            raise
        await self._keep(connection, reset=False)

    async def _ready(self) -> aiosmtplib.SMTP:
        """Return a connection: one that is kept and still alive, or a new one."""
        while self._idle:
            kept, used = self._idle.pop()
            try:
                if not kept.is_connected or time.monotonic() - used > TRUSTED_SECONDS:
                    await kept.noop()
            except (aiosmtplib.SMTPException, OSError):
                kept.close()
            else:
                return kept
        server = self._server
        connection = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user or None,
            password=server.password or None,
            use_tls=server.tls == "tls",
            start_tls=server.tls == "starttls",
            timeout=server.timeout,
            tls_context=self._trust,
        )
        await connection.connect()
        return connection

    async def _keep(self, connection: aiosmtplib.SMTP, *, reset: bool) -> None:
        try:
            if reset:
                await connection.rset()
        except (aiosmtplib.SMTPException, OSError):
            connection.close()
            return
        if connection.is_connected:
            self._idle.append((connection, time.monotonic()))

    def _refusal(self, error: aiosmtplib.SMTPResponseException, message: Message) -> Refused:
        enhanced = _ENHANCED.search(error.message)
        code = enhanced.group(0) if enhanced else str(error.code)
        known = self._errors.known(NAME, code)
        failure = known.failure if known else _failure(error, code)
        return Refused(failure, code, mask(error.message, message), known.pause if known else None)


def _failure(error: aiosmtplib.SMTPResponseException, code: str) -> Failure:
    """Return what a refusal means: by its reply code, then by the enhanced status code, then by the command refused."""
    if 400 <= error.code < 500:  # noqa: PLR2004 -- https://www.rfc-editor.org/rfc/rfc5321#section-4.2.1
        return "transient"
    if isinstance(error, (aiosmtplib.SMTPConnectResponseError, aiosmtplib.SMTPHeloError)):
        return "transient"
    if isinstance(error, (aiosmtplib.SMTPAuthenticationError, aiosmtplib.SMTPSenderRefused)):
        return "content"
    if code in _BY_CODE:
        return _BY_CODE[code]
    if "." in code:
        return _BY_SUBJECT.get(code.split(".")[1], "content")
    return "address" if isinstance(error, aiosmtplib.SMTPRecipientRefused) else "content"
