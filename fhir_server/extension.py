"""What an extension adds to the server (docs/extensions.md).

An extension is a module with a function `register(server)`; the setting `extensions` names those that are loaded. It
registers what it has: nothing of it is known to the server otherwise, and nothing of the registration outlives the
`Extensions` that it makes.
"""

import importlib
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from pydantic_settings import BaseSettings

from fhir_server.config import Settings
from fhir_server.engine import OPERATIONS
from fhir_server.events.consumer import Consumer, ContextOf
from fhir_server.events.event import Naming
from fhir_server.exchange import Behaviour, Context, Draft, Operation, Resource
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import Issue
from fhir_server.operations.apply_activity import Inputs
from fhir_server.resources import BEHAVIOURS
from fhir_server.store.versions import Version

if TYPE_CHECKING:
    import typer
    from fastapi import APIRouter

    from fhir_server.doctor import Finding

S = TypeVar("S", bound=BaseSettings)


class ExtensionError(RuntimeError):
    """An extension can not be loaded; the message says which one and why."""


class Extension(Protocol):
    """The module of an extension."""

    def register(self, server: "Server") -> None:
        """Add to the server what the extension has."""
        ...


@dataclass(frozen=True, slots=True)
class Routes:
    """Paths beside the FHIR door. The router is made where requests are answered, and only there."""

    prefix: str
    """Such as `/api/v1/prm/patients`."""
    router: "Callable[[], APIRouter]"


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands below `fhir-server`. They are made where one of them is called, or their help is asked for."""

    name: str
    app: "Callable[[], typer.Typer]"


@dataclass(frozen=True, slots=True)
class Task:
    """Work that goes on for as long as the server runs, in one process of all; when it ends it is begun again."""

    name: str
    work: Callable[[ContextOf], Coroutine[Any, Any, None]]
    everywhere: bool = False
    """Whether every publisher does it, since what it does is divided by other means."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work that is queued, piece by piece, and done by workers (`fhir-server worker`).

    A piece comes at least once and may come twice or, when the broker forgets it, never: what it is about has to be in
    the database. What `run` raises is logged, and the piece is not repeated.
    """

    name: str
    run: Callable[..., Coroutine[Any, Any, None]]
    """Called with a ContextOf and the arguments, which are texts; the first is a tenant, or a key that begins with `tenant/`."""


@dataclass(frozen=True, slots=True)
class Extensions:
    """All that the loaded extensions have registered."""

    routes: tuple[Routes, ...] = ()
    operations: Mapping[tuple[str, str], Operation] = field(default_factory=dict)
    """By name and type, as the engine's."""
    behaviours: Mapping[str, Behaviour] = field(default_factory=lambda: BEHAVIOURS)
    """By resource type, those of the server included."""
    namings: Mapping[str, Naming] = field(default_factory=dict)
    """What changes of resource types mean, by type."""
    consumers: tuple[Consumer, ...] = ()
    tasks: tuple[Task, ...] = ()
    jobs: Mapping[str, Job] = field(default_factory=dict)
    settings: tuple[BaseSettings, ...] = ()
    checks: "tuple[Callable[[], Iterable[Finding]], ...]" = ()
    commands: Mapping[str, Commands] = field(default_factory=dict)


