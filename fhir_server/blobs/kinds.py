"""What content is taken, judged by the content and not by its name.

Two programs say what bytes are: libmagic looks for known signatures, magika has learned how types look. What either takes for
a program or a script is refused, and so is what they take for two different things: files that are two things at once are made
to deceive.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fhir_server.fhir.outcome import FhirError, Issue, unprocessable

_OPENXML: Final = "application/vnd.openxmlformats-officedocument."
_OPENDOCUMENT: Final = "application/vnd.oasis.opendocument."

EXTENSIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "image": {
        "image/jpeg": "jpg",
        "image/png": "png",
        "image/gif": "gif",
        "image/webp": "webp",
        "image/tiff": "tiff",
        "image/bmp": "bmp",
        "image/jp2": "jp2",
        "image/heic": "heic",
        "image/heif": "heif",
        "image/avif": "avif",
    },
    "pdf": {"application/pdf": "pdf"},
    "audio": {
        "audio/mpeg": "mp3",
        "audio/ogg": "ogg",
        "audio/wav": "wav",
        "audio/flac": "flac",
        "audio/mp4": "m4a",
        "audio/aac": "aac",
        "audio/amr": "amr",
        "audio/webm": "weba",
        "audio/midi": "mid",
        "audio/aiff": "aiff",
    },
    "video": {
        "video/mp4": "mp4",
        "video/webm": "webm",
        "video/quicktime": "mov",
        "video/3gpp": "3gp",
        "video/x-matroska": "mkv",
        "video/x-msvideo": "avi",
        "video/mpeg": "mpg",
        "video/ogg": "ogv",
        "video/x-flv": "flv",
    },
    "office": {
        "application/msword": "doc",
        "application/vnd.ms-excel": "xls",
        "application/vnd.ms-powerpoint": "ppt",
        _OPENXML + "wordprocessingml.document": "docx",
        _OPENXML + "spreadsheetml.sheet": "xlsx",
        _OPENXML + "presentationml.presentation": "pptx",
        _OPENDOCUMENT + "text": "odt",
        _OPENDOCUMENT + "spreadsheet": "ods",
        _OPENDOCUMENT + "presentation": "odp",
        "text/rtf": "rtf",
    },
    "dicom": {"application/dicom": "dcm"},
    "text": {"text/plain": "txt", "text/csv": "csv", "text/markdown": "md", "text/calendar": "ics", "text/vcard": "vcf"},
    "cda": {"application/hl7-cda+xml": "xml"},
    "data": {"application/json": "json", "text/xml": "xml", "application/x-yaml": "yaml"},
    "archive": {
        "application/zip": "zip",
        "application/gzip": "gz",
        "application/x-tar": "tar",
        "application/x-7z-compressed": "7z",
        "application/x-rar": "rar",
        "application/x-bzip2": "bz2",
        "application/x-xz": "xz",
        "application/zstd": "zst",
    },
    "html": {"text/html": "html"},
    "svg": {"image/svg+xml": "svg"},
}
"""The types of each kind, with the ends of their names."""

KIND_OF: Final[Mapping[str, str]] = {mime: kind for kind, types in EXTENSIONS.items() for mime in types}

SYNONYMS: Final[Mapping[str, str]] = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "image/jpeg2000": "image/jp2",
    "application/x-pdf": "application/pdf",
    "audio/mp3": "audio/mpeg",
    "audio/x-mp3": "audio/mpeg",
    "audio/mpeg3": "audio/mpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "audio/m4a": "audio/mp4",
    "audio/x-hx-aac-adts": "audio/aac",
    "audio/x-aac": "audio/aac",
    "audio/aacp": "audio/aac",
    "audio/opus": "audio/ogg",
    "application/ogg": "audio/ogg",
    "audio/vorbis": "audio/ogg",
    "audio/3gpp": "audio/amr",
    "audio/x-aiff": "audio/aiff",
    "audio/x-midi": "audio/midi",
    "video/x-m4v": "video/mp4",
    "video/avi": "video/x-msvideo",
    "video/matroska": "video/x-matroska",
    "application/rtf": "text/rtf",
    "application/x-zip-compressed": "application/zip",
    "application/x-gzip": "application/gzip",
    "application/x-bzip": "application/x-bzip2",
    "application/x-rar-compressed": "application/x-rar",
    "application/vnd.rar": "application/x-rar",
    "application/xml": "text/xml",
    "application/hl7-v3+xml": "application/hl7-cda+xml",
    "application/cda+xml": "application/hl7-cda+xml",
    "application/hl7-sda+xml": "application/hl7-cda+xml",
    "application/yaml": "application/x-yaml",
    "text/yaml": "application/x-yaml",
    "text/json": "application/json",
    "application/fhir+json": "application/json",
    "application/fhir+xml": "text/xml",
    "application/x-ndjson": "application/json",
    "application/csv": "text/csv",
    "text/tsv": "text/csv",
    "text/x-vcard": "text/vcard",
    "text/x-markdown": "text/markdown",
}
_FAMILIES: Final = (
    {"audio/mp4", "video/mp4", "video/quicktime", "video/3gpp", "audio/amr"},
    {"audio/webm", "video/webm", "video/x-matroska"},
    {"audio/ogg", "video/ogg"},
    {"image/heic", "image/heif", "image/avif"},
    {"audio/mpeg", "video/mpeg", "audio/aac"},
    set(EXTENSIONS["text"]),
    {"application/hl7-cda+xml", "text/xml"},
    {"application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"},
)
"""Types that share a container, or can not be told apart by content: which of them it is, whoever sends it says."""
VAGUE: Final = frozenset(
    {"", "application/octet-stream", "binary/octet-stream", "application/binary", "application/x-ole-storage",
     "application/cdfv2", "application/unknown", "inode/x-empty"}
)  # fmt: skip
"""What says nothing of the content."""
_PROGRAMS: Final = frozenset(
    {
        "application/x-dosexec",
        "application/vnd.microsoft.portable-executable",
        "application/x-msdownload",
        "application/x-executable",
        "application/x-executable-elf",
        "application/x-pie-executable",
        "application/x-sharedlib",
        "application/x-object",
        "application/x-mach-binary",
        "application/x-mach-o",
        "application/java-archive",
        "application/x-java-applet",
        "application/x-shockwave-flash",
        "application/x-ms-shortcut",
        "application/x-mswinurl",
        "application/x-msi",
        "application/hta",
        "application/wasm",
        "application/javascript",
        "text/javascript",
        "application/x-powershell",
        "application/vnd.android.package-archive",
    }
)
_SCRIPTS: Final = frozenset(
    {"text/x-shellscript", "text/x-php", "text/x-python", "text/x-script.python", "text/x-perl", "text/x-ruby",
     "text/x-msdos-batch", "application/x-ruby", "text/vbscript", "text/x-lua", "text/x-tcl", "text/x-awk"}
)  # fmt: skip
_SCRIPT_LABELS: Final = frozenset(
    {"javascript", "php", "powershell", "shell", "python", "perl", "ruby", "batch", "vba", "vbs", "asp", "jsp", "html",
     "typescript", "autohotkey", "autoit", "lua", "vue", "mht", "chm", "hlp", "internetshortcut", "lnk", "jar", "xpi", "msi"}
)  # fmt: skip
_ACTIVE: Final = {"text/html": "html", "application/xhtml+xml": "html", "image/svg+xml": "svg"}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the two programs say of some bytes, and what was found in them."""

    magic: str = ""
    """The media type by libmagic."""
    magika: str = ""
    """The media type by magika."""
    label: str = ""
    """Magika's own name of it."""
    group: str = ""
    """Magika's group: executable, code, text, document, image …"""
    flags: tuple[str, ...] = ()
    """`script` (in SVG or HTML), `javascript`, `launch`, `bomb`, `cda`."""


