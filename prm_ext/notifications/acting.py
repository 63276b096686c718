"""Doing something later for somebody who asked for it: under what they may do then, and recorded as theirs."""

from dataclasses import asdict, replace
from typing import Any
from weakref import WeakKeyDictionary

from fhir_server.events.consumer import ContextOf
from fhir_server.exchange import Context, Principal
from fhir_server.security.audit.recorder import Recorder
from fhir_server.security.audit.trail import Trail
from fhir_server.security.grants import permissions_for
from fhir_server.security.policies import Policies
from fhir_server.security.repository import GuardedRepository
from fhir_server.store.database import Database, Document

_SETS = ("scopes", "roles")


def kept(ctx: Context) -> Document:
    """Return who asks, as a document."""
    values: dict[str, Any] = asdict(ctx.principal)
    principal = values | {name: sorted(values[name]) for name in _SETS}
    return {"principal": principal, "guarded": ctx.access is not None, "request_id": ctx.request_id, "address": ctx.address}


def is_same(found: Document, ctx: Context) -> bool:
    """Tell whether it is who asks now."""
    mine, theirs = kept(ctx)["principal"], found["principal"]
    return all(mine[name] == theirs[name] for name in ("id", "issuer", "client"))


class Actors:
    """Makes contexts of those who were kept."""

    def __init__(self) -> None:
        self._recorders: WeakKeyDictionary[Database, Recorder] = WeakKeyDictionary()
        self._policies: Policies | None = None

    async def context(self, context_of: ContextOf, tenant: str, found: Document) -> Context:
        """Return the context in which somebody goes on.

        Raises:
            PolicyError: the policy of the tenant can not be used now.
        """
        own = await context_of(tenant)
        values: dict[str, Any] = {
            name: frozenset(value) if name in _SETS else value for name, value in found["principal"].items()
        }
        principal = Principal(**values)
        ctx = replace(
            own, principal=principal, request_id=found["request_id"], address=found["address"], recorder=self._recorder(own)
        )
        if not found["guarded"]:
            return ctx
        if self._policies is None:
            self._policies = Policies(own.settings.policy_dir)
        access = await permissions_for(own, principal, self._policies.of(tenant))
        repo = GuardedRepository(own.repo.database, own.repo._committer, tenant, access)  # noqa: SLF001 -- the same data, narrower
        return replace(ctx, repo=repo, access=access)

    def _recorder(self, ctx: Context) -> Recorder | None:
        kept_ = ctx.settings.audit_kept
        if kept_ == "off":
            return None
        database = ctx.repo.database
        if database not in self._recorders:
            self._recorders[database] = Recorder(Trail(database, everything=kept_ == "all"))
        return self._recorders[database]
