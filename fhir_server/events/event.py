"""An event: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md.

One change is one event, and its `id` is that of the version, so that whoever has seen it knows it again. Its `type` is
`org.fhir.patient.updated`, or the name that an extension has for what the change means. It carries ids and no health
data, unless `events_resource` says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from fhir_server.store.changes import Change
from fhir_server.store.versions import instant

SPECIFICATION = "1.0"


@dataclass(frozen=True, slots=True)
class Named:
    """What a change means to an extension."""

    type: str
    """The `type` of the event, such as `PATIENT_CREATED`."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Added to the data of the event: ids and codes, no health data."""
    patient: str = ""
    """The patient that it is about, where that is not what the resource says."""


@dataclass(frozen=True, slots=True)
class Naming:
    """Says what changes of a resource type mean."""

    name: Callable[[Change], Named | None]
    """Returns None for a change that has no name of its own."""
    elements: frozenset[str] = frozenset()
    """The elements that `name` looks at."""
    previous: bool = False
    """Whether it compares with the version before, which costs a look at the history."""


@dataclass(frozen=True, slots=True)
class Event:
    """What is told of a change."""

    change: Change
    type: str
    data: Mapping[str, Any]
    patient: str
    """The patient that it is about, such as `Patient/123`, or nothing."""

    @property
    def id(self) -> str:
        """The same whenever this change is told: `Patient/123/4`."""
        return f"{self.change.reference}/{self.change.version}"

    @property
    def source(self) -> str:
        """Where it comes from. Ids are unique within it."""
        return f"urn:fhir-server:{self.change.tenant}"

    def to_json(self, resource: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return it in the structured form, with the resource in its data where one is given.

        https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
        """
        found: dict[str, Any] = {
            "specversion": SPECIFICATION,
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.change.reference,
            "time": instant(self.change.moment),
            "datacontenttype": "application/json",
            "tenant": self.change.tenant,
            "change": self.change.kind,
        }
        if self.patient:
            # https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/extensions/partitioning.md
            found["partitionkey"] = self.patient
        return found | {"data": {**self.data, "resource": resource} if resource else dict(self.data)}


def event_of(change: Change, namings: Mapping[str, Naming]) -> Event:
    """Return the event of a change."""
    named = _named(change, namings.get(change.type))
    data: dict[str, Any] = {"resourceType": change.type, "id": change.id, "versionId": str(change.version)}
    if named is None:
        return Event(change, f"org.fhir.{change.type.lower()}.{change.kind}", data, change.patient)
    return Event(change, named.type, data | dict(named.data), named.patient or change.patient)


def _named(change: Change, naming: Naming | None) -> Named | None:
    if naming is None:
        return None
    try:
        return naming.name(change)
    except Exception as error:  # noqa: BLE001 -- one change must not keep back all that follow
        what = f"{change.reference}/{change.version}"
        structlog.get_logger().error("a change could not be named", tenant=change.tenant, change=what, exc_info=error)
        return None
