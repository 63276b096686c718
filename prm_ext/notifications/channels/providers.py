"""Who delivers a tenant's messages over a channel, by its settings."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

from fhir_server.store.database import Database
from prm_ext.notifications.channels.accounts import ACCOUNTS, Account, SendGridAccount, SesRegion, SmtpServer, TwilioAccount
from prm_ext.notifications.channels.channel import Channel, Provider
from prm_ext.notifications.channels.configuration import chosen, problems, sender
from prm_ext.notifications.channels.console import Console
from prm_ext.notifications.channels.errors import Errors
from prm_ext.notifications.channels.threads import Threads
from prm_ext.notifications.records import COLLECTION as DELIVERIES
from prm_ext.notifications.settings import NotificationSettings

_REMEMBERED: Final = 10_000
CONSOLE_SENDER: Final = "console"
"""The sender of messages to the console where none is set."""


class Providers:
    """Providers for the tenants of one process, each made when it is first needed and shared by those with the same account."""

    def __init__(self, settings: NotificationSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._threads = Threads(database.settings.worker_threads)
        self._made: dict[Hashable, Provider] = {}
        self._chosen: dict[tuple[str, Channel], tuple[Provider, str] | None] = {}
        self._errors: dict[str, Errors] = {}
        self.console = Console(database)

    def of(self, tenant: str, channel: Channel) -> tuple[Provider, str] | None:
        """Return who delivers over a channel, and from which sender; None where nobody does, for a `reason`."""
        key = tenant, channel
        if key not in self._chosen:
            if len(self._chosen) >= _REMEMBERED:
                self._chosen.clear()
            self._chosen[key] = self._of(tenant, channel)
        return self._chosen[key]

    def _of(self, tenant: str, channel: Channel) -> tuple[Provider, str] | None:
        settings = self._settings.of(tenant)
        provider = chosen(settings, channel)
        if provider == "off" or problems(settings, channel):
            return None
        if provider == "console":
            return self.console, sender(settings, channel) or CONSOLE_SENDER
        return self._provider(provider, settings), sender(settings, channel)

    def reason(self, tenant: str, channel: Channel) -> str:
        """Return why nobody delivers over a channel; empty where somebody does."""
        settings = self._settings.of(tenant)
        if chosen(settings, channel) == "off":
            return f"The channel {channel} is off."
        return " ".join(problems(settings, channel))

    def errors(self, tenant: str) -> Errors:
        """Return what error codes mean to a tenant."""
        return self._table(self._settings.of(tenant).error_classes)

    async def close(self) -> None:
        """Give free what they hold."""
        made, self._made = list(self._made.values()), {}
        self._chosen.clear()
        for provider in made:
            await provider.close()
        self._threads.close()

    def _provider(self, name: str, settings: NotificationSettings) -> Provider:
        account = ACCOUNTS[name](settings)
        key = (name, account, settings.error_classes)
        if key not in self._made:
            self._made[key] = self._make(account, self._table(settings.error_classes))
        return self._made[key]

    def _make(self, account: Account, errors: Errors) -> Provider:
        # SDKs take long to import and much memory: only those that are used are.
        match account:
            case TwilioAccount():
                from prm_ext.notifications.channels.twilio import Twilio  # noqa: PLC0415

                return Twilio(account, threads=self._threads, errors=errors, known=self.known)
            case SendGridAccount():
                from prm_ext.notifications.channels.sendgrid import SendGrid  # noqa: PLC0415

                return SendGrid(account, threads=self._threads, errors=errors)
            case SesRegion():
                from prm_ext.notifications.channels.ses import Ses  # noqa: PLC0415

                return Ses(account, threads=self._threads, errors=errors)
            case SmtpServer():
                from prm_ext.notifications.channels.smtp import Smtp  # noqa: PLC0415

                return Smtp(account, errors=errors, connections=self._threads.count)

    def _table(self, text: str) -> Errors:
        if text not in self._errors:
            self._errors[text] = Errors.of(text)
        return self._errors[text]

    async def known(self, provider: str, ids: Sequence[str], reference: str) -> Mapping[str, bool]:
        """Return which ids that a provider gave are known, and whether they are of the message with this reference."""
        if not ids:
            return {}
        wanted = {f"{provider}|{one}": one for one in ids}
        found: dict[str, bool] = {}
        deliveries = self._database.collection(DELIVERIES)
        asked: dict[str, Any] = {"provider_ids": {"$in": sorted(wanted)}}
        async for delivery in deliveries.find(asked, {"provider_ids": 1, "messages.id": 1}):
            own = any(one["id"] == reference for one in delivery.get("messages", ()))
            found |= {wanted[one]: own for one in delivery["provider_ids"] if one in wanted}
        return found
