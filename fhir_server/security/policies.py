"""The policies of all tenants, read again when their files change."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from fhir_server.security.policy import Policy, PolicyError, built_in, path_of, read

LOOK_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Known:
    policy: Policy
    path: Path | None
    stamp: tuple[int, int]
    looked: float


class Policies:
    """Policies by tenant."""

    def __init__(self, directory: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._built_in = built_in()
        self._known: dict[str, _Known] = {}

    def of(self, tenant: str) -> Policy:
        """Return the policy of a tenant, at most two seconds old.

        A file that can not be used is logged, and what was used before stays in force.

        Raises:
            PolicyError: the file of the tenant has never been one that can be used.
        """
        if self._directory is None:
            return self._built_in
        known, now = self._known.get(tenant), self._clock()
        if known is not None and now - known.looked < LOOK_SECONDS:
            return known.policy
        path = path_of(self._directory, tenant)
        stamp = _stamp(path)
        if known is None or (known.path, known.stamp) != (path, stamp):
            known = _Known(self._read(tenant, path, known), path, stamp, now)
        else:
            known = _Known(known.policy, path, stamp, now)
        self._known[tenant] = known
        return known.policy

    def _read(self, tenant: str, path: Path | None, known: _Known | None) -> Policy:
        if path is None:
            return self._built_in
        try:
            return read(path.read_text(encoding="utf-8"), path.name)
        except (PolicyError, OSError, UnicodeDecodeError) as error:
            if known is None:
                raise PolicyError(str(error)) from None
            text = "a policy can not be used; the one before stays in force"
            structlog.get_logger().error(text, tenant=tenant, file=path.name)
            return known.policy


def _stamp(path: Path | None) -> tuple[int, int]:
    if path is None:
        return (0, 0)
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)
