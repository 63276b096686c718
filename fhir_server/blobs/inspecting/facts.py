"""What can be found out about a file. This runs in a process that may be killed at any time, on whatever is sent."""

import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, Final

Facts = dict[str, Any]
THUMBNAIL: Final = 256
"""Pixels of the longer side."""
MOST_PIXELS: Final = 100_000_000
BOMB_RATIO: Final = 1000
"""Bytes of the picture for each byte of its file, above which it is made to fill memories."""
BOMB_PIXELS: Final = 25_000_000
_PDF_ACTIONS: Final = {
    "javascript": re.compile(rb"/(?:JavaScript|JS)(?=[\s(/<\[])"),
    "launch": re.compile(rb"/(?:Launch|ImportData|SubmitForm|GoToE|RichMedia)(?=[\s/>])"),
}
_NAME_ESCAPE: Final = re.compile(rb"#([0-9A-Fa-f]{2})")
_STREAM: Final = re.compile(rb"/ObjStm.{0,400}?stream\r?\n", re.DOTALL)
_SCRIPT: Final = re.compile(rb"<\s*script|\son[a-z]+\s*=|javascript\s*:|<\s*foreignObject|<!ENTITY|data:text/html", re.IGNORECASE)
MOST_INFLATED: Final = 32 * 2**20
_CDA: Final = re.compile(rb"<(?:\w+:)?ClinicalDocument[\s>]")


def facts_of(file: BinaryIO, mime: str, size: int) -> Facts:
    """Return what can be found out about a file of this type; what can not is left out."""
    for prefix, look in _LOOKS.items():
        if mime.startswith(prefix):
            file.seek(0)
            return look(file, size)
    return {}


def flags_of_text(head: bytes, magic: str) -> list[str]:
    """Return what stands out in the beginning of a text."""
    found = []
    if magic in ("image/svg+xml", "text/html", "text/xml", "application/xml") and _SCRIPT.search(head):
        found.append("script")
    if _CDA.search(head[:65536]):
        found.append("cda")
    return found


def _image(file: BinaryIO, size: int) -> Facts:
    from PIL import Image  # noqa: PLC0415 -- only where it is needed

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(file) as image:
        found: Facts = {"width": image.width, "height": image.height}
        pixels = image.width * image.height * getattr(image, "n_frames", 1)
        if pixels > MOST_PIXELS or (pixels > BOMB_PIXELS and pixels * 3 > size * BOMB_RATIO):
            return found | {"flags": ["bomb"]}
        image.draft("RGB", (THUMBNAIL * 2, THUMBNAIL * 2))
        return found | {"thumbnail": _thumbnail(image)}


def _thumbnail(image: Any) -> bytes:
    from PIL import ImageOps  # noqa: PLC0415 -- only where it is needed

    small = ImageOps.exif_transpose(image)
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    if small.mode not in ("RGB", "L"):
        small = small.convert("RGBA")
        from PIL import Image  # noqa: PLC0415 -- only where it is needed

        ground = Image.new("RGBA", small.size, "white")
        ground.alpha_composite(small)
        small = ground.convert("RGB")
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    return out.getvalue()


def _pdf(file: BinaryIO, size: int) -> Facts:
    import pypdfium2  # noqa: PLC0415 -- only where it is needed

    data = file.read()
    found: Facts = {"flags": sorted(_pdf_flags(data))}
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError:
        return found | {"flags": [*found["flags"], "unreadable"]}
    found["pages"] = len(document)
    if document.raw and len(document):
        page = document[0]
        width, height = page.get_size()
        scale = min(2.0, THUMBNAIL / max(width, height, 1))
        found["thumbnail"] = _thumbnail(page.render(scale=scale).to_pil())
    del size
    return found


def _pdf_flags(data: bytes) -> set[str]:
    found: set[str] = set()
    for text in _pdf_texts(data):
        plain = _NAME_ESCAPE.sub(lambda escape: bytes([int(escape[1], 16)]), text) if b"#" in text else text
        found |= {flag for flag, pattern in _PDF_ACTIONS.items() if pattern.search(plain)}
    return found


def _pdf_texts(data: bytes) -> Iterator[bytes]:
    """Yield what names of a PDF stand in: the file, and its compressed streams of objects."""
    yield data
    left = MOST_INFLATED
    for place in _STREAM.finditer(data):
        inflater = zlib.decompressobj()
        try:
            text = inflater.decompress(data[place.end() :], left)
        except zlib.error:
            continue
        left -= len(text)
        yield text
        if left <= 0:
            return


def _sound(file: BinaryIO, size: int) -> Facts:
    import av  # noqa: PLC0415 -- only where it is needed

    del size
    with av.open(file, "r", metadata_errors="ignore") as container:
        found: Facts = {}
        video = container.streams.video[0] if container.streams.video else None
        if video is not None and video.width and not video.disposition & av.stream.Disposition.attached_pic:
            found |= {"width": video.width, "height": video.height}
        seconds = container.duration / av.time_base if container.duration and container.duration > 0 else _run_through(container)
        if seconds:
            found["duration"] = round(seconds * 1000)
        return found


def _run_through(container: Any) -> float:
    """Return the duration of what does not state it, from the times of its packets."""
    first, last = None, 0.0
    for packet in container.demux():
        if packet.pts is None or packet.time_base is None:
            continue
        begin = float(packet.pts * packet.time_base)
        first = begin if first is None else min(first, begin)
        last = max(last, begin + float((packet.duration or 0) * packet.time_base))
    return last - first if first is not None else 0.0


_LOOKS: Final[Mapping[str, Callable[[BinaryIO, int], Facts]]] = {
    "image/": _image,
    "application/pdf": _pdf,
    "audio/": _sound,
    "video/": _sound,
}


def without_location(file: BinaryIO, mime: str) -> bytes | None:
    """Return a picture without the place where it was taken; None where it does not say that.

    The picture itself is not encoded again: only JPEG, whose metadata lies apart, and formats that lose nothing.
    """
    from PIL import Image  # noqa: PLC0415 -- only where it is needed

    gps = 0x8825
    file.seek(0)
    with Image.open(file) as image:
        exif = image.getexif()
        if gps not in exif:
            return None
        del exif[gps]
        out = io.BytesIO()
        if mime == "image/jpeg":
            return _jpeg_with_exif(file, exif.tobytes())
        image.save(out, image.format, exif=exif.tobytes(), **({"lossless": True} if mime == "image/webp" else {}))
        return out.getvalue()


def _jpeg_with_exif(file: BinaryIO, exif: bytes) -> bytes:
    """Replace the segments of metadata (APP1: Exif and XMP) of a JPEG, leaving the picture as it is."""
    file.seek(0)
    data = file.read()
    out, at = [data[:2]], 2
    body = exif if exif.startswith(b"Exif\0\0") else b"Exif\0\0" + exif
    out.append(b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body)
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:  # noqa: PLR2004 -- markers of JPEG
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] != 0xE1:  # noqa: PLR2004
            out.append(data[at : at + 2 + length])
        at += 2 + length
    out.append(data[at:])
    return b"".join(out)
