"""Media: throughput against raw boto3 to the same store in the same run, memory over size, and the making of signed URLs.

    .venv/bin/python bench/media.py [--mb 256] [--large 2048] [--rounds 3]

It starts an S3 server (SeaweedFS) and this server on it, and sends files that nobody has sent before. What is compared takes
turns, so that whatever else the machine does falls on both; figures are the best of the rounds.
"""

import argparse
import asyncio
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
from botocore.config import Config

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests import media_servers  # noqa: E402 -- the path to it has to be known first
from tests.media_files import image  # noqa: E402

PIECE = 2**20
MB = 2**20


class Content(io.RawIOBase):
    """A PNG of some megabytes that is unlike all others, made as it is read."""

    def __init__(self, megabytes: int) -> None:
        self._head = image() + os.urandom(PIECE - len(image()))
        self._body = os.urandom(PIECE)
        self._left = megabytes
        self._first = True
        self.size = megabytes * PIECE
        self._held = b""

    def readable(self) -> bool:
        """It can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        while self._left and (size < 0 or len(self._held) < size):
            self._held += self._head if self._first else self._body
            self._first = False
            self._left -= 1
        found = self._held if size < 0 else self._held[:size]
        self._held = self._held[len(found) :]
        return found

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield all."""
        while piece := self.read(256 * 1024):
            yield piece


class Peak:
    """The largest memory of a process tree while something runs; `own` is that of the server alone."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.own = 0.0

    async def watch(self) -> None:
        """Look every twentieth of a second, until it is cancelled."""
        while True:
            self.own = max(self.own, self._process.memory_full_info().uss / MB)
            await asyncio.sleep(0.05)


@contextlib.contextmanager
def s3() -> Iterator[str]:
    """Yield the address of an S3 server."""
    directory = Path(tempfile.mkdtemp(prefix="bench-media-"))
    os.environ[media_servers.DIRECTORY] = str(directory)
    os.environ[media_servers.OWNER] = str(os.getpid())
    try:
        yield media_servers.shared("s3", media_servers.start_s3)["endpoint"]
    finally:
        media_servers.stop_all(directory)


@contextlib.contextmanager
def server(directory: Path, endpoint: str) -> Iterator[tuple[str, int]]:
    """Yield the address of this server on that store ("": on MongoDB), and its process."""
    settings = {"FHIR_UPLOAD_MAX_BYTES": str(10**11), "FHIR_LOG_REQUESTS": "false", "FHIR_EVENTS": "false"}
    if endpoint:
        settings |= {
            "FHIR_BLOB_STORE": "s3",
            "FHIR_S3_ENDPOINT": endpoint,
            "FHIR_S3_BUCKET": media_servers.BUCKET,
            "FHIR_S3_ACCESS_KEY": media_servers.ACCESS_KEY,
            "FHIR_S3_SECRET_KEY": media_servers.SECRET_KEY,
            "FHIR_S3_ENCRYPTION": "",
        }
    command = [sys.executable, "-m", "fhir_server.cli", "serve", "--port=0", f"--data={directory / 'data'}"]
    with (
        (directory / "log").open("w") as log,
        subprocess.Popen(  # noqa: S603 -- our own module
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | settings, cwd=ROOT
        ) as process,
    ):
        try:
            yield process.stdout.readline().removeprefix("Ready: ").strip(), process.pid
        finally:
            process.terminate()
            process.wait(30)


def raw_client(endpoint: str) -> Any:
    """Return boto3 as it is."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=media_servers.ACCESS_KEY,
        aws_secret_access_key=media_servers.SECRET_KEY,
        config=Config(s3={"addressing_style": "path"}),
    )


async def upload(client: httpx.AsyncClient, base: str, content: Content) -> str:
    """Send a file as a Binary and return its id."""
    headers = {"Content-Type": "image/png", "Content-Length": str(content.size)}
    answer = await client.post(f"{base}/Binary", content=content.pieces(), headers=headers)
    answer.raise_for_status()
    return str(answer.json()["id"])


