"""How many SMS a text is: 3GPP TS 23.038 (the GSM 7-bit alphabet, UCS-2) and TS 23.040, section 9.2.3.24.1 (concatenation)."""

from dataclasses import dataclass
from typing import Final, Literal

BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENDED: Final = frozenset("\f^{}\\[~]|€")
"""Of two septets each, the first of which is the escape."""
_SIZES: Final = {"GSM-7": (160, 153), "UCS-2": (70, 67)}
"""Units of a message alone, and of each of several, which begin with a header of six bytes."""

Encoding = Literal["GSM-7", "UCS-2"]


@dataclass(frozen=True, slots=True)
class Segments:
    """What a text is as SMS."""

    encoding: Encoding
    units: int
    """Septets, or 16-bit units of UCS-2."""
    count: int
    """Segments: what is sent and paid."""
    left: int
    """Units that still fit into the last segment."""


def segments(text: str) -> Segments:
    """Return the encoding and the number of segments of a text; an empty one is one segment."""
    encoding: Encoding = "GSM-7" if all(letter in BASIC or letter in EXTENDED for letter in text) else "UCS-2"
    widths = [_width(letter, encoding) for letter in text]
    units = sum(widths)
    alone, several = _SIZES[encoding]
    if units <= alone:
        return Segments(encoding, units, 1, alone - units)
    count, used = 1, 0
    for width in widths:
        # An escape and its character, or the halves of a surrogate pair, stay in one segment.
        if used + width > several:
            count, used = count + 1, 0
        used += width
    return Segments(encoding, units, count, several - used)


def _width(letter: str, encoding: Encoding) -> int:
    wide = letter in EXTENDED if encoding == "GSM-7" else ord(letter) > 0xFFFF  # noqa: PLR2004 -- beyond one unit of UTF-16
    return 2 if wide else 1
