"""Which of the scopes that are asked for may be given: https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html.

A client is registered with the widest scopes it may have: `patient/*.rs` covers `patient/Observation.r`, and a scope with
search parameters is covered by the same scope without them.
"""

from collections.abc import Iterable
from typing import Final

from fhir_server.security.scopes import ALL, Scope, parse

IDENTITY: Final = ("openid", "fhirUser", "profile")
LAUNCH: Final = ("launch", "launch/patient", "launch/encounter")
REFRESH: Final = ("offline_access", "online_access")
PLAIN: Final = (*IDENTITY, *LAUNCH, *REFRESH)


def covers(wide: Scope, narrow: Scope) -> bool:
    """Tell whether whoever has the wide scope may be given the narrow one."""
    return (
        wide.context == narrow.context
        and wide.type in (ALL, narrow.type)
        and set(narrow.letters) <= set(wide.letters)
        and set(wide.criteria) <= set(narrow.criteria)
    )


def is_scope(scope: str) -> bool:
    """Tell whether this server knows the scope."""
    return scope in PLAIN or parse(scope) is not None


def allowed(asked: Iterable[str], registered: Iterable[str]) -> tuple[str, ...]:
    """Return those of the scopes asked for that the registered ones cover, each once, in their order.

    What no scope is, or is not covered, falls away: a server may give less than it was asked for, and says so in the
    `scope` of its answer (RFC 6749, section 3.3).
    """
    having = tuple(registered)
    wide = [found for scope in having if (found := parse(scope))]

    def may(scope: str) -> bool:
        narrow = parse(scope)
        return scope in having if narrow is None else any(covers(one, narrow) for one in wide)

    return tuple(scope for scope in dict.fromkeys(asked) if is_scope(scope) and may(scope))


def needs_patient(scopes: Iterable[str]) -> bool:
    """Tell whether the scopes make sense only for one patient."""
    return any(scope == "launch/patient" or scope.startswith("patient/") for scope in scopes)


def opens_data(scopes: Iterable[str]) -> bool:
    """Tell whether a token of the scopes is for the FHIR service, not only for knowing who somebody is."""
    return any(scope in LAUNCH or parse(scope) is not None for scope in scopes)
