"""A clinic whose patients write back: the pipeline, the application with its webhooks, and the stand-ins of providers.

Nothing is between them but what is real: what providers report goes through the application, signed.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.exchange import Resource
from prm_ext.notifications.reminders import Reminders
from tests.conftest import client_of
from tests.prm_ext.notifications.events_of import tell
from tests.prm_ext.notifications.pipeline import Pipeline
from tests.providers.stand_ins import StandIns, running

PUBLIC = "https://prm.example.org"
WEBHOOKS = f"{PUBLIC}/api/v1/prm/notifications/webhooks"
EXTENSION = "prm_ext.media,prm_ext.notifications"
NUMBER = "+14155550132"
SMS = "+14155550100"
WHATSAPP = "+14155550101"
NOW = datetime.now(UTC).replace(microsecond=0)


def at(**distance: float) -> str:
    """Return a time in so many days or hours from now."""
    return (NOW + timedelta(**distance)).isoformat()


class Clinic(Pipeline):
    """What happens in a clinic."""

    def __init__(
        self,
        settings: Settings,
        database: AsyncDatabase[dict[str, Any]],
        providers: StandIns,
        http: httpx.AsyncClient,
        **values: Any,
    ) -> None:
        super().__init__(settings, database, **values)
        self.providers = providers
        self.http = http
        self._told: dict[str, int] = {}

    async def patient(self, given: str = "Elena", number: str = NUMBER, **more: Any) -> str:
        """Return the reference of a new patient."""
        telecom = [{"system": "phone", "value": number, "use": "mobile"}]
        name = [{"family": "Garcia", "given": [given]}]
        return f"Patient/{(await self.write({'resourceType': 'Patient', 'name': name, 'telecom': telecom, **more}))['id']}"

    async def appointment(self, *patients: str, start: str = "", **more: Any) -> Resource:
        """Return a new Appointment of patients, with nothing sent for it."""
        start = start or at(days=3)
        who = [{"actor": {"reference": one}, "status": "needs-action"} for one in patients]
        doctor = {"actor": {"display": "Dr. Anna Smith", "type": "Practitioner"}, "status": "accepted"}
        end = (datetime.fromisoformat(start) + timedelta(minutes=30)).isoformat()
        found = {"resourceType": "Appointment", "status": "booked", "start": start, "end": end}
        return await self.write(found | {"participant": [*who, doctor]} | more)

    async def remind(self, appointment: Resource, *patients: str, channel: str = "sms") -> str:
        """Send a message about an Appointment to patients; return the provider's id of the last."""
        for patient in patients:
            await self.message(patient, f"Remember {appointment['start']}", channel, about=f"Appointment/{appointment['id']}")
        return self.providers.ledger.entries[-1].id

    async def message(self, patient: str, text: str = "Hello", channel: str = "sms", about: str = "") -> Resource:
        """Send a message to a patient, and return its request."""
        request: Resource = {
            "resourceType": "CommunicationRequest",
            "status": "active",
            "subject": {"reference": patient},
            "recipient": [{"reference": patient}],
            "medium": [{"coding": [{"system": "urn:prm:notification-channel", "code": channel}]}],
            "payload": [{"contentString": text}],
        }
        found = await self.write(request | ({"about": [{"reference": about}]} if about else {}))
        await self.run()
        return found

    async def hears(
        self, body: str = "", from_: str = NUMBER, to: str = SMS, media: tuple[tuple[str, bytes], ...] = (), **fields: str
    ) -> httpx.Response:
        """Let a message come in, through the application; then let what is to be answered go."""
        answer = await self.providers.twilio.receive(f"{WEBHOOKS}/twilio/{self.tenant}", from_, to, body, media, **fields)
        assert answer is not None
        await self.run()
        return answer

    def said(self, number: str = NUMBER) -> list[str]:
        """Return what Twilio has delivered to a number."""
        return [one.body for one in self.providers.ledger.entries if one.to.removeprefix("whatsapp:") == number]

    async def heard(self) -> list[Resource]:
        """Return the Communications of what came in, in their order."""
        found = await self.search("Communication", _sort="_lastUpdated", _count="100")
        return [one for one in found if "received" in one and "basedOn" not in one]

    async def follow(self, appointment: Resource) -> None:
        """Tell what sends reminders of the versions of an Appointment."""
        handle, id_ = Reminders(self.means_of.settings).handle, appointment["id"]
        self._told[id_] = await tell(self.ctx, handle, "Appointment", id_, self._told.get(id_, 1))


@asynccontextmanager
async def opened(
    settings: Settings, database: AsyncDatabase[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, values: Mapping[str, Any]
) -> AsyncIterator[Clinic]:
    """Open a clinic; `values` are more PRM_NOTIFY_… settings."""
    settings = settings.model_copy(update={"extensions": EXTENSION, "base_url": f"{PUBLIC}/fhir"})
    async with running(reroute={PUBLIC: "http://test"}) as providers:
        providers.behaviour.life = False
        channels = {"sms": "twilio", "whatsapp": "twilio", "voice": "twilio", "email": "sendgrid"}
        complete = {**providers.settings, **channels, "quiet_hours": "", **values}
        for name, value in complete.items():
            monkeypatch.setenv(f"PRM_NOTIFY_{name.upper()}", str(value))
        async with client_of(settings, database) as http:
            http.headers.clear()
            providers.callbacks._client = http
            async with Clinic(settings, database, providers, http, **complete) as clinic:
                yield clinic
