"""The rules of the setting `rules`: what is sent when something happens to a resource (docs/notifications/reminders.md#rules)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

import msgspec
import structlog

from fhir_server.events.event import Event
from fhir_server.exchange import Resource
from fhir_server.fhir.dates import interval
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.fhirpath import SAFE_FUNCTIONS, Budget, Expression, FhirPathError, compile_expression, holds, root
from prm_ext.notifications.durations import duration

RECENT: Final = "7d"
_PREFIX: Final = "org.fhir."
_STEPS: Final = 10_000
_STATUS: Final = ("status", "lifecycleStatus", "clinicalStatus")
_CODE: Final = ("code", "type", "medicationCodeableConcept", "vaccineCode", "description")
_CATEGORY: Final = ("category",)
_DATES: Final = (
    "issued", "effectiveDateTime", "effectivePeriod", "authoredOn", "recordedDate", "recorded", "occurrenceDateTime",
    "statusDate", "created", "date", "period", "startDate", "onsetDateTime",
)  # fmt: skip
"""Elements that say when what a resource tells of happened, in the order in which they are asked."""


class _Rule(msgspec.Struct, forbid_unknown_fields=True):
    """A rule as the setting has it."""

    event: str | list[str]
    template: str
    name: str = ""
    status: str = ""
    code: str = ""
    category: str = ""
    where: str = ""
    after: str = ""
    recent: str = RECENT


@dataclass(frozen=True, slots=True)
class Rule:
    """What is sent when."""

    name: str
    """Tells it from the others; that of the template, where it has none."""
    events: frozenset[str]
    """Types of events; `org.fhir.goal` stands for `org.fhir.goal.created` and `org.fhir.goal.updated`."""
    template: str
    statuses: frozenset[str]
    codes: frozenset[str]
    categories: frozenset[str]
    where: Expression | None
    after: timedelta
    recent: timedelta

    def is_about(self, event: Event) -> bool:
        """Tell whether an event is one of the rule's."""
        change = event.change
        general = f"{_PREFIX}{change.type.lower()}"
        return not change.deleted and bool(self.events & {event.type, general, f"{general}.{change.kind}"})

    def fits(self, resource: Resource) -> bool:
        """Tell whether a resource is as the rule wants it."""
        return (
            _fits(self.statuses, _words(resource, _STATUS))
            and _fits(self.codes, _words(resource, _CODE))
            and _fits(self.categories, _words(resource, _CATEGORY))
            and (self.where is None or _holds(self.where, resource))
        )

    def is_recent(self, resource: Resource, now: datetime) -> bool:
        """Tell whether what a resource tells of happened lately, or is still to come; so it is where it does not say when."""
        found = next((resource[name] for name in _DATES if name in resource), None)
        text = found.get("end", found.get("start")) if isinstance(found, Mapping) else found
        return text is None or now - interval(text)[1] <= self.recent


@lru_cache(maxsize=256)
def rules_of(setting: str) -> tuple[Rule, ...]:
    """Return what the setting `rules` says.

    Raises:
        ValueError: it is something else.
    """
    found = tuple(map(_read, msgspec.json.decode(setting or "[]", type=list[_Rule])))
    for rule in found:
        for event in rule.events:
            _check(event)
    return found


def _check(event: str) -> None:
    if not event.startswith(_PREFIX):
        return
    type_, _, kind = event.removeprefix(_PREFIX).partition(".")
    if type_ not in _TYPES or kind not in ("", "created", "updated"):
        raise ValueError(f"{event!r} is no event of a resource, such as org.fhir.goal.updated")


_TYPES: Final[Mapping[str, str]] = {type_.lower(): type_ for type_ in RESOURCE_TYPES}


def _read(one: _Rule) -> Rule:
    return Rule(
        one.name or one.template,
        frozenset([one.event] if isinstance(one.event, str) else one.event),
        one.template,
        _choices(one.status),
        _choices(one.code),
        _choices(one.category),
        _expression(one.where) if one.where else None,
        duration(one.after) if one.after else timedelta(),
        duration(one.recent),
    )


def _choices(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def _expression(text: str) -> Expression:
    found = compile_expression(text)
    if unsafe := found.functions - SAFE_FUNCTIONS:
        raise ValueError(f"{', '.join(sorted(unsafe))} can not be used in `where`")
    return found


def _fits(wanted: frozenset[str], words: Iterable[str]) -> bool:
    return not wanted or not wanted.isdisjoint(words)


def _words(resource: Resource, names: Sequence[str]) -> Iterator[str]:
    """Yield the codes of elements, alone and as `system|code`."""
    for name in names:
        value = resource.get(name)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                yield one
            for coding in one.get("coding", ()) if isinstance(one, dict) else ():
                yield coding.get("code", "")
                yield f"{coding.get('system', '')}|{coding.get('code', '')}"


def _holds(expression: Expression, resource: Resource) -> bool:
    try:
        return holds(expression, root(resource), budget=Budget(_STEPS))
    except FhirPathError as error:
        structlog.get_logger().warning("a rule can not be applied", where=expression.text, reason=str(error))
        return False


def types_of(settings: Iterable[str]) -> frozenset[str]:
    """Return the resource types that the rules of any of several settings are about; empty for all."""
    events = {event for one in settings for rule in rules_of(one) for event in rule.events}
    if not all(event.startswith(_PREFIX) for event in events):
        # Names of the product's own say nothing of the type.
        return frozenset()
    return frozenset(_TYPES[event.removeprefix(_PREFIX).partition(".")[0]] for event in events)
