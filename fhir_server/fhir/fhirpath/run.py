"""One run of an expression over a value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fhirpathpy.engine.nodes import FP_Type

from fhir_server.fhir.fhirpath.nodes import Node, is_a
from fhir_server.fhir.fhirpath.parse import FhirPathError, Tree

Items = list[Any]
"""Nodes, and values that are in no resource: str, bool, int, Decimal and fhirpathpy's dates and quantities."""

_SYSTEM_TYPES = {bool: "Boolean", str: "String", int: "Integer"}


@dataclass(frozen=True, slots=True)
class Scope:
    """What `$this`, `$index` and `$total` are at some place of an expression."""

    this: Items
    index: int | None = None
    total: Items = field(default_factory=list)


class Budget:
    """How many steps evaluations may still take together; a step costs about half a microsecond."""

    __slots__ = ("left",)

    def __init__(self, steps: int) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Count steps.

        Raises:
            FhirPathError: there were too many.
        """
        self.left -= steps
        if self.left < 0:
            raise FhirPathError("it takes too many steps")


class Evaluation:
    """One run of an expression, with its variables and its budget, if it has one."""

    __slots__ = ("budget", "handlers", "strict", "variables")

    def __init__(
        self, handlers: Mapping[str, "Handler"], variables: Mapping[str, Any], budget: Budget | None, *, strict: bool
    ) -> None:
        self.handlers = handlers
        self.variables = variables
        self.budget = budget
        self.strict = strict
        """Whether an element that R4 does not know is an error, outside criteria; else there just is none."""

    def spend(self, steps: int) -> None:
        """Count steps.

        Raises:
            FhirPathError: there were too many.
        """
        if self.budget is not None:
            self.budget.spend(steps)

    def run(self, tree: Tree, focus: Items, scope: Scope) -> Items:
        """Return what a part of the expression yields on `focus`."""
        self.spend(1 + len(focus))
        handler = self.handlers.get(tree["type"])
        if handler is None:
            raise FhirPathError(f"{tree['type']} is not supported")
        return handler(self, tree, focus, scope)


Handler = Callable[[Evaluation, Tree, Items, Scope], Items]


def is_of_type(item: Any, specifier: str) -> bool:
    """Tell whether an item is of the type that `FHIR.Patient`, `Patient` or `System.String` names."""
    namespace, _, name = specifier.replace("`", "").rpartition(".")
    if isinstance(item, Node):
        return namespace in {"", "FHIR"} and is_a(item.type, name)
    if namespace not in {"", "System"}:
        return False
    if isinstance(item, FP_Type):
        return type(item).__name__.removeprefix("FP_") == name
    return _SYSTEM_TYPES.get(type(item), type(item).__name__) == name
