"""What the error codes of providers mean: whether to try again, to take another channel, or to give up.

Twilio: https://www.twilio.com/docs/api/errors, SendGrid: https://www.twilio.com/docs/sendgrid/for-developers/sending-email,
SES: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html#API_SendEmail_Errors. Where a code has no
entry the HTTP status decides; a setting (`PRM_NOTIFY_ERROR_CLASSES`) has the last word.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, get_args

from pydantic import TypeAdapter, ValidationError

from fhir_server.exchange import utc_now
from prm_ext.notifications.channels.channel import Failure, Message, Refused
from prm_ext.notifications.channels.masking import mask

FAILURES: Final[tuple[Failure, ...]] = get_args(Failure)
HOURS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """What a code means."""

    failure: Failure
    pause: float | None = None
    """Seconds before it makes sense to try again."""


def _all(failure: Failure, codes: Iterable[int | str]) -> dict[str, ErrorClass]:
    return {str(code): ErrorClass(failure) for code in codes}


TWILIO: Final[Mapping[str, ErrorClass]] = {
    # The number is none, can not be reached for good, or takes no messages.
    **_all("address", (13223, 13224, 21202, 21211, 21214, 21217, 21265, 21401, 21407, 21421, 21614, 21635, 30005, 30006)),
    **_all("opted-out", (21610,)),
    # Credentials, permissions, regions and senders of the account.
    **_all("content", (20001, 20003, 20004, 20005, 20006, 20008, 20009, 20404, 21201, 21203, 21205, 21210, 21212, 21213)),
    **_all("content", (13227, 21215, 21216, 21219, 21408, 21601, 21603, 21604, 21606, 21607, 21608, 21609, 21612, 21621)),
    **_all("content", (21622, 21701, 21703, 21704, 21705, 21712, 30002, 30018, 30024, 30032, 30033, 30034, 30035, 30037)),
    **_all("content", (30040, 30041, 30044)),
    # What the message says or costs, and what filters of carriers make of it.
    **_all("content", (21602, 21605, 21617, 21618, 21619, 21620, 21623, 21654, 21655, 21656, 30004, 30007, 30010, 30012)),
    **_all("content", (30019, 30038, 30039, 30450, 30453, 63019, 63031)),
    # WhatsApp: not a user, outside of the window, template or sender not usable. An SMS may get through. So may a text
    # where a picture does not.
    **_all("channel", (30011, 63001, 63002, 63003, 63005, 63006, 63007, 63008, 63013, 63014, 63015, 63016, 63020, 63021)),
    **_all("channel", (63022, 63024, 63025, 63026, 63027, 63028, 63029, 63030, 63032, 63033, 63036, 63037, 63040, 63041)),
    **_all("channel", (63042, 63049, 63051, 63112)),
    # Limits, queues, carriers that fail.
    **_all(
        "transient", (20429, 20500, 20503, 21611, 30001, 30003, 30008, 30017, 30022, 30036, 30410, 63009, 63010, 63012, 63018)
    ),
    **_all("transient", (63023,)),
    # The messages of a day are used up.
    **{str(code): ErrorClass("transient", pause=1 * HOURS) for code in (30023, 30027, 63038)},
}

SENDGRID: Final[Mapping[str, ErrorClass]] = {
    "bounce": ErrorClass("address"),
    "blocked": ErrorClass("transient", pause=1 * HOURS),
    "expired": ErrorClass("transient", pause=1 * HOURS),
    "dropped": ErrorClass("opted-out"),
    "spamreport": ErrorClass("opted-out"),
    "unsubscribe": ErrorClass("opted-out"),
    "group_unsubscribe": ErrorClass("opted-out"),
    "Invalid": ErrorClass("address"),
    "Bounced Address": ErrorClass("address"),
    "Spam Reporting Address": ErrorClass("opted-out"),
    "Unsubscribed Address": ErrorClass("opted-out"),
    "Recipient List over Package Quota": ErrorClass("transient", pause=1 * HOURS),
    "Spam Content": ErrorClass("content"),
    "Invalid SMTPAPI header": ErrorClass("content"),
}

SES: Final[Mapping[str, ErrorClass]] = {
    **_all("content", ("AccessDeniedException", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException")),
    **_all("content", ("ExpiredTokenException", "MissingAuthenticationToken", "OptInRequired", "BadRequestException")),
    **_all(
        "content", ("MessageRejected", "MailFromDomainNotVerifiedException", "NotFoundException", "AccountSuspendedException")
    ),
    **_all("content", ("ConflictException", "ValidationException", "Reject", "RenderingFailure")),
    **_all("content", ("Transient.MessageTooLarge", "Transient.ContentRejected", "Transient.AttachmentRejected")),
    **_all("transient", ("TooManyRequestsException", "Throttling", "ThrottlingException", "RequestTimeout", "InternalFailure")),
    **_all("transient", ("ServiceUnavailable", "InternalServiceErrorException", "RequestExpired")),
    **_all("address", ("Permanent.General", "Permanent.NoEmail")),
    **_all("opted-out", ("Permanent.Suppressed", "Permanent.OnAccountSuppressionList", "Permanent.UnsubscribedRecipient")),
    **{code: ErrorClass("transient", pause=1 * HOURS) for code in ("LimitExceededException", "SendingPausedException")},
    # SES itself has tried for hours.
    **{
        code: ErrorClass("transient", pause=4 * HOURS)
        for code in ("Transient.General", "Transient.MailboxFull", "Transient.CustomTimeoutExceeded", "Undetermined.Undetermined")
    },
}

TABLE: Final[Mapping[str, Mapping[str, ErrorClass]]] = {"twilio": TWILIO, "sendgrid": SENDGRID, "ses": SES}


def by_status(status: int) -> Failure:
    """Return what an HTTP status means where no code says more."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "transient"
    return (
        "transient" if status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS) else "content"
    )


