"""What a check finds, with the path to it, which is put together only when there is something to say."""

from collections.abc import Callable
from typing import Any

from fhir_server.fhir.outcome import Issue

_QUOTED = 80
ENOUGH = 1000
"""After this many errors in one array or object the rest of it is not looked at: the time to refuse is bounded too."""


class Problem:
    """One finding. `path` holds the pieces from the finding outwards (`[1]`, `.given`, `[0]`, `.name`).

    `fragment` marks a finding that stands only if the containing resource holds no such contained resource: the id,
    and the types that it may have (() is any).
    """

    __slots__ = ("code", "fragment", "path", "text")

    def __init__(self, code: str, text: str, path: str = "", fragment: tuple[str, tuple[str, ...]] | None = None) -> None:
        self.code = code
        self.text = text
        self.path = [path] if path else []
        self.fragment = fragment

    def to_issue(self, root: str) -> Issue:
        """Return the issue, its FHIRPath starting at `root`."""
        path = root + "".join(reversed(self.path))
        return Issue(self.code, self.text, (path.removeprefix("."),) if path else ())


Problems = list[Problem]
Check = Callable[[Any, dict[str, Any]], Problems | None]
"""Judges a value; the second argument is the object that the value is a member of. None: all is well."""


def within(piece: str, problems: Problems) -> Problems:
    """Return the problems, seen from one step further out."""
    for problem in problems:
        problem.path.append(piece)
    return problems


def joined(problems: Problems | None, more: Problems) -> Problems:
    """Return both together; `problems` grows in place, so that many errors do not cost their square."""
    if problems is None:
        return more
    problems += more
    return problems


def quote(value: Any) -> str:
    """Return a value in the form that messages show, cut where it is long."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _QUOTED else text[:_QUOTED] + "…"


def kind(value: Any) -> str:
    """Return what JSON calls the kind of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return "a string" if isinstance(value, str) else "a number"


def wrong_kind(expected: str, value: Any) -> Problems:
    """Return the finding that JSON has another kind of value here."""
    shown = f" ({quote(value)})" if isinstance(value, bool | int | float | str) else ""
    return [Problem("structure", f"Here {expected} is expected, but this is {kind(value)}{shown}.")]
