"""What content is taken, judged by the content and not by its name.

Two programs say what bytes are: libmagic looks for known signatures, magika has learned how types look. What either takes for
a program or a script is refused, and so is what they take for two different things: files that are two things at once are made
to deceive.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fhir_server.blobs.media_types import EXTENSIONS, KIND_OF, SYNONYMS
from fhir_server.fhir.outcome import FhirError, Issue, unprocessable

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
_SUFFIXES: Final = {"+xml": "text/xml", "+json": "application/json"}
"""How types end that are written in another one: https://www.rfc-editor.org/rfc/rfc6838#section-4.2.8."""
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


def unwanted_kind(seen: Seen, declared: str, kinds: str) -> str:
    """Return the kind of content that is what was declared, but of a kind that is not taken; "" of any other."""
    found, stated = actual(seen), canonical(declared)
    kind = KIND_OF.get(found, "")
    return kind if kind not in _names(kinds) and (stated in VAGUE or _same(stated, found)) else ""


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
    if any(stated.endswith(suffix) and found == of for suffix, of in _SUFFIXES.items()):
        return True
    if stated.startswith("text/") and stated not in KIND_OF and stated not in _ACTIVE:
        return KIND_OF.get(found) in ("text", "data")
    return stated == found or any(stated in family and found in family for family in _FAMILIES)


@lru_cache(maxsize=64)
def _names(kinds: str) -> frozenset[str]:
    return frozenset(name.strip() for name in kinds.split(",") if name.strip())


@lru_cache(maxsize=64)
def _limits(text: str) -> dict[str, int]:
    return {str(kind): int(most) for kind, most in json.loads(text).items()} if text else {}