class Errors:
    """The table as this installation has it."""

    def __init__(self, overrides: Mapping[str, Mapping[str, Failure]] | None = None) -> None:
        self._overrides = overrides or {}

    @classmethod
    def of(cls, text: str) -> "Errors":
        """Return the table with what a setting says, JSON: `{"twilio": {"30003": "channel"}}`.

        Raises:
            ValueError: it is something else.
        """
        try:
            return cls(TypeAdapter(dict[str, dict[str, Failure]]).validate_json(text) if text else None)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{place or 'the whole'}: {first['msg']}; failures are {', '.join(FAILURES)}.") from None

    def known(self, provider: str, code: str) -> ErrorClass | None:
        """Return what a code means; None where nobody has said it."""
        changed = self._overrides.get(provider, {}).get(code)
        return ErrorClass(changed) if changed else TABLE.get(provider, {}).get(code)

    def classify(self, provider: str, code: str, status: int = HTTPStatus.INTERNAL_SERVER_ERROR) -> ErrorClass:
        """Return what a code means, or else the HTTP status."""
        return self.known(provider, code) or ErrorClass(by_status(status))

    def refused(
        self, provider: str, code: str, status: int, text: str, message: Message, retry_after: float | None = None
    ) -> Refused:
        """Return a refusal with its class, a masked text, and when to come again."""
        found = self.classify(provider, code, status)
        pause = max((one for one in (retry_after, found.pause) if one is not None), default=None)
        return Refused(found.failure, code, mask(text, message), pause if found.failure == "transient" else None)


def seconds(retry_after: str | None) -> float | None:
    """Return the seconds of a `Retry-After`: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after; None without one."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after)) if retry_after.strip().isdigit() else _until(retry_after)
    except (ValueError, OverflowError):
        return None


def _until(date: str) -> float | None:
    moment = parsedate_to_datetime(date)
    return max(0.0, (moment - utc_now()).total_seconds()) if moment.tzinfo else None
