"""A server with notifications, in this process, and the pipeline that takes what it was asked for to its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from tests.conftest import client_of
from tests.prm_ext.notifications.pipeline import Pipeline

BASE = "/api/v1/prm/notifications"
EXTENSIONS = "prm_ext.patients,prm_ext.notifications"
PHONE = "+14155550132"


@dataclass
class World:
    """One tenant."""

    http: httpx.AsyncClient
    pipeline: Pipeline

    async def post(self, path: str, json: Any = None, **headers: str) -> httpx.Response:
        """Post to the notifications; underscores in the names of headers stand for hyphens."""
        return await self.http.post(
            f"http://test{BASE}{path}", json=json, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    async def get(self, path: str, **params: Any) -> httpx.Response:
        """Get from the notifications."""
        return await self.http.get(f"http://test{BASE}{path}", params=params)

    async def patient(self, **members: Any) -> str:
        """Make a patient with a phone; return its id."""
        resource = {
            "resourceType": "Patient",
            "name": [{"given": ["Elena"], "family": "García"}],
            "telecom": [{"system": "phone", "use": "mobile", "value": PHONE}],
            **members,
        }
        answer = await self.http.post("Patient", json=resource)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def sent(self, **body: Any) -> dict[str, Any]:
        """Have a message sent, and return it."""
        answer = await self.post("/send", {"to": PHONE, "body": "Hello.", **body})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def read(self, id_: str) -> dict[str, Any]:
        """Read a notification."""
        answer = await self.get(f"/{id_}")
        assert answer.status_code == 200, answer.text
        return answer.json()


def with_notifications(settings: Settings) -> Settings:
    """Return settings of a server that has the extension."""
    return settings.model_copy(update={"extensions": EXTENSIONS})


@asynccontextmanager
async def world_of(settings: Settings, database: AsyncDatabase[dict[str, Any]], **values: Any) -> AsyncIterator[World]:
    """Yield a world; `values` are PRM_NOTIFY_… settings of the pipeline."""
    found = with_notifications(settings)
    async with client_of(found, database) as http, Pipeline(found, database, **values) as pipeline:
        yield World(http, pipeline)
