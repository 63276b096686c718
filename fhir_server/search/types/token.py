r"""Search parameters of type token.

https://hl7.org/fhir/R4/search.html#token

An entry is `code|system`, with `\` and `|` in the code escaped; `male|` where there is no system. So one index entry serves
`code` (a range), `system|code` and `|code` (equality), and the order. `:text` has folded texts of its own, and
`:of-type` entries `system|code|value`.

The code of a phone number is `<` and its digits, country code first, in reverse: so one entry serves the whole number and
its end. Other addresses of ContactPoints are in lower case.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

from fhir_server.fhir.contact import PHONE_SYSTEMS, digits_of, normal_email, normal_phone, sought_phone
from fhir_server.fhir.folding import fold
from fhir_server.fhir.outcome import bad_request
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.types.common import (
    LONGEST_PATTERN,
    Convert,
    Converters,
    Filter,
    any_of,
    begins,
    of_extension,
    unsupported_modifier,
)
from fhir_server.search.values import invalid_value, split_escaped, unescape

MODIFIERS = frozenset({"not", "text", "of-type"})
"""`in`, `not-in`, `above` and `below` are made of `among` by who can expand value sets."""
SPREADING = frozenset({"CodeableConcept"})

_PIPE = re.compile(r"([\\|])")
_DIGITS = re.compile(r"\+?\d+")
_REVERSED: Final = "<"
END_DIGITS: Final = 7
"""From so many digits on, a number is also found by its end."""
_ANY_CODE = r"^(?:[^|\\]|\\.)*\|"
_BOOLEANS = ("true", "false")
REGION: Final = "US"
"""Of phone numbers without a country code, where nothing else is known."""
_SPECIAL_VALUES = ("http://hl7.org/fhir/special-values", "http://terminology.hl7.org/CodeSystem/special-values")
_TEXTS = SearchParameter("text", "string", "", "")
_WITHOUT_SYSTEM = frozenset({"boolean", "code", "string", "id", "uri", "url", "canonical", "markdown", "oid", "uuid"})


def entry(code: str, system: str = "") -> str:
    """Return the index entry of a code."""
    if "|" in code or "\\" in code:
        code = _PIPE.sub(r"\\\1", code)
    return f"{code}|{system}"


def contact(value: str, system: str, region: str) -> str:
    """Return the code of an address of a ContactPoint, for numbers of `region` where they have no country code."""
    if system in PHONE_SYSTEMS or (system not in ("email", "url") and digits_of(value)):
        digits = normal_phone(value, region).removeprefix("+") or digits_of(value)
        if digits:
            return _REVERSED + digits[::-1]
    return normal_email(value)


def sought_contact(value: str, system: str, region: str) -> str:
    """Return an address that is searched for as `filter` wants it: a complete number in E.164, else its digits."""
    if system in PHONE_SYSTEMS or (system not in ("email", "url") and digits_of(value)):
        return sought_phone(value, region) or normal_email(value)
    return normal_email(value)


def _coding(value: Any, out: list[Any], _base_url: str) -> None:
    code, system = value.get("code"), value.get("system")
    if code or system:
        out.append(entry(code or "", system or ""))


def _concept(value: Any, out: list[Any], base_url: str) -> None:
    for coding in value.get("coding", ()):
        _coding(coding, out, base_url)


def _identifier(value: Any, out: list[Any], _base_url: str) -> None:
    code, system = value.get("value"), value.get("system")
    if code or system:
        out.append(entry(code or "", system or ""))


def contact_point(region: str) -> Convert:
    """Return what makes the entries of ContactPoints for a default region."""

    def convert(value: Any, out: list[Any], _base_url: str) -> None:
        if address := value.get("value"):
            system = value.get("system") or ""
            out.append(entry(contact(address, system, region), system))

    return convert


def _code(value: Any, out: list[Any], _base_url: str) -> None:
    out.append(entry(value))


def _boolean(value: Any, out: list[Any], _base_url: str) -> None:
    out.append("true|" if value else "false|")


_VALUES: dict[str, Convert] = {
    **dict.fromkeys(_WITHOUT_SYSTEM, _code),
    "boolean": _boolean,
    "Coding": _coding,
    "CodeableConcept": _concept,
    "Identifier": _identifier,
    "ContactPoint": contact_point(REGION),
}
CONVERTERS: Converters = {**_VALUES, "Extension": of_extension(_VALUES)}


def _coding_text(value: Any, out: list[Any], _base_url: str) -> None:
    if text := value.get("display"):
        out.append(fold(text))


def _concept_text(value: Any, out: list[Any], base_url: str) -> None:
    if text := value.get("text"):
        out.append(fold(text))
    for coding in value.get("coding", ()):
        _coding_text(coding, out, base_url)


def _identifier_text(value: Any, out: list[Any], _base_url: str) -> None:
    if text := (value.get("type") or {}).get("text"):
        out.append(fold(text))


def _identifier_of_type(value: Any, out: list[Any], _base_url: str) -> None:
    text = value.get("value")
    if text:
        for coding in (value.get("type") or {}).get("coding", ()):
            if "code" in coding:
                out.append(_typed(coding.get("system") or "", coding["code"], text))  # noqa: PERF401 -- as fast, and clearer


def _typed(system: str, code: str, value: str) -> str:
    return "|".join(_PIPE.sub(r"\\\1", part) for part in (system, code, value))


TEXT_CONVERTERS: Converters = {"Coding": _coding_text, "CodeableConcept": _concept_text, "Identifier": _identifier_text}
OF_TYPE_CONVERTERS: Converters = {"Identifier": _identifier_of_type}


def filter(field: str, modifier: str, values: Iterable[str], parameter: SearchParameter) -> Filter:  # noqa: A001 -- the name that all types share
    """Return the filter for resources with (`:not`: without) one of the tokens.

    Raises:
        FhirError: 400, a malformed value or a modifier that tokens do not have.
    """
    match modifier:
        case "":
            return any_of(_token(field, value, parameter) for value in values)
        case "not":
            return {"$nor": [_token(field, value, parameter) for value in values]}
        case "text":
            return any_of(_text(f"{field}:text", value, parameter) for value in values)
        case "of-type":
            return any_of(_of_type(field, value, parameter) for value in values)
    raise unsupported_modifier(parameter, modifier, MODIFIERS)


def among(field: str, codings: Iterable[tuple[str, str]], parameter: SearchParameter) -> Filter:
    """Return the filter for resources with one of the codings (system, code), which a value set or hierarchy gave."""
    if parameter.parts:
        listed = list(codings)
        return any_of(among(part.field, listed, part) for part in parameter.parts)
    plain = parameter.value_types <= _WITHOUT_SYSTEM
    found = [entry(code, "" if plain and (system in parameter.systems or not system) else system) for system, code in codings]
    return {field: {"$in": found}}


def _token(field: str, value: str, parameter: SearchParameter) -> Filter:
    parts = [unescape(part) for part in split_escaped(value, "|")]
    if len(parts) > 2:  # noqa: PLR2004 -- system and code
        raise invalid_value(parameter.code, value, "expected code, system|code, |code or system|; a | inside is written \\|")
    if not any(parts):
        raise invalid_value(parameter.code, value, "a code or a system is needed")
    if len(parts) == 1:
        return _any_system(field, parts[0], parameter)
    system, code = parts
    if not code:
        return _any_code(field, system, parameter)
    return _of_system(field, system, code, parameter)


def _any_system(field: str, code: str, parameter: SearchParameter) -> Filter:
    if field == "i":
        return {field: code}
    _check(code, parameter)
    if parameter.value_types <= _WITHOUT_SYSTEM:
        return {field: entry(code)}
    if "ContactPoint" in parameter.value_types:
        return begins(field, _contact_entry(code), parameter)
    return begins(field, entry(code), parameter)


def _of_system(field: str, system: str, code: str, parameter: SearchParameter) -> Filter:
    if field == "i":
        return {field: code} if not system else {field: {"$in": []}}
    _check(code, parameter)
    if parameter.value_types <= _WITHOUT_SYSTEM:
        implied = not system or system in parameter.systems or (system in _SPECIAL_VALUES and "boolean" in parameter.value_types)
        return {field: entry(code)} if implied else {field: entry(code, system)}
    if not system and parameter.value_types <= {"ContactPoint"}:
        return _any_system(field, code, parameter)
    if "ContactPoint" in parameter.value_types:
        start = _contact_entry(code)
        if start.endswith("|"):
            return {field: start + system}
        return {field: {"$regex": rf"^{start}\d*\|{re.escape(system)}$"}}
    found = [entry(code, system)]
    if system and system in parameter.systems:
        found.append(entry(code))
    return {field: found[0] if len(found) == 1 else {"$in": found}}


def _any_code(field: str, system: str, parameter: SearchParameter) -> Filter:
    if parameter.value_types <= _WITHOUT_SYSTEM:
        return {field: {"$exists": True}} if system in parameter.systems else {field: {"$in": []}}
    if len(system) > LONGEST_PATTERN or "\0" in system:
        raise invalid_value(parameter.code, system, f"the system has more than {LONGEST_PATTERN} characters, or NUL")
    return {field: {"$regex": f"{_ANY_CODE}{re.escape(system)}$"}}


def _check(code: str, parameter: SearchParameter) -> None:
    if parameter.value_types == {"boolean"} and code not in _BOOLEANS:
        raise invalid_value(parameter.code, code, "expected true or false")


def _contact_entry(code: str) -> str:
    """Return what the entries of an address begin with; a whole entry without its system where it ends with `|`."""
    if not _DIGITS.fullmatch(code):
        return entry(code)
    digits = code.removeprefix("+")
    whole = digits != code or len(digits) < END_DIGITS
    return f"{_REVERSED}{digits[::-1]}{'|' if whole else ''}"


def _text(field: str, value: str, parameter: SearchParameter) -> Filter:
    text = fold(unescape(value))
    if not text:
        raise invalid_value(parameter.code, value, "a text to look for is needed")
    return begins(field, text, _TEXTS)


def _of_type(field: str, value: str, parameter: SearchParameter) -> Filter:
    parts = [unescape(part) for part in split_escaped(value, "|")]
    if len(parts) != 3 or not all(parts):  # noqa: PLR2004 -- the three that the message names
        raise invalid_value(
            f"{parameter.code}:of-type", value, "expected system|code|value, of the identifier's type and its value"
        )
    if "Identifier" not in parameter.value_types:
        raise bad_request(f"{parameter.code}:of-type: only identifiers have a type.", code="not-supported")
    return {**begins(field, entry(parts[2]), parameter), f"{field}:of-type": _typed(*parts)}
