"""Small files of each kind, made when they are asked for."""

import io
import struct
import wave
import zipfile

from PIL import Image

GPS = 0x8825


def image(kind: str = "PNG", size: tuple[int, int] = (64, 48), color: str = "red", **options: object) -> bytes:
    """Return a picture."""
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, kind, **options)
    return out.getvalue()


def located_jpeg() -> bytes:
    """Return a JPEG that says where and by what it was taken."""
    out = io.BytesIO()
    picture = Image.effect_noise((64, 48), 40).convert("RGB")
    exif = picture.getexif()
    exif[GPS] = {1: "N", 2: (52.0, 31.0, 12.0)}
    exif[0x010F] = "Camera"
    picture.save(out, "JPEG", exif=exif)
    return out.getvalue()


def sound(seconds: float = 2.0) -> bytes:
    """Return a WAV file."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\x00\x01" * int(8000 * seconds))
    return out.getvalue()


def encoded(format_: str, codec: str, seconds: float = 1.5, *, video: bool = False) -> bytes:
    """Return a recording in a container, made by FFmpeg."""
    import av  # noqa: PLC0415
    import numpy  # noqa: PLC0415, ICN001

    out = io.BytesIO()
    with av.open(out, "w", format=format_) as container:
        if video:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(int(10 * seconds)):
                frame = av.VideoFrame.from_ndarray(numpy.full((48, 64, 3), number % 255, numpy.uint8), format="rgb24")
                container.mux(stream.encode(frame))
        else:
            stream = container.add_stream(codec, rate=48000, layout="mono")
            samples = int(48000 * seconds)
            frame = av.AudioFrame.from_ndarray(numpy.zeros((1, samples), numpy.int16), format="s16", layout="mono")
            frame.sample_rate = 48000
            resampler = av.AudioResampler(stream.format, "mono", 48000, frame_size=stream.frame_size or 960)
            for part in resampler.resample(frame):
                container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return out.getvalue()


def pdf(pages: int = 3, action: str = "") -> bytes:
    """Return a PDF; `action` is put into its catalog."""
    kids = " ".join(f"{number} 0 R" for number in range(3, 3 + pages))
    objects = [f"<</Type/Catalog/Pages 2 0 R{action}>>", f"<</Type/Pages/Kids[{kids}]/Count {pages}>>"]
    objects += ["<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]>>"] * pages
    out, places = io.BytesIO(), []
    out.write(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    for number, text in enumerate(objects, 1):
        places.append(out.tell())
        out.write(f"{number} 0 obj\n{text}\nendobj\n".encode())
    start = out.tell()
    out.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    out.write(b"".join(f"{place:010} 00000 n \n".encode() for place in places))
    out.write(f"trailer\n<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n".encode())
    return out.getvalue()


def docx(**files: str) -> bytes:
    """Return a Word document, with further files in it."""
    types = '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
    return archive(
        {"[Content_Types].xml": types, "_rels/.rels": "<Relationships/>", "word/document.xml": "<w:document/>" * 50} | files
    )


def archive(files: dict[str, str | bytes]) -> bytes:
    """Return a ZIP archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
    return out.getvalue()


def dicom() -> bytes:
    """Return the beginning of a DICOM file."""
    return bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00\xc0\x00\x00\x00" + bytes(64)


def bomb() -> bytes:
    """Return a PNG of few bytes and very many pixels."""
    import zlib  # noqa: PLC0415

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))

    header = struct.pack("!IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
