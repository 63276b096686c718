"""Webhooks of providers, sent to whoever asked for them."""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from typing import Any

import httpx


class Callbacks:
    """Posts webhooks; what is public may be somewhere else in truth."""

    def __init__(self, reroute: Mapping[str, str] | None = None, client: httpx.AsyncClient | None = None) -> None:
        self.reroute = dict(reroute or {})
        """Where requests for public URLs, by their beginning, really go to."""
        self._client = client
        self._tasks: set[asyncio.Task[None]] = set()
        self.answers: list[int] = []
        """The statuses of all answers; 0 where none came."""

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> httpx.Response | None:
        """Post a body, and return what is answered."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=15)
        for public, place in self.reroute.items():
            if url.startswith(public):
                url = place + url.removeprefix(public)
        try:
            answer = await self._client.post(url, content=content, headers=dict(headers))
        except httpx.HTTPError:
            self.answers.append(0)
            return None
        self.answers.append(answer.status_code)
        return answer

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def idle(self) -> None:
        """Wait until all is sent."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Send no more."""
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._client is not None:
            await self._client.aclose()
