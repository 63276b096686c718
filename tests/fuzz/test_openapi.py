"""What the generated OpenAPI describes is what the server does: requests made from it get documented answers."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance
from starlette.types import ASGIApp

from fhir_server.web.openapi import openapi
from tests.fuzz.conftest import bounded

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SCHEMA = schemathesis.openapi.from_dict(openapi("http://test/fhir"))
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]


def _request(kwargs: dict[str, Any]) -> httpx.Request:
    data, cookies = kwargs.pop("data", None), kwargs.pop("cookies")
    assert not cookies
    body = {"content": data} if isinstance(data, bytes | str) else {"data": data}
    headers = {name: str(value).encode("latin-1", "replace") for name, value in kwargs.pop("headers").items()}
    return httpx.Request(url="http://test" + kwargs.pop("url"), **kwargs, **body, headers=headers)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
@bounded(6)
@given(data=st.data())
async def test_described_requests_get_described_answers(app: ASGIApp, operation: Any, data: st.DataObject) -> None:
    case = data.draw(operation.as_strategy())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        answer = await client.send(_request(case.as_transport_kwargs()))
    case.validate_response(answer, checks=CHECKS)


async def test_the_server_serves_its_description(app: ASGIApp) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/fhir/openapi.json")).json() == openapi("http://test/fhir")
