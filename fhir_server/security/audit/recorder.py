"""Where records come from: every Call of a request, and the doors where people and apps prove who they are."""

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from fhir_server.exchange import Call, Context, Dispatch, Reply
from fhir_server.fhir.outcome import FhirError
from fhir_server.security.audit.describe import Outcome, changes, completed, described
from fhir_server.security.audit.reading import documents
from fhir_server.security.audit.record import DISCLOSURE, SYSTEM, Record
from fhir_server.security.audit.trail import Trail
from fhir_server.store.database import Document

_inside: ContextVar[bool] = ContextVar("audited", default=False)
"""Whether a Call is under way that is recorded as a whole; what it asks for itself is part of it."""
UNRECORDED: Final = frozenset({"capabilities"})
"""What everybody may read."""
_COMPLETED: Final = frozenset({"delete", "transaction"})
"""Changes whose records need a look at what was there before."""
OFTEN: Final = 20
"""So many refusals of one address are recorded in a minute; the next one says how many were not."""
MINUTE: Final = 60.0
MOST: Final = 10_000


class Recorder:
    """Records what happens at one process."""

    def __init__(self, trail: Trail, clock: Callable[[], float] = time.time) -> None:
        self.trail = trail
        self._clock = clock
        self._refusals: OrderedDict[str, _Refusals] = OrderedDict()

    async def call(self, ctx: Context, call: Call, handler: Dispatch) -> Reply:
        """Answer a Call; return, or raise its refusal, when it is recorded.

        Of what the server does by itself only changes are recorded.
        """
        if _inside.get() or call.interaction in UNRECORDED or not (ctx.request_id or changes(call)):
            return await handler(ctx, call)
        began = self._clock()
        mark = _inside.set(True)
        self.trail.under_way += 1
        try:
            try:
                reply = await handler(ctx, call)
            except FhirError as error:
                await self._record(ctx, call, error, began)
                raise
            except Exception:
                await self._record(ctx, call, None, began)
                raise
            finally:
                _inside.reset(mark)
            if call.interaction in _COMPLETED:
                await self._record(ctx, call, reply, began)
            elif self.trail.everything or changes(call) or ctx.principal.break_glass:
                await self.trail.record(ctx.tenant, described(ctx, call, reply, began))
            return reply
        finally:
            self.trail.under_way -= 1

    def documents(
        self, ctx: Context, filter_: Mapping[str, Any], *, descending: bool, start: str = ""
    ) -> AsyncIterator[Document | None]:
        """Yield what was recorded as documents; see `reading.documents`."""
        return documents(ctx, filter_, descending=descending, start=start)

    async def _record(self, ctx: Context, call: Call, outcome: Outcome, began: float) -> None:
        records = described(ctx, call, outcome, began)
        if call.interaction in _COMPLETED:
            records = [await completed(ctx, record) for record in records]
        await self.trail.record(ctx.tenant, records)

    async def by_itself(self, ctx: Context, code: str, reference: str, patients: Sequence[str], detail: str) -> None:
        """Record what the server has done by itself to a resource and to patients."""
        type_, _, id_ = reference.partition("/")
        record = Record(
            int(self._clock() * 1000), "rest", code, 200, type_, id_, principal=SYSTEM, patients=tuple(patients), detail=detail
        )
        await self.trail.record(ctx.tenant, [record])

    async def disclosed(
        self, tenant: str, message: str, order: str, patients: Sequence[str], *, channel: str, to: str, by: str, status: int,
        detail: str,
    ) -> None:  # fmt: skip
        """Record that a message, a Communication, was given to whoever delivers it, and what came of it.

        `order` is the reference of what asked for it, `by` of the person on whose behalf that was, if one is known.
        """
        record = Record(
            int(self._clock() * 1000),
            DISCLOSURE,
            channel,
            status,
            "Communication",
            message,
            principal=SYSTEM,
            client=to,
            user=by,
            patients=tuple(patients),
            detail=detail,
            about=order,
        )
        await self.trail.record(tenant, [record], patient=True)

    async def event(
        self, tenant: str, kind: str, code: str, status: int = 200, *, principal: str = "", client: str = "", address: str = "",
        id_: str = "", request_id: str = "", detail: str = "",
    ) -> None:  # fmt: skip
        """Record what happened at a door: a login, a download."""
        record = Record(
            int(self._clock() * 1000),
            kind,
            code,
            status,
            type="Binary" if id_ else "",
            id=id_,
            principal=principal,
            client=client,
            address=address,
            request_id=request_id,
            detail=detail,
        )
        await self.trail.record(tenant, [record])

    async def refused(self, tenant: str, code: str, status: int, address: str, request_id: str, detail: str) -> None:
        """Record that somebody was not let in; of very many from one address only some, and how many were left out."""
        now = self._clock()
        seen = self._refusals.get(address)
        if seen is None:
            if len(self._refusals) >= MOST:
                self._refusals.popitem(last=False)
            seen = self._refusals[address] = _Refusals(now)
        elif now - seen.since >= MINUTE:
            seen.since, seen.count = now, 0
        seen.count += 1
        if seen.count > OFTEN:
            seen.missed += 1
            return
        missed, seen.missed = seen.missed, 0
        record = Record(
            int(now * 1000), "refused", code, status, address=address, request_id=request_id, detail=detail, missed=missed
        )
        await self.trail.record(tenant, [record])


@dataclass(slots=True)
class _Refusals:
    since: float
    count: int = 0
    missed: int = 0
