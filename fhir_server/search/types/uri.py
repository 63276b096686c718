"""Search parameters of type uri.

https://hl7.org/fhir/R4/search.html#uri

An entry is the uri as it is. `:below` and `:above` go by the segments of a URL's path; a URN has none, so there they are
equality. A canonical is found with and without its version.
"""

from collections.abc import Iterable
from typing import Any

from fhir_server.search.parameter import SearchParameter
from fhir_server.search.types.common import Converters, Filter, any_of, begins, unsupported_modifier
from fhir_server.search.values import invalid_value, unescape

MODIFIERS = frozenset({"above", "below"})
SPREADING: frozenset[str] = frozenset({"canonical"})


def _uri(value: Any, out: list[Any], _base_url: str) -> None:
    out.append(value)


def _canonical(value: Any, out: list[Any], _base_url: str) -> None:
    out.append(value)
    url, pipe, _ = value.partition("|")
    if pipe:
        out.append(url)


CONVERTERS: Converters = {**dict.fromkeys(("uri", "url", "oid", "uuid", "string", "id"), _uri), "canonical": _canonical}


def filter(field: str, modifier: str, values: Iterable[str], parameter: SearchParameter) -> Filter:  # noqa: A001 -- the name that all types share
    """Return the filter for resources with one of the uris (`:below`: under, `:above`: over one of them).

    Raises:
        FhirError: 400, an empty value or a modifier that uris do not have.
    """
    uris = [unescape(value) for value in values]
    if not all(uris):
        raise invalid_value(parameter.code, "", "a uri is needed")
    match modifier:
        case "":
            return {field: uris[0] if len(uris) == 1 else {"$in": uris}}
        case "above":
            return {field: {"$in": [above for uri in uris for above in _above(uri)]}}
        case "below":
            return any_of(_below(field, uri, parameter) for uri in uris)
    raise unsupported_modifier(parameter, modifier, MODIFIERS)


def _above(uri: str) -> list[str]:
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return [uri]
    segments = rest.rstrip("/").split("/")
    parents = [scheme + separator + "/".join(segments[:length]) for length in range(1, len(segments) + 1)]
    return list(dict.fromkeys([*parents, *(f"{parent}/" for parent in parents), uri]))


def _below(field: str, uri: str, parameter: SearchParameter) -> Filter:
    if "://" not in uri:
        return {field: uri}
    bare = uri.rstrip("/")
    return {"$or": [{field: bare}, begins(field, f"{bare}/", parameter)]}
