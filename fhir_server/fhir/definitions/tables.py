"""Reading the committed tables."""

from pathlib import Path
from typing import Any

import msgspec

_FOLDER = Path(__file__).parent


def read_table(name: str) -> Any:
    """Return the decoded content of one table; the caller keeps it."""
    return msgspec.json.decode((_FOLDER / f"{name}.json").read_bytes())
