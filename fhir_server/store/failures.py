"""What the errors of single documents in a bulk write mean."""

from typing import Any

from pymongo.errors import DuplicateKeyError, WriteError

from fhir_server.store.jobs import Item
from fhir_server.store.writes import VersionConflictError

DUPLICATE_KEY = 11000


def is_key_conflict(found: dict[str, Any]) -> bool:
    """Return whether a document with the same `_id` is there already."""
    return found.get("code") == DUPLICATE_KEY and "_id" in found.get("keyPattern", {})


def failure(type_: str, item: Item, found: dict[str, Any]) -> Exception:
    """Return the exception for the error of one document."""
    text, code = str(found.get("errmsg", "")), found.get("code")
    if is_key_conflict(found):
        return VersionConflictError(type_, item.write.version.id)
    return DuplicateKeyError(text, code, found) if code == DUPLICATE_KEY else WriteError(text, code, found)
