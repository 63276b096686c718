r"""Search values: separators that are escaped, and prefixes.

https://hl7.org/fhir/R4/search.html#escaping, https://hl7.org/fhir/R4/search.html#prefix

`\,` `\|` `\$` and `\\` stand for the characters themselves. A value is split at its separators first, from the outside
in (`,` then `$` then `|`), and unescaped last, once.
"""

import re

from fhir_server.fhir.outcome import FhirError, bad_request

PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
_ESCAPE = re.compile(r"\\([\\,|$])")
_PREFIX = re.compile(r"([a-z]{2})(?=[-+.0-9])")


def split_escaped(value: str, separator: str) -> list[str]:
    """Split at each `separator` that no backslash escapes; the parts keep their escapes."""
    if separator not in value:
        return [value]
    if "\\" not in value:
        return value.split(separator)
    parts, start, position = [], 0, 0
    while position < len(value):
        if value[position] == separator:
            parts.append(value[start:position])
            start = position + 1
        position += 2 if value[position] == "\\" else 1
    return [*parts, value[start:]]


def unescape(value: str) -> str:
    """Resolve the escapes; a backslash before any other character stands for itself."""
    return _ESCAPE.sub(r"\1", value) if "\\" in value else value


def escape(value: str) -> str:
    """Return the value such that `unescape` gives it back and `split_escaped` does not split it."""
    return re.sub(r"([\\,|$])", r"\\\1", value)


def split_prefix(value: str) -> tuple[str, str]:
    """Return the comparison prefix (`eq` where there is none) and the rest.

    Raises:
        FhirError: 400 when two letters stand where a prefix may stand, but are none.
    """
    match = _PREFIX.match(value)
    if match is None:
        return "eq", value
    if match[1] not in PREFIXES:
        raise bad_request(f"{match[1]!r} in {value!r} is no comparison prefix; use one of {', '.join(PREFIXES)}.")
    return match[1], value[2:]


def invalid_value(code: str, value: str, expected: str) -> FhirError:
    """400: the value of a search parameter is malformed."""
    return bad_request(f"{value!r} is no valid value of the search parameter {code!r}: {expected}.")
