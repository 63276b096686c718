"""Lengths of time as settings say them: `24h`, `90m`, `2d`, `1h30m`."""

import re
from datetime import timedelta
from typing import Final

_PARTS: Final = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m(?:in)?)?")


def duration(text: str) -> timedelta:
    """Return a length of time.

    Raises:
        ValueError: it is none.
    """
    found = _PARTS.fullmatch(text)
    if found is None or not text:
        raise ValueError(f"{text!r} is no length of time, such as 24h, 90m, 2d or 1h30m")
    days, hours, minutes = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes)