class Server:
    """What an extension registers at.

    Every method raises an ExtensionError when what is added has a name that is taken.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._routes: list[Routes] = []
        self._operations: dict[tuple[str, str], Operation] = {}
        self._behaviours: dict[str, Behaviour] = dict(BEHAVIOURS)
        self._namings: dict[str, Naming] = {}
        self._consumers: dict[str, Consumer] = {}
        self._tasks: dict[str, Task] = {}
        self._jobs: dict[str, Job] = {}
        self._checks: list[Callable[[], Iterable[Finding]]] = []
        self._settings: dict[type[BaseSettings], BaseSettings] = {}
        self._commands: dict[str, Commands] = {}

    def add_routes(self, prefix: str, router: "Callable[[], APIRouter]") -> None:
        """Serve a FastAPI router below a prefix, beside the FHIR door."""
        if not prefix.startswith("/") or prefix.startswith("/fhir"):
            raise ExtensionError(f"Routes can not be below {prefix!r}: /fhir is the FHIR door.")
        if any(_overlap(prefix, other.prefix) for other in self._routes):
            raise ExtensionError(f"Another extension has routes at {prefix!r}.")
        self._routes.append(Routes(prefix, router))

    def add_operation(self, operation: Operation) -> None:
        """Answer to an operation, at the FHIR door and in the CapabilityStatement."""
        for type_ in operation.types or {""}:
            key = operation.name, type_
            if key in OPERATIONS or key in self._operations:
                raise ExtensionError(f"There is an operation ${operation.name} of {type_ or 'all types'} already.")
            self._operations[key] = operation

    def add_behaviour(self, type_: str, behaviour: Behaviour) -> None:
        """Let a resource type do more at its writes, after what it does already."""
        _check_type(type_)
        present = self._behaviours.get(type_)
        self._behaviours[type_] = behaviour if present is None else Both(present, behaviour)

    def name_events(self, type_: str, naming: Naming) -> None:
        """Give changes of a resource type names of their own."""
        _check_type(type_)
        if type_ in self._namings:
            raise ExtensionError(f"Another extension names the events of {type_}.")
        self._namings[type_] = naming

    def add_consumer(self, consumer: Consumer) -> None:
        """Tell a consumer what happens."""
        if consumer.name in self._consumers:
            raise ExtensionError(f"There is a consumer {consumer.name!r} already.")
        self._consumers[consumer.name] = consumer

    def add_task(self, task: Task) -> None:
        """Have work done for as long as the server runs."""
        if task.name in self._tasks:
            raise ExtensionError(f"There is a task {task.name!r} already.")
        self._tasks[task.name] = task

    def add_job(self, job: Job) -> None:
        """Have workers do what is queued under a name (`fhir_server.jobs.JobQueue`)."""
        if job.name in self._jobs:
            raise ExtensionError(f"There is a job {job.name!r} already.")
        self._jobs[job.name] = job

    def add_commands(self, name: str, app: "Callable[[], typer.Typer]") -> None:
        """Add a group of commands: `fhir-server NAME …`."""
        if name in self._commands:
            raise ExtensionError(f"There are commands {name!r} already.")
        self._commands[name] = Commands(name, app)

    def add_check(self, check: "Callable[[], Iterable[Finding]]") -> None:
        """Let `fhir-server doctor` say what is found of the extension's own."""
        self._checks.append(check)

    def add_settings(self, kind: type[S]) -> S:
        """Read settings of the extension's own, whose prefix is not `FHIR_`, and return them."""
        if kind.model_config.get("env_prefix", "") in ("", "FHIR_"):
            raise ExtensionError(f"{kind.__name__} needs an env_prefix of its own.")
        if kind not in self._settings:
            self._settings[kind] = kind()
        return cast("S", self._settings[kind])

    def extensions(self) -> Extensions:
        """Return all that was added."""
        return Extensions(
            routes=tuple(self._routes),
            operations=MappingProxyType(dict(self._operations)),
            behaviours=MappingProxyType(dict(self._behaviours)),
            namings=MappingProxyType(dict(self._namings)),
            consumers=tuple(self._consumers.values()),
            tasks=tuple(self._tasks.values()),
            jobs=MappingProxyType(dict(self._jobs)),
            settings=tuple(self._settings.values()),
            checks=tuple(self._checks),
            commands=MappingProxyType(dict(self._commands)),
        )


class Both(Behaviour):
    """One behaviour after the other."""

    def __init__(self, first: Behaviour, second: Behaviour) -> None:
        self._first = first
        self._second = second

    async def before_write(self, ctx: Context, draft: Draft) -> Draft:
        """Let the second see what the first has made of it."""
        return await self._second.before_write(ctx, await self._first.before_write(ctx, draft))

    async def after_write(self, ctx: Context, version: Version, previous: Version | None) -> tuple[Issue, ...]:
        """Do what follows from both."""
        issues = await self._first.after_write(ctx, version, previous)
        return (*issues, *await self._second.after_write(ctx, version, previous))

    async def apply(self, ctx: Context, definition: Resource, inputs: Inputs) -> Resource | None:
        """Take what the second makes of it, else what the first does."""
        found = await self._second.apply(ctx, definition, inputs)
        return found if found is not None else await self._first.apply(ctx, definition, inputs)


def load(settings: Settings) -> Extensions:
    """Load the extensions that the settings name, in their order.

    Raises:
        ExtensionError: one of them is not there, is none, or is in the way of another.
    """
    server = Server(settings)
    for name in filter(None, (part.strip() for part in settings.extensions.split(","))):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ExtensionError(f"The extension {name!r} (FHIR_EXTENSIONS) is not installed: {error}.") from error
        register = getattr(module, "register", None)
        if not callable(register):
            raise ExtensionError(f"{name!r} (FHIR_EXTENSIONS) is no extension: it has no function `register`.")
        register(server)
    return server.extensions()


def _check_type(type_: str) -> None:
    if type_ not in RESOURCE_TYPES:
        raise ExtensionError(f"{type_!r} is not a resource type of FHIR R4.")


def _overlap(one: str, other: str) -> bool:
    one, other = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return one.startswith(other) or other.startswith(one)
