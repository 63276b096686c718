"""What travels between the floors of the server: a `Call` goes in under a `Context`, a `Reply` comes out.

Nothing here knows HTTP. A Bundle replays its entries as Calls, the command line and the PRM features make Calls of
their own, and the HTTP face only translates.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fhir_server.fhir.outcome import Issue

if TYPE_CHECKING:
    from fhir_server.blobs.service import Blobs
    from fhir_server.config import Settings
    from fhir_server.operations.apply_activity import Inputs
    from fhir_server.search.registry import Registry
    from fhir_server.security.audit.recorder import Recorder
    from fhir_server.security.permissions import Permissions
    from fhir_server.store.repository import Repository
    from fhir_server.store.versions import Version

Resource = dict[str, Any]
Params = tuple[tuple[str, str], ...]
Return = Literal["", "minimal", "representation", "OperationOutcome"]


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Prefer:
    """The `Prefer` header: https://hl7.org/fhir/R4/http.html#ops and #async."""

    return_: Return = ""
    strict: bool = False
    respond_async: bool = False


@dataclass(frozen=True, slots=True)
class OperationEntry:
    """An operation as the CapabilityStatement shows it; without types it is for all."""

    name: str
    definition: str
    types: frozenset[str]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking."""

    id: str = "anonymous"
    """The subject of the token: a person, or a client that acts for itself."""
    scopes: frozenset[str] = frozenset()
    tenant: str = ""
    """Whose data may be asked for; "" stands for the default tenant."""
    issuer: str = ""
    client: str = ""
    """The client (app) that sends the request."""
    roles: frozenset[str] = frozenset()
    fhir_user: str = ""
    """The resource that describes the person, such as `Practitioner/1`."""
    patient: str = ""
    """The id of the patient in the context of a launch."""
    encounter: str = ""
    """The id of the encounter in the context of a launch."""
    break_glass: str = ""
    """The reason why restrictions of roles and labels are lifted for this request."""


@dataclass(frozen=True, slots=True)
class Call:
    """One interaction or operation that is asked for.

    `interaction` is a code of https://hl7.org/fhir/R4/valueset-system-restful-interaction.html or
    valueset-type-restful-interaction.html (`read`, `vread`, `update`, `patch`, `delete`, `history-instance`,
    `history-type`, `history-system`, `create`, `search-type`, `search-system`, `search-compartment`, `capabilities`,
    `transaction`, `batch`), or `operation`. Conditional forms have no `id` and their criteria in `params`.
    """

    interaction: str
    type: str = ""
    id: str = ""
    version: str = ""
    operation: str = ""
    compartment: tuple[str, str] | None = None
    """Type and id of the compartment that a `search-compartment` or a compartment operation is about."""
    params: Params = ()
    """Query parameters and form parameters, decoded, in their order. Result parameters of the HTTP face (`_format`,
    `_pretty`) are not among them."""
    resource: Any = None
    """The decoded body: a resource, or the array of a JSON Patch."""
    if_match: str = ""
    if_none_match: str = ""
    if_none_exist: str | None = None
    if_modified_since: str = ""
    prefer: Prefer = field(default_factory=Prefer)
    affects_state: bool = True
    """False when an operation was asked for by GET."""
    encoded: bool = False
    """Whether whoever asks wants nothing but the JSON: a read may then answer with `Reply.encoded`, and entries of a
    search may hold `msgspec.Raw` for a resource."""
    raw: bool = False
    """Whether a read of a Binary is to be answered with its bytes (`Reply.body`)."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the Reply, where it has none of its own: what is known before the Call is handled."""


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes that are sent as they are, and read only as far as they are sent."""

    content_type: str
    size: int
    tag: str
    """The same for the same bytes."""
    read: Callable[[int, int], AsyncIterator[bytes]]
    """Yields the bytes from the first place up to the second."""
    name: str = ""
    """What to call a file that they are saved in."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a Call.

    `resource` is the body, or None. `version` and `last_modified` become `ETag` and `Last-Modified`; `location` is
    relative to the base (`Patient/1/_history/1`). `issues` go into an OperationOutcome where the client prefers one.
    """

    status: int = 200
    resource: Resource | None = None
    version: str = ""
    last_modified: datetime | None = None
    location: str = ""
    issues: tuple[Issue, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    encoded: bytes | None = None
    """The JSON of the resource, instead of `resource`; only where the Call asked for it."""
    body: Body | None = None
    """Bytes to send as they are, instead of a resource."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A resource that is about to be stored."""

    resource: Resource
    """Valid R4. It still has the id that the client sent, if any."""
    method: str
    """`POST`, `PUT` or `PATCH`."""
    previous: "Version | None" = None
    """The version that this one will follow; perhaps a deletion."""
    issues: tuple[Issue, ...] = ()
    """Warnings for the Reply."""
    claims: tuple[str, ...] = ()
    """Keys that this resource is to hold for ever; the write fails where another one holds them."""
    id: str = ""
    """The id under which it will be stored."""

    @property
    def creates(self) -> bool:
        """Whether there is no living resource of this id yet."""
        return self.previous is None or self.previous.deleted

    @property
    def names_its_id(self) -> bool:
        """Whether the client chose the id, or chooses it anew by a PUT."""
        return self.method != "POST" and "id" in self.resource


