"""A message as HTML: its text with everything escaped, paragraphs, line breaks and links.

Links are made of addresses that stand in the template, and of variables of type `url`, never of what else a value says:
a name like `http://…` stays text.
"""

import re
from collections.abc import Iterable
from html import escape
from typing import Final
from urllib.parse import quote

from prm_ext.notifications.templates.languages import is_right_to_left

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
"""Around values, until the links are found: noncharacters, which no template and no value has."""
_FOUND: Final = re.compile(
    f"{_OPEN}[^{_CLOSE}]*{_CLOSE}|(?<![A-Za-z0-9])https?://(?:[^\\s<>\"'{_OPEN}{_CLOSE}]|{_OPEN}[^\\s{_CLOSE}]*{_CLOSE})+",
    re.IGNORECASE,
)
_VALUE: Final = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")
_TRAILING: Final = ".,;:!?)\u00bb\u201d\u2019"
_PARAGRAPHS: Final = re.compile(r"\n[ \t]*\n\s*")


def marked(value: str) -> str:
    """Return a value with marks around it, for `to_html`."""
    return f"{_OPEN}{value}{_CLOSE}"


def unmarked(text: str) -> str:
    """Return a text without marks."""
    return text.replace(_OPEN, "").replace(_CLOSE, "")


def to_html(text: str, language: str, title: str = "") -> str:
    """Return a document that shows a text in which values are marked."""
    paragraphs = [_lines(part) for part in _PARAGRAPHS.split(text.strip())]
    direction = ' dir="rtl"' if is_right_to_left(language) else ""
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return (
        f'<!DOCTYPE html><html lang="{escape(language)}"{direction}><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title></head><body>{body}</body></html>'
    )


def _lines(text: str) -> str:
    return "".join(_pieces(text)).replace("\n", "<br>\n")


def _pieces(text: str) -> Iterable[str]:
    end = 0
    for match in _FOUND.finditer(text):
        yield escape(text[end : match.start()])
        end = match.end()
        if match[0].startswith(_OPEN):
            yield escape(match[0][1:-1])
            continue
        url, rest = _split(match[0])
        target = _VALUE.sub(lambda value: quote(value[1], safe=""), url)
        yield f'<a href="{escape(target)}" rel="noopener noreferrer">{escape(unmarked(url))}</a>{escape(unmarked(rest))}'
    yield escape(text[end:])


def _split(url: str) -> tuple[str, str]:
    """Return an address, and the punctuation behind it that belongs to the sentence."""
    kept = url
    while kept and kept[-1] in _TRAILING and not (kept[-1] == ")" and kept.count("(") >= kept.count(")")):
        kept = kept[:-1]
    return kept, url[len(kept) :]
