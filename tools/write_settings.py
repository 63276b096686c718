"""Writes docs/settings.md from `Settings`: python tools/write_settings.py [FILE]."""

import inspect
import re
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from fhir_server.config import Settings

INTRODUCTION = """# Settings

Each setting is an environment variable, or a line of the file `.env` in the directory that the server is started in.
The environment goes before `.env`, options of the command line before both. `fhir-server doctor` looks at them.

This page is written by `python tools/write_settings.py` from `fhir_server/config.py`.
"""
_SECTION = re.compile(r"^    # (?P<title>.+)$|^    (?P<field>[a-z0-9_]+): ")


def sections() -> dict[str, list[str]]:
    """Return the names of the fields under the comments that stand above them in the class."""
    found: dict[str, list[str]] = {}
    title = ""
    for line in inspect.getsource(Settings).splitlines():
        match = _SECTION.match(line)
        if match and match["title"]:
            title = match["title"]
        elif match and match["field"] in Settings.model_fields:
            found.setdefault(title, []).append(match["field"])
    return found


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION]
    for title, names in sections().items():
        rows = [_row(name, Settings.model_fields[name]) for name in names]
        parts.append(f"\n## {title}\n\n| Setting | Default | Values | Meaning |\n|---|---|---|---|\n" + "".join(rows))
    return "".join(parts)


def _row(name: str, field: FieldInfo) -> str:
    default = field.get_default()
    shown = "" if default in ("", None) else f"`{str(default).lower() if isinstance(default, bool) else default}`"
    return f"| `FHIR_{name.upper()}` | {shown} | {_values(field)} | {field.description} |\n"


def _values(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    if field.annotation is bool:
        return "`true`, `false`"
    bounds: dict[str, Any] = {}
    for item in field.metadata:
        bounds |= {key: getattr(item, key) for key in ("ge", "le", "pattern") if getattr(item, key, None) is not None}
    if "pattern" in bounds:
        return f"`{bounds['pattern']}`"
    if "ge" in bounds and "le" in bounds:
        return f"{bounds['ge']} to {bounds['le']}"
    if "ge" in bounds:
        return f"{bounds['ge']} or more"
    return "path" if field.annotation is Path else "text"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "docs" / "settings.md"
    target.write_text(page(), encoding="utf-8")
    print(f"Wrote {target}.")