class Behaviour(Protocol):
    """What one resource type does beyond the generic; see `fhir_server.resources`.

    Whoever inherits from it may leave out any of them.
    """

    async def before_write(self, ctx: "Context", draft: Draft) -> Draft:
        """Return what to store, perhaps with warnings, or raise a FhirError to refuse it.

        It runs again when others were faster, so it must have no effects that do harm when they happen twice or in vain.
        """
        del ctx
        return draft

    async def after_write(self, ctx: "Context", version: "Version", previous: "Version | None") -> tuple[Issue, ...]:
        """Do what follows from a version that is durable by now, a deletion included; return issues for the Reply.

        It runs after the commit of the whole transaction where there is one, outside of it. What it raises is logged and
        changes nothing for the client; what must happen even if this process dies has to follow the change feed instead.
        """
        del ctx, version, previous
        return ()

    async def apply(self, ctx: "Context", definition: Resource, inputs: "Inputs") -> Resource | None:
        """Return what a definition of this type becomes by $apply; None to leave that to the generic operation."""
        del ctx, definition, inputs
        return None


Dispatch = Callable[["Context", Call], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation: https://hl7.org/fhir/R4/operations.html.

    `types` are the resource types that it is for (empty: all), `levels` where it may be asked for.
    """

    name: str
    handler: Dispatch
    definition: str
    levels: frozenset[str]
    types: frozenset[str] = frozenset()
    affects_state: bool = True


@dataclass(frozen=True, slots=True)
class Context:
    """Under what a Call is handled: whose data, on whose behalf, with which means."""

    repo: "Repository"
    """Bound to the tenant; the only way to the data."""
    settings: "Settings"
    dispatch: Dispatch
    """`engine.handle`, for those that replay Calls (Bundles, operations)."""
    base_url: str
    """The public base of the FHIR service, without a slash at its end: `http://127.0.0.1:8080/fhir`."""
    registry: "Registry | None" = None
    """The search parameters of the tenant; None stands for those of R4."""
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    """By resource type; that of `*` is for all, after their own."""
    operations: tuple[OperationEntry, ...] = ()
    """What the CapabilityStatement says of the engine's operations."""
    added_operations: Mapping[tuple[str, str], Operation] = field(default_factory=dict)
    """Operations of extensions, by name and type, beside those of the engine."""
    principal: Principal = field(default_factory=Principal)
    access: "Permissions | None" = None
    """What the principal may do; None: everything, as for the server itself and where no authentication is configured."""
    blobs: "Blobs | None" = None
    """Where binary data is kept; None: in the resources."""
    request_id: str = ""
    now: Callable[[], datetime] = utc_now
    recorder: "Recorder | None" = None
    """What keeps the audit trail; None: none is kept."""
    address: str = ""
    """Where the request comes from."""

    @property
    def tenant(self) -> str:
        """The tenant whose data this is about."""
        return self.repo.tenant

    def within(self, repo: "Repository") -> "Context":
        """Return the same context over another view of the data, such as that of a transaction."""
        return replace(self, repo=repo)
