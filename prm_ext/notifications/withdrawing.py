"""Single messages of a request that are withdrawn: to one recipient, at one occurrence.

The request says so itself, in an extension for each (docs/notifications/README.md): whoever may change the request may
write it, over FHIR as well, and it holds for whoever plans or sends.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from fhir_server.exchange import Resource
from fhir_server.store.database import Document
from prm_ext.notifications.codes import WITHDRAWN
from prm_ext.notifications.machine import ended

TEXT: Final = "This message of the request was withdrawn."


def name_of(found: Mapping[str, Any]) -> str:
    """Return what tells a delivery from the others of its request: `occurrence~place`, as its id ends."""
    suffix: str = found["_id"].partition("/")[2].partition("~")[2]
    return suffix or "~"


def withdrawn_of(request: Resource) -> frozenset[str]:
    """Return the names of the deliveries that a request does not want any more."""
    extensions = request.get("extension", ())
    return frozenset(str(one.get("valueString", "")) for one in extensions if one.get("url") == WITHDRAWN)


def without(request: Resource, name: str) -> Resource:
    """Return a request that does not want a delivery any more."""
    return {**request, "extension": [*request.get("extension", ()), {"url": WITHDRAWN, "valueString": name}]}


def withdrawn(found: Document, now: datetime) -> Document:
    """End a delivery because its request does not want it any more; it stays so."""
    return {**ended(found, "cancelled", "cancelled", "", TEXT, now), "withdrawn": True}
