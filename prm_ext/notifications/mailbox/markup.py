"""HTML of emails as text, for those that have no other: words and lines, without what they quote."""

from typing import Any, Final

from lxml import etree

MOST: Final = 1_000_000
_DROPPED: Final = frozenset({"script", "style", "head", "title", "template", "blockquote"})
"""`blockquote`: what is answered, as mail programs mark it."""
_BLOCKS: Final = frozenset({"p", "div", "br", "li", "tr", "table", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "pre"})

_EMPTY: Final = frozenset({"br", "hr"})


class _Text:
    """Hears what the parser finds, in the order of the document."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._dropping = 0

    def start(self, tag: str, attributes: Any) -> None:
        del attributes
        if tag in _DROPPED:
            self._dropping += 1
        elif tag in _BLOCKS:
            self.parts.append("\n")

    def end(self, tag: str) -> None:
        if tag in _DROPPED:
            self._dropping -= 1
        elif tag in _BLOCKS - _EMPTY:
            self.parts.append("\n")

    def data(self, data: str) -> None:
        if not self._dropping:
            self.parts.append(data)

    def close(self) -> str:
        return "".join(self.parts)


def text_of(html: str) -> str:
    """Return the text of an email in HTML."""
    # Not the parser of the standard library, which takes minutes for some of what fits into an email.
    target: Any = _Text()
    parser = etree.HTMLParser(target=target, encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
    try:
        parser.feed(html[:MOST].encode("utf-8", "replace"))
        text = str(parser.close())
    except (etree.LxmlError, AssertionError):
        return ""
    found: list[str] = []
    for line in (" ".join(line.split()) for line in text.splitlines()):
        if line or (found and found[-1]):
            found.append(line)
    return "\n".join(found).strip()
