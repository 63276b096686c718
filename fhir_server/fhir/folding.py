"""Texts as they are compared: without case and accents.

https://hl7.org/fhir/R4/search.html#string
"""

import unicodedata

_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i", "ħ": "h"})
_CONTROLS = dict.fromkeys((*range(32), 127), " ")
_KEPT_MARKS = (0, 7, 8, 9)
"""Combining classes without which a letter of an Indic script or a kana would be another one."""


def fold(text: str) -> str:
    """Return the text without case, accents and superfluous white space."""
    if text.isascii():
        lower = text.lower() if text.isprintable() else text.lower().translate(_CONTROLS)
        return " ".join(lower.split()) if "  " in lower or lower[:1] == " " or lower[-1:] == " " else lower
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    letters = "".join(char for char in decomposed if unicodedata.combining(char) in _KEPT_MARKS).translate(_LETTERS)
    printable = "".join(char if char.isprintable() else " " for char in letters)
    return unicodedata.normalize("NFC", " ".join(printable.split()))
