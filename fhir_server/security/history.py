"""Histories of types and of the system, for those who may see only some of the resources.

https://hl7.org/fhir/R4/http.html#history
"""

import time
from collections.abc import Sequence
from typing import Final

from fhir_server.fhir.outcome import too_costly
from fhir_server.security.repository import GuardedRepository
from fhir_server.store.history import After, Wanted, find_versions
from fhir_server.store.repository import Repository
from fhir_server.store.versions import Version

BATCH: Final = 200


def guard_of(repo: Repository, types: Sequence[str], letters: str) -> GuardedRepository | None:
    """Return the repository, if of one of the types only some resources may be seen."""
    if isinstance(repo, GuardedRepository) and any(repo.access.is_confined(type_, letters) for type_ in types):
        return repo
    return None


async def find_visible(
    repo: GuardedRepository, wanted: Wanted, letters: str, *, after: After | None, limit: int, timeout_ms: int
) -> list[Version]:
    """Return at most `limit` versions that may be seen, newest first.

    History has no index entries, so versions are read in their order and judged one by one.

    Raises:
        FhirError: 503, it takes longer than `timeout_ms`.
    """
    until = time.monotonic() + timeout_ms / 1000
    found: list[Version] = []
    while True:
        remaining = int((until - time.monotonic()) * 1000)
        if remaining <= 0:
            raise too_costly("The history was not read to its end in time; ask for that of a resource, or add _since.", 503)
        versions = await find_versions(repo, wanted, after=after, limit=max(limit, BATCH), timeout_ms=remaining)
        found += await repo.visible(versions, letters)
        if len(found) >= limit or len(versions) < max(limit, BATCH):
            return found[:limit]
        last = versions[-1]
        after = After(last.last_updated, last.type, last.id, last.number)


async def count_visible(repo: GuardedRepository, wanted: Wanted, letters: str, *, timeout_ms: int) -> int:
    """Return how many versions of one resource may be seen."""
    return len(await find_visible(repo, wanted, letters, after=None, limit=1_000_000, timeout_ms=timeout_ms))