def canonical(mime: str) -> str:
    """Return a media type without parameters, by the name that is used here."""
    bare = mime.partition(";")[0].strip().lower()
    return SYNONYMS.get(bare, bare)


def extension_of(mime: str) -> str:
    """Return how the names of files of a type end."""
    return EXTENSIONS.get(KIND_OF.get(mime, ""), {}).get(mime, "bin")


def actual(seen: Seen) -> str:
    """Return the type by content."""
    magic, magika = canonical(seen.magic), canonical(seen.magika)
    if "cda" in seen.flags:
        return "application/hl7-cda+xml"
    if magic in VAGUE or magic not in KIND_OF:
        return magika if magika in KIND_OF or magic in VAGUE else magic
    if KIND_OF.get(magika) == "office" and magic in ("application/zip", "text/plain", "application/msword"):
        return magika
    if magic == "text/plain" and magika in {**EXTENSIONS["text"], **EXTENSIONS["data"]}:
        return magika
    return magic


def judged(seen: Seen, declared: str, *, kinds: str, limits: str, size: int, active: str) -> str:
    """Return the type that content is kept under.

    Raises:
        FhirError: 422, naming what was declared and what was found, where the content is not taken; 413 where there is too much.
    """
    allowed = _names(kinds)
    found = actual(seen)
    _refuse_programs(seen, found, allowed)
    stated = canonical(declared)
    kept = found
    if stated not in VAGUE and stated != found:
        if not _same(stated, found):
            raise unprocessable(
                f"The content was declared as {declared!r}, but it is {found or 'nothing known'!r}.", code="invalid"
            )
        kept = stated if stated in KIND_OF else found
    kind = KIND_OF.get(kept, "")
    if kind not in allowed:
        raise unprocessable(
            f"Content of type {kept!r} (declared as {declared!r}) is not taken; taken are: {kinds}.", code="invalid"
        )
    limit = _limits(limits).get(kind)
    if limit is not None and size > limit:
        raise FhirError(413, (Issue("too-long", f"{size} bytes are more than {limit}, the most for content of kind {kind!r}."),))
    _refuse_active(seen, kept, active)
    return kept


