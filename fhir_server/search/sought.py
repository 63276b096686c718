"""Search values as they are compared: what depends on the tenant is settled here, before the types of parameters see it.

https://hl7.org/fhir/R4/search.html#token
"""

from collections.abc import Sequence
from typing import Final

from fhir_server.search.parameter import SearchParameter
from fhir_server.search.types.token import sought_contact
from fhir_server.search.values import escape, split_escaped, unescape

_IMPLIED: Final = {"phone": "phone", "email": "email"}
"""What a ContactPoint is whose system the search does not name, by parameter."""


def contacts(parameter: SearchParameter, values: Sequence[str], region: str) -> list[str]:
    """Return the values of a parameter over ContactPoints: phone numbers complete or as digits, all else in lower case."""
    return [_contact(parameter, value, region) for value in values]


def _contact(parameter: SearchParameter, value: str, region: str) -> str:
    *systems, text = split_escaped(value, "|")
    if not text or len(systems) > 1:
        return value
    system = unescape(systems[0]) if systems and systems[0] else _IMPLIED.get(parameter.code, "")
    return "|".join([*systems, escape(sought_contact(unescape(text), system, region))])
