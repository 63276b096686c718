"""Email by Amazon SES: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html.

SES takes no idempotency key and can not be asked what it has taken; what becomes of a message is told by events of a
configuration set, which carry our reference as a tag.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
)

from prm_ext.notifications.channels.accounts import SesRegion
from prm_ext.notifications.channels.attachments import Attachment, Attachments
from prm_ext.notifications.channels.channel import Accepted, Message, Outcome, Receipt, Refused, Unknown
from prm_ext.notifications.channels.email_words import REFERENCE
from prm_ext.notifications.channels.errors import Errors, seconds
from prm_ext.notifications.channels.http import GATEWAYS, never_left
from prm_ext.notifications.channels.mime import AddressError, address_of, mime, subject
from prm_ext.notifications.channels.threads import Threads

NAME: Final = "ses"
_TAG: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")


class Ses:
    """A Provider for one region and configuration set."""

    name = NAME
    looks_up = False

    def __init__(self, region: SesRegion, *, threads: Threads, errors: Errors) -> None:
        self._region = region
        self._threads = threads
        self._errors = errors
        self._attachments = Attachments(region.timeout)
        config = Config(
            connect_timeout=region.timeout,
            read_timeout=region.timeout,
            # Whether to try again is not for the SDK: it would send twice what got no answer.
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=threads.count,
        )
        # Not boto3's own session, which keeps the credentials that it saw first.
        session: Any = boto3.session.Session()
        self._client: Any = session.client("sesv2", region_name=region.name, endpoint_url=region.base_url or None, config=config)

    @property
    def reports(self) -> bool:
        """Whether a configuration set publishes events."""
        return bool(self._region.configuration_set)

    async def send(self, message: Message) -> Outcome:
        """Hand a message over."""
        attachments = await self._attachments.fetch(message.media)
        if isinstance(attachments, Refused):
            return attachments
        return await self._threads.run(self._send, message, attachments)

    async def find(self, message: Message) -> Outcome | None:
        """SES can not be asked."""
        del message
        return Unknown("SES can not be asked what it has taken.")

    async def status(self, message: Message, provider_id: str) -> Receipt | None:
        """SES can not be asked."""
        del message, provider_id
        return None

    async def close(self) -> None:
        """Close the connections."""
        self._client.close()
        await self._attachments.close()

    def _send(self, message: Message, attachments: Sequence[Attachment]) -> Outcome:
        try:
            answer = self._client.send_email(**self._request(message, attachments))
        except AddressError as error:
            return Refused("address", "address", f"The sender or the recipient {error}.")
        except ClientError as error:
            return self._refusal(error, message)
        except (BotoCoreError, HTTPClientError) as error:
            return self._failed(error, message)
        return Accepted(str(answer["MessageId"]))

    def _request(self, message: Message, attachments: Sequence[Attachment]) -> dict[str, Any]:
        sender, to = address_of(message.sender), address_of(message.to)
        asked: dict[str, Any] = {"FromEmailAddress": str(sender), "Destination": {"ToAddresses": [to.addr_spec]}}
        if _TAG.fullmatch(message.reference):
            asked["EmailTags"] = [{"Name": REFERENCE, "Value": message.reference}]
        if self._region.configuration_set:
            asked["ConfigurationSetName"] = self._region.configuration_set
        # What can be answered says that a machine has sent it, which only a whole email can.
        if attachments or message.unsubscribe_url or message.reply_to:
            return asked | {"Content": {"Raw": {"Data": mime(message, attachments).as_bytes()}}}
        body = {"Text": {"Data": message.body, "Charset": "UTF-8"}}
        if message.html:
            body["Html"] = {"Data": message.html, "Charset": "UTF-8"}
        return asked | {"Content": {"Simple": {"Subject": {"Data": subject(message), "Charset": "UTF-8"}, "Body": body}}}

    def _refusal(self, error: ClientError, message: Message) -> Outcome:
        said, about = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
        status, code = int(about.get("HTTPStatusCode", 0)), str(said.get("Code", ""))
        if status in GATEWAYS or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and code in ("", str(status))):
            return Unknown(f"SES answered {status} without a reason.")
        pause = seconds(about.get("HTTPHeaders", {}).get("retry-after"))
        return self._errors.refused(NAME, code or str(status), status, str(said.get("Message", "")), message, pause)

    def _failed(self, error: Exception, message: Message) -> Outcome:
        kind = type(error).__name__
        if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
            return Refused("content", "credentials", "There are no AWS credentials: give them as boto3 takes them.")
        if isinstance(error, (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)) or never_left(error):
            return self._errors.refused(NAME, "connection", 503, f"SES can not be reached: {kind}", message)
        if isinstance(error, (ReadTimeoutError, ConnectionClosedError, HTTPClientError)):
            return Unknown(f"SES did not answer: {kind}")
        return self._errors.refused(NAME, kind, 400, "The SDK refuses the message.", message)