def is_as_declared(kept: str, declared: str, kinds: str) -> bool:
    """Tell whether content that was judged before need not be judged again: it is what was declared, and is still taken."""
    stated = canonical(declared)
    return KIND_OF.get(kept, "") in _names(kinds) and (stated in VAGUE or _same(stated, kept))


def _refuse_programs(seen: Seen, found: str, allowed: frozenset[str]) -> None:
    magic, magika = canonical(seen.magic), canonical(seen.magika)
    for said in (magic, magika):
        if said in _PROGRAMS | _SCRIPTS:
            raise unprocessable(f"The content is a program or a script ({said}), which is not taken.", code="security")
        if said in _ACTIVE and _ACTIVE[said] not in allowed:
            raise unprocessable(f"The content is {said}, which could run as a script, and is not taken.", code="security")
    if seen.group == "executable" or (seen.label in _SCRIPT_LABELS and _ACTIVE.get(magika, "") not in allowed):
        raise unprocessable(f"The content is a program or a script ({seen.label}), which is not taken.", code="security")
    if "script" in seen.flags:
        raise unprocessable(f"The content ({found}) holds a script, and is not taken.", code="security")
    kinds = KIND_OF.get(magic), KIND_OF.get(magika)
    if all(kinds) and kinds[0] != kinds[1] and not _may_be_confused(magic, magika):
        raise unprocessable(f"The content is {magic} and {magika} at the same time, and is not taken.", code="security")


def _may_be_confused(magic: str, magika: str) -> bool:
    """Tell whether two answers of different kinds can both be right."""
    if _same(magic, magika):
        return True
    plain = {"text", "data", "cda"}
    if {KIND_OF[magic], KIND_OF[magika]} <= plain:
        return True
    # Office documents are ZIP archives; a text may look like any markup.
    return (magic == "application/zip" and KIND_OF[magika] == "office") or (magic == "text/plain" and magika == "text/rtf")


def _refuse_active(seen: Seen, kept: str, active: str) -> None:
    flags = [flag for flag in ("javascript", "launch", "bomb") if flag in seen.flags]
    if flags and active == "refuse":
        raise unprocessable(f"The content ({kept}) is not taken: {', '.join(_REASONS[flag] for flag in flags)}.", code="security")


_REASONS: Final = {
    "javascript": "it holds JavaScript",
    "launch": "it launches programs",
    "bomb": "its picture is far larger than its file",
}


def _same(stated: str, found: str) -> bool:
    return stated == found or any(stated in family and found in family for family in _FAMILIES)


@lru_cache(maxsize=64)
def _names(kinds: str) -> frozenset[str]:
    return frozenset(name.strip() for name in kinds.split(",") if name.strip())


@lru_cache(maxsize=64)
def _limits(text: str) -> dict[str, int]:
    return {str(kind): int(most) for kind, most in json.loads(text).items()} if text else {}
