"""Scanning by a real ClamAV daemon."""

import asyncio
import os
from pathlib import Path

import pytest

from fhir_server.blobs import Blobs, RejectedError
from fhir_server.blobs.clamd import Session, Verdict, ping
from fhir_server.blobs.passing import pieces
from fhir_server.blobs.receiving import Claim
from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import index_models
from fhir_server.store.database import Database
from tests.media_files import archive, docx, image
from tests.media_servers import EICAR, STREAM_MAX

VIRUS = "Eicar-Test-Signature.UNOFFICIAL"


def blobs_with(settings: Settings, database, **values) -> Blobs:
    found = settings.model_copy(update=values)
    return Contexts(Database(database, found, index_models), found).blobs


async def scanned(address: str, data: bytes, seconds: float = 20) -> Verdict:
    session = await Session(address, seconds).open()
    await session.feed(data)
    verdict = await session.verdict()
    session.close()
    return verdict


async def test_the_daemon_says_what_is_clean_and_what_is_not(clamd: str) -> None:
    assert await ping(clamd) == ""
    assert await scanned(clamd, image()) == Verdict("clean")
    assert await scanned(clamd, EICAR.encode()) == Verdict("infected", VIRUS)
    assert await scanned(clamd, archive({"a.com": EICAR})) == Verdict("infected", VIRUS)


async def test_what_is_too_large_to_be_looked_through_is_not_clean(clamd: str) -> None:
    over = await scanned(clamd, bytes(STREAM_MAX + 2**20))
    assert over.outcome in ("unscannable", "away")
    assert (await scanned(clamd, os.urandom(STREAM_MAX // 2 + 2**20))).outcome == "unscannable"


async def test_a_daemon_that_is_not_there_or_hangs_is_away(tmp_path: Path) -> None:
    assert (await scanned(str(tmp_path / "nobody"), b"x")).outcome == "away"
    assert (await scanned("127.0.0.1:1", b"x")).outcome == "away"
    assert await ping(str(tmp_path / "nobody")) == "FileNotFoundError"
    connected: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_unix_server(lambda _, writer: connected.append(writer), tmp_path / "silent")
    assert (await scanned(str(tmp_path / "silent"), bytes(2**20), seconds=0.3)).outcome == "away"
    for writer in connected:
        writer.transport.abort()
    silent.close()
    await silent.wait_closed()


async def test_infected_content_is_refused_quarantined_and_known_from_then_on(clamd, settings, database, tenant) -> None:
    blobs = blobs_with(settings, database, clamd=clamd)
    data = EICAR.encode()
    for _ in range(2):
        with pytest.raises(RejectedError) as caught:
            await blobs.receive_bytes(tenant, data, "text/plain")
        assert (caught.value.status, caught.value.reason, caught.value.detail) == (422, "virus", VIRUS)
    digest = caught.value.digests.sha256
    record = await blobs.records.document(tenant, digest)
    assert (record["state"], record["virus"], record["key"]) == ("quarantined", VIRUS, f"quarantine/{tenant}/{digest}")
    with pytest.raises(FhirError) as served:
        await blobs.served(tenant, digest)
    assert served.value.status == 410
    # Also where no scanner is configured any more.
    with pytest.raises(RejectedError):
        await blobs_with(settings, database).receive_bytes(tenant, data, "text/plain")


async def test_clean_content_is_marked_so(clamd, media_settings, database, tenant) -> None:
    blobs = blobs_with(media_settings, database, clamd=clamd)
    assert (await blobs.receive_bytes(tenant, image(), "image/png")).blob.scan == "clean"
    large = image() + os.urandom(9 * 2**20)
    assert (await blobs.receive(tenant, pieces(large), Claim("image/png"))).blob.scan == "clean"


async def test_without_the_daemon_uploads_are_refused_and_nothing_stays(settings, database, tenant, tmp_path) -> None:
    blobs = blobs_with(settings, database, clamd=str(tmp_path / "nobody"))
    with pytest.raises(FhirError) as caught:
        await blobs.receive_bytes(tenant, image(), "image/png")
    assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "30"})
    assert await blobs.records.blobs.count_documents({"t": tenant}) == 0


async def test_or_kept_unserved_until_they_are_scanned(clamd, settings, database, tenant, tmp_path) -> None:
    later = blobs_with(settings, database, clamd=str(tmp_path / "nobody"), clamd_absent="later")
    clean = (await later.receive_bytes(tenant, image(), "image/png")).blob
    infected = (await later.receive_bytes(tenant, docx(virus=EICAR), "")).blob
    for blob in (clean, infected):
        assert blob.scan == "unscanned"
        with pytest.raises(FhirError) as caught:
            await later.served(tenant, blob.sha256)
        assert caught.value.status == 503
    back = blobs_with(settings, database, clamd=clamd)
    scanned_, found = await back.scan_pending()
    assert (scanned_ >= 2, found >= 1) == (True, True)
    assert (await back.served(tenant, clean.sha256)).scan == "clean"
    with pytest.raises(FhirError) as caught:
        await back.served(tenant, infected.sha256)
    assert caught.value.status == 410


async def test_what_was_found_clean_once_needs_no_daemon_to_be_sent_again(clamd, settings, database, tenant, tmp_path) -> None:
    await blobs_with(settings, database, clamd=clamd).receive_bytes(tenant, image(), "image/png")
    away = blobs_with(settings, database, clamd=str(tmp_path / "nobody"))
    assert (await away.receive_bytes(tenant, image(), "image/png")).deduplicated