async def download(client: httpx.AsyncClient, base: str, id_: str) -> int:
    """Read a Binary and return its size."""
    size = 0
    async with client.stream("GET", f"{base}/Binary/{id_}", headers={"Accept": "*/*"}) as answer:
        async for piece in answer.aiter_raw(PIECE):
            size += len(piece)
    return size


async def compare(base: str, endpoint: str, megabytes: int, rounds: int) -> None:
    """Print throughput of both, in turns."""
    raw = raw_client(endpoint)
    best: dict[str, float] = {}

    def note(name: str, began: float) -> None:
        best[name] = max(best.get(name, 0.0), megabytes / (time.perf_counter() - began))

    async with httpx.AsyncClient(timeout=600) as client:
        await upload(client, base, Content(1))
        for number in range(rounds):
            key, content = f"raw-{megabytes}-{number}", Content(megabytes)
            began = time.perf_counter()
            await asyncio.to_thread(raw.upload_fileobj, content, media_servers.BUCKET, key)
            note("boto3 up", began)
            began = time.perf_counter()
            id_ = await upload(client, base, Content(megabytes))
            note("ours up", began)
            with tempfile.TemporaryFile() as file:
                began = time.perf_counter()
                await asyncio.to_thread(raw.download_fileobj, media_servers.BUCKET, key, file)
                note("boto3 down", began)
            began = time.perf_counter()
            if await download(client, base, id_) != megabytes * MB:
                raise RuntimeError("the download is not as long as the upload")
            note("ours down", began)
    for way in ("up", "down"):
        ours, theirs = best[f"ours {way}"], best[f"boto3 {way}"]
        print(f"{megabytes:5} MB {way:5} ours {ours:7.1f} MB/s   boto3 {theirs:7.1f} MB/s   {ours / theirs:6.0%}")


async def memory(base: str, pid: int, sizes: list[int], store: str) -> None:
    """Print the memory of the server over the size of what passes."""
    async with httpx.AsyncClient(timeout=3600) as client:
        await upload(client, base, Content(1))
        for megabytes in sizes:
            peak = Peak(pid)
            watching = asyncio.create_task(peak.watch())
            began = time.perf_counter()
            id_ = await upload(client, base, Content(megabytes))
            up = time.perf_counter() - began
            began = time.perf_counter()
            await download(client, base, id_)
            down = time.perf_counter() - began
            watching.cancel()
            speed = f"up {megabytes / up:6.1f} MB/s   down {megabytes / down:6.1f} MB/s"
            print(f"{store:7} {megabytes:5} MB   server {peak.own:6.0f} MB at most   {speed}")


async def presign(base: str, count: int = 300) -> None:
    """Print how long it takes to make a signed URL, the request included."""
    async with httpx.AsyncClient(timeout=60) as client:
        id_ = await upload(client, base, Content(1))
        times = []
        for _ in range(count):
            began = time.perf_counter()
            (await client.get(f"{base}/Binary/{id_}/$presign")).raise_for_status()
            times.append((time.perf_counter() - began) * 1000)
    times.sort()
    print(f"$presign: p50 {times[count // 2]:.2f} ms, p95 {times[count * 95 // 100]:.2f} ms, over HTTP")


async def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=256)
    parser.add_argument("--large", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with s3() as endpoint, tempfile.TemporaryDirectory() as directory, server(Path(directory), endpoint) as (base, pid):
        await compare(base, endpoint, 8, asked.rounds * 3)
        await compare(base, endpoint, asked.mb, asked.rounds)
        await memory(base, pid, [16, 128, asked.large], "S3")
        await presign(base)
    with tempfile.TemporaryDirectory() as directory, server(Path(directory), "") as (base, pid):
        await memory(base, pid, [16, 128, asked.large // 4], "GridFS")
        await presign(base)


if __name__ == "__main__":
    asyncio.run(main())
