"""Writes docs/settings.md from `Settings` and those of extensions: python tools/write_settings.py [FILE]."""

import inspect
import re
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from fhir_server.config import Settings
from prm_ext.notifications.settings import NotificationSettings

INTRODUCTION = """# Settings

Each setting is an environment variable, or a line of the file `.env` in the directory that the server is started in.
The environment goes before `.env`, options of the command line before both. `fhir-server doctor` looks at them.

This page is written by `python tools/write_settings.py` from `fhir_server/config.py` and the settings of extensions.
"""
NOTIFICATIONS = """
## Notifications

Of the extension `prm_ext.notifications`, see [notifications](notifications/README.md). They may differ by tenant
(`PRM_NOTIFY_TENANTS`).
"""
_SECTION = re.compile(r"^    # (?P<title>.+)$|^    (?P<field>[a-z0-9_]+): ")


def sections(kind: type[BaseSettings]) -> dict[str, list[str]]:
    """Return the names of the fields under the comments that stand above them in the class."""
    found: dict[str, list[str]] = {}
    title = ""
    for line in inspect.getsource(kind).splitlines():
        match = _SECTION.match(line)
        if match and match["title"]:
            title = match["title"]
        elif match and match["field"] in kind.model_fields:
            found.setdefault(title, []).append(match["field"])
    return found


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION]
    for title, names in sections(Settings).items():
        parts.append(f"\n## {title}\n{_table(Settings, names)}")
    parts.append(NOTIFICATIONS)
    for title, names in sections(NotificationSettings).items():
        heading = f"\n### {title}\n" if title else ""
        parts.append(f"{heading}{_table(NotificationSettings, names)}")
    return "".join(parts)


def _table(kind: type[BaseSettings], names: list[str]) -> str:
    prefix = str(kind.model_config.get("env_prefix", ""))
    rows = [_row(f"{prefix}{name.upper()}", kind.model_fields[name]) for name in names]
    return "\n| Setting | Default | Values | Meaning |\n|---|---|---|---|\n" + "".join(rows)


def _row(name: str, field: FieldInfo) -> str:
    default = field.get_default()
    shown = "" if default in ("", None) else f"`{str(default).lower() if isinstance(default, bool) else default}`"
    values = _values(field).replace("|", "\\|")
    return f"| `{name}` | {shown} | {values} | {field.description} |\n"


def _values(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    if field.annotation is bool:
        return "`true`, `false`"
    bounds: dict[str, Any] = {}
    for item in field.metadata:
        bounds |= {key: getattr(item, key) for key in ("gt", "ge", "le", "pattern") if getattr(item, key, None) is not None}
    if "pattern" in bounds:
        return f"`{bounds['pattern']}`"
    if "ge" in bounds and "le" in bounds:
        return f"{bounds['ge']} to {bounds['le']}"
    if "ge" in bounds:
        return f"{bounds['ge']} or more"
    if "gt" in bounds:
        return f"more than {bounds['gt']:g}" + (f", up to {bounds['le']:g}" if "le" in bounds else "")
    return "path" if field.annotation is Path else "text"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "docs" / "settings.md"
    target.write_text(page(), encoding="utf-8")
    print(f"Wrote {target}.")
