"""What somebody has written in an answer, without what the answer quotes and what their mail program adds.

There is no standard for it but `>` before what is quoted (https://www.rfc-editor.org/rfc/rfc3676#section-4.5) and `-- ` before
a signature (section 4.3); the rest is what mail programs do, in the languages that this server answers in.
"""

import re
from pathlib import Path
from typing import Final

import msgspec

_QUOTED: Final = re.compile(r"\s*>")
_SIGNATURE: Final = re.compile(r"--\s*")
_RULE: Final = re.compile(r"[_=\u2500-\u2503*-]{10,}|-{2,}\s*[^-]{3,60}\s*-{2,}")
"""A line before what is quoted, such as `-----Original Message-----`."""
_ATTRIBUTION: Final = re.compile(r".*(?:[\w.+-]+@[\w-]+\.[\w.-]+|\d{1,2}:\d{2}).*[:\uff1a]\s*")
"""A line such as `On Tue, 24 Nov 2026 at 10:12, Clinic <no-reply@clinic.example> wrote:`."""
_WORDS: Final = msgspec.json.decode((Path(__file__).parent / "words.json").read_bytes(), type=dict[str, list[str]])
_HEADER: Final = re.compile(rf"\*?(?:{'|'.join(_WORDS['from'])})\*?\s*[:\uff1a]\s*\S.*@.*", re.IGNORECASE)
"""The first line of the headers that Outlook quotes."""
_DEVICE: Final = re.compile(rf"(?:{'|'.join(_WORDS['device'])}).{{0,80}}", re.IGNORECASE)
"""What telephones add."""
_LONGEST: Final = 400
"""Letters of a line that is none of somebody's own; the patterns are asked about no longer one."""
_WRAPPED: Final = 3
"""Lines that an attribution may be broken into."""


def reply_of(text: str) -> str:
    """Return what was written; where that is nothing, as in an answer below what it quotes, all that is not quoted."""
    lines = text.replace("\r\n", "\n").split("\n")
    found = _trimmed(lines[: _end(lines)])
    return found or _trimmed([line for line in lines if not _QUOTED.match(line) and not _is_attribution([line], 0)])


def _end(lines: list[str]) -> int:
    """Return at which line what somebody has written ends."""
    for place, line in enumerate(lines):
        bare = line.strip()
        if len(bare) > _LONGEST:
            continue
        if _QUOTED.match(line) or _RULE.fullmatch(bare) or _HEADER.fullmatch(bare) or _SIGNATURE.fullmatch(line):
            return place
        if _DEVICE.fullmatch(bare) or _is_attribution(lines, place):
            return place
    return len(lines)


def _is_attribution(lines: list[str], place: int) -> bool:
    """Tell whether a line, or up to three as one, says who has written what follows."""
    for count in range(1, _WRAPPED + 1):
        some = [line.strip() for line in lines[place : place + count]]
        if not all(some) or sum(map(len, some)) > _LONGEST:
            return False
        if _ATTRIBUTION.fullmatch(" ".join(some)):
            # Something has to follow, and to be quoted, unless it is plain that the line is about an email.
            rest = next((line for line in lines[place + count :] if line.strip()), "")
            return bool(_QUOTED.match(rest)) or "@" in " ".join(some)
    return False


def _trimmed(lines: list[str]) -> str:
    return "\n".join(line.rstrip() for line in lines).strip()
