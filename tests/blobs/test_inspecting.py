"""What content is, judged by the content; and what a hostile file can do."""

import os
import time
from pathlib import Path

import pytest

from fhir_server.blobs import Blobs, RejectedError
from fhir_server.blobs.inspecting.inspector import Inspector, Sample
from fhir_server.config import Settings
from tests import media_files as files


@pytest.fixture
def blobs(settings: Settings, database) -> Blobs:
    """Binary data in MongoDB: where it is makes no difference to what it is."""
    from fhir_server.contexts import Contexts  # noqa: PLC0415
    from fhir_server.search.index import index_models  # noqa: PLC0415
    from fhir_server.store.database import Database  # noqa: PLC0415

    return Contexts(Database(database, settings, index_models), settings).blobs


TAKEN = {
    "png": (files.image, "image/png", "image/png", {"width": 64, "height": 48}),
    "jpeg as image/jpg": (lambda: files.image("JPEG"), "image/jpg", "image/jpeg", {"width": 64, "height": 48}),
    "webp of no type": (lambda: files.image("WEBP"), "", "image/webp", {"width": 64, "height": 48}),
    "tiff": (lambda: files.image("TIFF"), "image/tiff", "image/tiff", {"width": 64, "height": 48}),
    "pdf": (lambda: files.pdf(3), "application/pdf", "application/pdf", {"pages": 3}),
    "wav": (lambda: files.sound(2), "audio/wav", "audio/wav", {"duration": 2000}),
    "opus, as WhatsApp sends it": (
        lambda: files.encoded("ogg", "libopus"),
        "audio/ogg; codecs=opus",
        "audio/ogg",
        {"duration": pytest.approx(1500, abs=60)},
    ),
    "mp3": (lambda: files.encoded("mp3", "libmp3lame"), "audio/mpeg", "audio/mpeg", {"duration": pytest.approx(1500, abs=80)}),
    "m4a": (lambda: files.encoded("ipod", "aac"), "audio/mp4", "audio/mp4", {"duration": pytest.approx(1500, abs=80)}),
    "webm": (
        lambda: files.encoded("webm", "libvpx", video=True),
        "video/webm",
        "video/webm",
        {"width": 64, "height": 48, "duration": pytest.approx(1500, abs=110)},
    ),
    "mp4": (
        lambda: files.encoded("mp4", "libx264", video=True),
        "video/mp4",
        "video/mp4",
        {"width": 64, "height": 48, "duration": pytest.approx(1500, abs=110)},
    ),
    "docx": (
        files.docx,
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        {},
    ),
    "dicom": (files.dicom, "application/dicom", "application/dicom", {}),
    "text": (lambda: b"Cough and fever since Monday.\n" * 5, "text/plain", "text/plain", {}),
    "csv as text": (lambda: b"a,b,c\n" + b"1,2,3\n" * 30, "text/plain; charset=utf-8", "text/plain", {}),
    "cda": (
        lambda: b'<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"><title>Summary</title></ClinicalDocument>',
        "text/xml",
        "text/xml",
        {},
    ),
}


@pytest.mark.parametrize("name", TAKEN)
async def test_content_is_known_with_what_can_be_found_out_about_it(blobs: Blobs, tenant: str, name: str) -> None:
    make, declared, kept, facts = TAKEN[name]
    if name == "cda":
        kept = "application/hl7-cda+xml"
        declared = "application/hl7-cda+xml"
    found = await blobs.receive_bytes(tenant, make(), declared)
    assert found.blob.mime == kept
    assert found.blob.facts == facts | ({"flags": []} if name == "pdf" else {})


