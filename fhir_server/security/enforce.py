"""Whether a Call is allowed, as far as its interaction and resource type say; asked by the engine for every Call.

What may be seen and changed of a type is judged by `security.repository` and, in searches, by `search.access`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from fhir_server.exchange import Call, Context, Operation, Reply
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import forbidden
from fhir_server.security import identifiers
from fhir_server.security.permissions import Permissions
from fhir_server.security.repository import CHANGING, READING, GuardedRepository, refused
from fhir_server.security.views import decoded, raw_of, shown_reply

NEEDED: Final[Mapping[str, str]] = {
    "read": "r",
    "vread": "r",
    "history-instance": "r",
    "history-type": "s",
    "search-type": "s",
    "create": "c",
    "patch": "ur",
    "delete": "d",
}
"""Letters that an interaction takes, all of them: https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html."""
_SYSTEM: Final = frozenset({"search-system", "history-system", "search-compartment"})
_WRITES: Final = frozenset({"create", "update", "patch", "delete", "transaction"})


def entered(ctx: Context, call: Call, operation: Operation | None = None) -> tuple[Context, Call]:
    """Return a Call as it may be handled, and the context to do so; `operation` is the one that it asks for.

    Raises:
        FhirError: 403, the interaction is not allowed.
    """
    access, repo = ctx.access, ctx.repo
    if access is None or not isinstance(repo, GuardedRepository):
        return ctx, call
    if call.interaction == "read" and repo.letters == READING:
        _demand(access, call.type, READING)
        plain = not (call.encoded and call.type in access.limits.hidden)
        return ctx, call if plain else replace(call, encoded=False)
    check(access, call, operation)
    changes = call.interaction in _WRITES or (operation is not None and operation.affects_state)
    letters = CHANGING if changes else READING
    if call.encoded and access.limits.hidden and (call.type in access.limits.hidden or call.interaction != "read"):
        call = replace(call, encoded=False)  # What is hidden has to be taken out.
    return (ctx if repo.letters == letters else replace(ctx, repo=repo.showing(letters))), call


def left(ctx: Context, reply: Reply) -> Reply:
    """Return the reply without what may not be shown."""
    access = ctx.access
    if access is None or (access.identifiers == "full" and not access.limits.hidden):
        return reply
    if access.identifiers == "full":
        return shown_reply(access, reply)
    raw = [reply.encoded] if reply.encoded is not None else raw_of(reply)
    if raw and not any(identifiers.mentioned(ctx, one) for one in raw):
        return reply
    return identifiers.shown_reply(ctx, shown_reply(access, decoded(reply)))


def check(access: Permissions, call: Call, operation: Operation | None = None) -> None:
    """Refuse what is not allowed.

    Raises:
        FhirError: 403.
    """
    if call.interaction == "operation":
        _check_operation(access, call, operation)
    elif call.interaction in _SYSTEM:
        _check_system(access, call)
    else:
        for letter in _letters(call):
            _demand(access, call.type, letter)
        if call.interaction == "update" and not (access.may(call.type, "u") or access.may(call.type, "c")):
            raise refused(call.type, "u")


def _letters(call: Call) -> Iterator[str]:
    yield from NEEDED.get(call.interaction, "")
    by_condition = not call.id and call.interaction in ("update", "patch", "delete")
    if by_condition or call.if_none_exist is not None:
        # A condition tells what there is.
        yield "s"


def _check_system(access: Permissions, call: Call) -> None:
    asked = {name.strip() for key, value in call.params if key == "_type" for name in value.split(",")}
    for type_ in sorted((asked & RESOURCE_TYPES) | ({call.type} - {""})):
        _demand(access, type_, "s")
    if not access.types("s"):
        raise forbidden("You may not search; that takes a scope such as user/Patient.s and a role for it.")


def _check_operation(access: Permissions, call: Call, operation: Operation | None) -> None:
    if not call.type:
        if not access.operator:
            raise forbidden(f"${call.operation} on the whole system is for operators.")
        return
    if call.operation == "validate":
        if call.id:
            _demand(access, call.type, "r")
        return
    changes = operation is None or operation.affects_state
    for letter in "ru" if changes else "r" if call.id else "s":
        _demand(access, call.type, letter)


def _demand(access: Permissions, type_: str, letter: str) -> None:
    if not access.may(type_, letter):
        raise refused(type_, letter)
