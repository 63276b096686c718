"""Search values as they are compared: what depends on the tenant is settled here, before the types of parameters see it.

https://hl7.org/fhir/R4/search.html#token
"""

from collections.abc import Sequence
from typing import Final

from fhir_server.fhir.protected import Systems, main_name, normal
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.types.token import sought_contact
from fhir_server.search.values import escape, split_escaped, unescape
from fhir_server.store.keys import Keyring, Ring

_IMPLIED: Final = {"phone": "phone", "email": "email"}
"""What a ContactPoint is whose system the search does not name, by parameter."""

_OVER_VALUES: Final = frozenset({"", "not", "of-type", "identifier"})


def contacts(parameter: SearchParameter, values: Sequence[str], region: str) -> list[str]:
    """Return the values of a parameter over ContactPoints: phone numbers complete or as digits, all else in lower case."""
    return [_contact(parameter, value, region) for value in values]


def _contact(parameter: SearchParameter, value: str, region: str) -> str:
    *systems, text = split_escaped(value, "|")
    if not text or len(systems) > 1:
        return value
    system = unescape(systems[0]) if systems and systems[0] else _IMPLIED.get(parameter.code, "")
    return "|".join([*systems, escape(sought_contact(unescape(text), system, region))])


def identifiers(modifier: str, values: Sequence[str], keyring: Keyring, tenant: str) -> list[str]:
    """Return the values of a parameter over identifiers, with tokens for protected ones (`fhir_server.store.cipher`).

    A value without a protected system may be that of one as well; so it is looked for in both forms.
    """
    if modifier not in _OVER_VALUES or not keyring.systems.names:
        return list(values)
    return [found for value in values for found in _identifier(value, keyring.systems, keyring.ring(tenant))]


def _identifier(value: str, systems: Systems, ring: Ring) -> list[str]:
    *before, text = split_escaped(value, "|")
    bare = unescape(text)
    aliases = systems.aliases(unescape(before[0])) if len(before) == 1 else []
    if aliases and not bare:
        return [f"{escape(name)}|" for name in aliases]
    if aliases:
        tokens = ring.tokens(main_name(aliases[0]), normal(bare))
        return [f"{escape(name)}|{token}" for name in aliases for token in tokens] or [value]
    tokens = [token for system in systems.may_hold(bare) for token in ring.tokens(system, normal(bare))]
    return [value, *("|".join([*before, token]) for token in tokens)]
