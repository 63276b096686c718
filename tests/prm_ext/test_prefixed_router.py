"""Routers that are asked about their own paths only."""

import httpx
import pytest
from fastapi import FastAPI

from prm_ext.common.routing import PrefixedRouter


def served(root_path: str = "") -> httpx.AsyncClient:
    app = FastAPI()
    for below in ("/a", "/b"):
        router = PrefixedRouter(below)

        async def answer(below: str = below) -> str:
            return below

        router.add_api_route("/things", answer, methods=["POST"])
        app.include_router(router, prefix=below)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, root_path=root_path), base_url="http://test")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/a/things", 200),
        ("POST", "/b/things", 200),
        ("GET", "/b/things", 405),
        ("POST", "/b/things/", 307),
        ("POST", "/b", 404),
        ("POST", "/c/things", 404),
    ],
)
async def test_a_path_is_answered_by_the_router_that_it_is_below(method: str, path: str, status: int) -> None:
    async with served() as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    assert status != 200 or path.startswith(answer.json())


async def test_a_prefix_that_a_proxy_has_left_in_the_path_is_no_part_of_it() -> None:
    async with served("/proxied") as client:
        assert (await client.post("/proxied/b/things")).status_code == 200
