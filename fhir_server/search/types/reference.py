"""Search parameters of type reference.

https://hl7.org/fhir/R4/search.html#reference

An entry is the reference without its version: `Patient/123` on this server, else the absolute url, or the url of a canonical.
References with a version stand under `:version` in addition, identifiers of logical references as tokens under `:identifier`.
"""

from collections.abc import Iterable
from typing import Any

from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import bad_request
from fhir_server.fhir.reference import ID, parse
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.types import token
from fhir_server.search.types.common import Converters, Filter, any_of, of_extension, unsupported_modifier
from fhir_server.search.values import invalid_value, unescape

MODIFIERS = frozenset({"identifier"})
"""And the name of a resource type."""
SPREADING: frozenset[str] = frozenset()
_IDENTIFIERS = SearchParameter("identifier", "token", "", "", value_types=frozenset({"Identifier"}))


def _reference(value: Any, out: list[Any], base_url: str) -> None:
    if text := value.get("reference"):
        out.append(parse(text, base_url).text)


def _literal(value: Any, out: list[Any], base_url: str) -> None:
    out.append(parse(value, base_url).text)


def _attachment(value: Any, out: list[Any], base_url: str) -> None:
    if url := value.get("url"):
        out.append(parse(url, base_url).text)


def _resource(value: Any, out: list[Any], _base_url: str) -> None:
    if "id" in value:
        out.append(f"{value['resourceType']}/{value['id']}")


_VALUES = {
    **dict.fromkeys(("canonical", "uri", "url"), _literal),
    "Reference": _reference,
    "Attachment": _attachment,
    "Resource": _resource,
}
CONVERTERS: Converters = {**_VALUES, "Extension": of_extension(_VALUES)}


def _reference_version(value: Any, out: list[Any], base_url: str) -> None:
    text = value.get("reference")
    if text and "/_history/" in text:
        _version(text, out, base_url)


def _canonical_version(value: Any, out: list[Any], base_url: str) -> None:
    if "|" in value:
        _version(value, out, base_url)


def _version(text: str, out: list[Any], base_url: str) -> None:
    if versioned := parse(text, base_url).versioned:
        out.append(versioned)


def _identifier(value: Any, out: list[Any], base_url: str) -> None:
    if identifier := value.get("identifier"):
        token.CONVERTERS["Identifier"](identifier, out, base_url)


VERSION_CONVERTERS: Converters = {"Reference": _reference_version, "canonical": _canonical_version, "uri": _canonical_version}
IDENTIFIER_CONVERTERS: Converters = {"Reference": _identifier}


def filter(  # noqa: A001 -- the name that all types share
    field: str, modifier: str, values: Iterable[str], parameter: SearchParameter, *, base_url: str = ""
) -> Filter:
    """Return the filter for resources that refer to one of the targets.

    Raises:
        FhirError: 400, a malformed value or a modifier that is neither `identifier` nor a type that may stand there.
    """
    if modifier == "identifier":
        return token.filter(f"{field}:identifier", "", values, _IDENTIFIERS)
    if modifier and modifier not in RESOURCE_TYPES:
        raise unsupported_modifier(parameter, modifier, {*MODIFIERS, *parameter.target})
    if modifier and parameter.target and modifier not in parameter.target:
        raise bad_request(
            f"{parameter.code}:{modifier}: {parameter.code} refers to {', '.join(parameter.target)}, never to {modifier}."
        )
    return _among(field, [_target(unescape(value), modifier, parameter, base_url) for value in values])


def among(field: str, references: Iterable[str], _parameter: SearchParameter) -> Filter:
    """Return the filter for resources that refer to one of these references (`Patient/123`)."""
    return _one_of(field, list(references))


def of_targets(parameter: SearchParameter) -> Filter:
    """Return the filter for resources with a reference of a parameter that shares its field with a wider one."""
    return {parameter.field: {"$regex": f"(?:^|/)(?:{'|'.join(parameter.target)})/"}}


def _among(field: str, targets: list[tuple[list[str], str]]) -> Filter:
    plain = list(dict.fromkeys(text for texts, version in targets if not version for text in texts))
    found = [_one_of(field, plain)] if plain or not targets or not targets[0][1] else []
    versioned = [{**_one_of(field, texts), f"{field}:version": version} for texts, version in targets if version]
    return any_of([*found, *versioned])


def _one_of(field: str, texts: list[str]) -> Filter:
    return {field: texts[0] if len(texts) == 1 else {"$in": texts}}


def _target(text: str, type_: str, parameter: SearchParameter, base_url: str) -> tuple[list[str], str]:
    """Return the references that a value may stand for, and the one with its version if it names that."""
    if not text:
        raise invalid_value(parameter.code, text, "expected an id, Type/id or a url")
    if "/" not in text and ":" not in text and "|" not in text:
        return _by_id(text, type_, parameter), ""
    reference = parse(text, base_url)
    if type_ and reference.type and reference.type != type_:
        raise invalid_value(f"{parameter.code}:{type_}", text, f"it is no {type_}")
    return [reference.text], reference.versioned


def _by_id(id_: str, type_: str, parameter: SearchParameter) -> list[str]:
    if not ID.fullmatch(id_):
        raise invalid_value(parameter.code, id_, "expected an id, Type/id or a url")
    types = (type_,) if type_ else parameter.target or sorted(RESOURCE_TYPES)
    return [f"{name}/{id_}" for name in types]
