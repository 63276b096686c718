"""The description of the interface, and requests made from it."""

from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import APIRouter, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance
from starlette.types import ASGIApp

from fhir_server.config import Settings
from fhir_server.web.app import create_app
from prm_ext.notifications.api import add_routes, add_sending, router, sending
from prm_ext.notifications.idempotency import HEADER
from prm_ext.notifications.means import MeansOf
from prm_ext.notifications.settings import NotificationSettings
from tests.conftest import default_settings
from tests.fuzz.conftest import bounded
from tests.prm_ext.notifications.api_world import BASE, with_notifications

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def described() -> dict[str, Any]:
    """Return the part of the description that is about these routes."""
    app = FastAPI(title="Notifications", version="1")
    found = APIRouter()
    means = MeansOf(NotificationSettings(_env_file=None))
    add_sending(found, means)
    add_routes(found, means)
    app.include_router(found, prefix=BASE)
    return app.openapi()


WHOLE = described()
OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(WHOLE).get_all_operations()]


@pytest.fixture(scope="module")
def app(mongodb_uri: str, database: Any) -> ASGIApp:
    return create_app(with_notifications(default_settings("notification-openapi", mongodb_uri)), database)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
@bounded(8)
@given(data=st.data())
async def test_described_requests_get_described_answers(app: ASGIApp, operation: Any, data: st.DataObject) -> None:
    case = data.draw(operation.as_strategy())
    kwargs = case.as_transport_kwargs()
    headers = {name: str(value).encode("latin-1", "replace") for name, value in kwargs.pop("headers").items()}
    kwargs.pop("cookies")
    body = kwargs.pop("data", None)
    url = "http://test" + kwargs.pop("url")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        answer = await client.send(httpx.Request(url=url, content=body, **kwargs, headers=headers))
    case.validate_response(answer, checks=CHECKS)


def test_every_route_is_described_with_examples_and_problems() -> None:
    paths = {f"{BASE}{route.path}".rstrip("/") for route in [*sending.routes, *router.routes] if route.include_in_schema}
    assert set(WHOLE["paths"]) == paths | {BASE}
    for name in ("Send", "SendTemplate", "Schedule", "Bulk", "Notification"):
        assert WHOLE["components"]["schemas"][name]["example"]
    for path, item in WHOLE["paths"].items():
        for method, operation in item.items():
            assert list(operation["responses"]["422"]["content"]) == ["application/problem+json"], path
            named = [one["name"] for one in operation.get("parameters", ())]
            assert (HEADER in named) is (method == "post"), path


async def test_the_server_serves_the_same_description(settings: Settings, database: Any) -> None:
    app = create_app(with_notifications(settings), database)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        served = (await client.get("/openapi.json")).json()["paths"]
    assert set(WHOLE["paths"]) | {f"{BASE}/templates"} <= set(served)