WINDOWS = b"MZ\x90\x00" + bytes(60) + b"\x80\x00\x00\x00" + bytes(64) + b"PE\x00\x00L\x01" + bytes(200)
CLASS = b"\xca\xfe\xba\xbe\x00\x00\x00\x34" + bytes(99)
REFUSED = {
    "a Windows program": (lambda: WINDOWS, "image/png", "security"),
    "a Linux program": (lambda: Path("/bin/true").read_bytes(), "application/octet-stream", "security"),
    "a shell script as text": (lambda: b"#!/bin/sh\nrm -rf /tmp/x\n", "text/plain", "security"),
    "PHP in a GIF": (lambda: b"GIF89a\x01\x00\x01\x00<?php system($_GET['c']); ?>" * 3, "image/gif", "security"),
    "a JAR as ZIP": (
        lambda: files.archive({"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\nMain-Class: A\n", "A.class": CLASS}),
        "application/zip",
        "security",
    ),
    "HTML as text": (lambda: b"<!doctype html><html><body onload=alert(1)>hi</body></html>", "text/plain", "security"),
    "SVG": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "image/svg+xml", "security"),
    "a PNG as PDF": (files.image, "application/pdf", "invalid"),
    "a PDF as PNG": (files.pdf, "image/png", "invalid"),
    "an archive": (lambda: files.archive({"a.txt": "x" * 1000}), "application/zip", "invalid"),
    "random bytes": (lambda: bytes(range(256)) * 10, "application/octet-stream", "invalid"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_not_taken_is_refused_with_what_it_is(blobs: Blobs, tenant: str, name: str) -> None:
    make, declared, code = REFUSED[name]
    with pytest.raises(RejectedError) as caught:
        await blobs.receive_bytes(tenant, make(), declared)
    assert (caught.value.status, caught.value.issues[0].code, caught.value.reason) == (422, code, "type")
    if code == "invalid":
        assert declared in caught.value.issues[0].diagnostics


async def test_a_mismatch_names_what_was_declared_and_what_was_found(blobs: Blobs, tenant: str) -> None:
    with pytest.raises(RejectedError) as caught:
        await blobs.receive_bytes(tenant, files.pdf(), "image/jpeg")
    assert caught.value.issues[0].diagnostics == "The content was declared as 'image/jpeg', but it is 'application/pdf'."


@pytest.mark.parametrize(
    ("action", "flags"),
    [
        ("/OpenAction<</S/JavaScript/JS(app.alert\\(1\\))>>", ["javascript"]),
        ("/OpenAction<</S/#4aavaScript/JS(app.alert\\(1\\))>>", ["javascript"]),
        ("/OpenAction<</S/Launch/F(calc.exe)>>", ["launch"]),
        ("", []),
    ],
)
async def test_a_pdf_that_does_something_is_flagged(blobs: Blobs, tenant: str, action: str, flags: list[str]) -> None:
    assert (await blobs.receive_bytes(tenant, files.pdf(1, action), "application/pdf")).blob.facts["flags"] == flags


async def test_a_picture_that_would_fill_memories_is_flagged_and_never_unpacked(blobs: Blobs, tenant: str) -> None:
    found = await blobs.receive_bytes(tenant, files.bomb(), "image/png")
    assert found.blob.facts == {"width": 30_000, "height": 30_000, "flags": ["bomb"]}
    assert await blobs.records.thumbnail(tenant, found.blob.sha256) == b""


async def test_active_content_is_refused_where_a_setting_says_so(settings, database, tenant) -> None:
    from fhir_server.contexts import Contexts  # noqa: PLC0415
    from fhir_server.search.index import index_models  # noqa: PLC0415
    from fhir_server.store.database import Database  # noqa: PLC0415

    strict = settings.model_copy(update={"media_active": "refuse"})
    blobs = Contexts(Database(database, strict, index_models), strict).blobs
    for data, mime in ((files.bomb(), "image/png"), (files.pdf(1, "/OpenAction<</S/Launch/F(x)>>"), "application/pdf")):
        with pytest.raises(RejectedError) as caught:
            await blobs.receive_bytes(tenant, data, mime)
        assert caught.value.issues[0].code == "security"


async def test_pictures_and_pdfs_have_a_small_picture(blobs: Blobs, tenant: str) -> None:
    for data, mime in ((files.image(size=(2000, 1000)), "image/png"), (files.pdf(2), "application/pdf")):
        found = await blobs.receive_bytes(tenant, data, mime)
        thumbnail = await blobs.records.thumbnail(tenant, found.blob.sha256)
        assert thumbnail.startswith(b"\xff\xd8\xff")
        assert len(thumbnail) < 20_000


async def test_a_file_that_takes_too_long_costs_its_limit_and_nothing_else(settings: Settings) -> None:
    slow = settings.model_copy(update={"inspect_seconds": 1})
    sample = Sample()
    # Packets without end: what states no duration is run through.
    sample.add(files.encoded("webm", "libvpx", 1.0, video=True))
    began = time.monotonic()
    found = await Inspector(slow).look(sample)
    sample.close()
    assert found.seen.magic == "video/webm"
    assert time.monotonic() - began < 30


async def test_a_large_file_is_sampled_at_its_beginning_and_its_end() -> None:
    from fhir_server.blobs.inspecting.inspector import KEPT_HEAD, KEPT_TAIL  # noqa: PLC0415

    sample = Sample()
    block = os.urandom(2**20)
    count = (KEPT_HEAD + KEPT_TAIL) // 2**20 + 20
    for number in range(count):
        sample.add(block[:-1] + bytes([number % 256]))
    descriptor = sample.descriptor()
    assert not sample.whole
    assert os.fstat(descriptor).st_size == count * 2**20
    assert os.pread(descriptor, 2**20, 0) == block[:-1] + b"\x00"
    assert os.pread(descriptor, 2**20, (count - 1) * 2**20) == block[:-1] + bytes([(count - 1) % 256])
    assert os.pread(descriptor, 2**20, KEPT_HEAD + 5 * 2**20) == bytes(2**20)
    sample.close()
