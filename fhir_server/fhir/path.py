"""FHIRPath of search parameters, compiled to closures.

https://hl7.org/fhir/R4/searchparameter-definitions.html#SearchParameter.expression, https://hl7.org/fhir/R4/fhirpath.html

An expression is compiled for one resource type: branches of a union that are about other types vanish, choices become
their JSON names, and the FHIR type of each value is known beforehand. `as` keeps what is of the type, as `ofType` does.
`resolve()` reads nothing: what can follow it is `is`, which is answered from the reference itself.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhir_server.fhir import path_steps as steps
from fhir_server.fhir.definitions import TYPES, Element
from fhir_server.fhir.path_parser import (
    Binary,
    Call,
    Context,
    Index,
    Literal,
    Member,
    Node,
    PathError,
    TypeOperation,
    parse,
)

__all__ = ["Branch", "CompiledPath", "PathError", "Value", "compile_branches", "compile_path"]

Value = tuple[str, Any]
"""The FHIR type of a value, and the value."""

_RESOLVED = "(resolved)"
_TYPE_NAMES = {name.lower(): name for name in TYPES}
_LITERALS: Mapping[type, str] = {bool: "boolean", str: "string", int: "integer", float: "decimal"}


@dataclass(frozen=True, slots=True)
class Branch:
    """One way from the context to values of one FHIR type."""

    type: str
    get: steps.Getter
    many: bool = False
    """Whether it may find more than one value."""
    path: str = ""
    """Where the values stand, choices without their type: two branches of the same path exclude each other."""
    top: str = ""
    """The member of the context without which nothing is found; "" where that can not be said."""
    element: Element | None = None
    parent: "Branch | None" = None


@dataclass(frozen=True, slots=True)
class CompiledPath:
    """A compiled expression; call it with a resource (or a node and the resource around it)."""

    branches: tuple[Branch, ...]

    def __call__(self, node: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> list[Value]:
        """Return what is found in `node`, in the resource `root`."""
        around = node if root is None else root
        return [
            (value["resourceType"] if branch.type == "Resource" else branch.type, value)
            for branch in self.branches
            for value in branch.get(node, around)
            if value is not None
        ]

    @property
    def repeats(self) -> bool:
        """Whether it may find more than one value in a valid resource."""
        return any(branch.many for branch in self.branches) or len({branch.path for branch in self.branches}) > 1

    @property
    def types(self) -> frozenset[str]:
        """The FHIR types that it may find."""
        return frozenset(branch.type for branch in self.branches)


def compile_path(expression: str, type_: str) -> Callable[[Mapping[str, Any]], list[Value]]:
    """Compile an expression for resources of one type; the result gives the values with their FHIR types.

    Raises:
        PathError: it is malformed, or uses what is not supported, or names an element that does not exist.
    """
    return compile_branches(expression, type_)


def compile_branches(expression: str, type_: str, context: Iterable[str] = ()) -> CompiledPath:
    """Compile an expression for resources of one type, applied to nodes of the types `context` (default: the resource).

    Raises:
        PathError: as `compile_path`.
    """
    tree = parse(expression)
    found = [branch for name in dict.fromkeys(context or (type_,)) for branch in _Compiler(type_, name).compile(tree)]
    if any(branch.type == _RESOLVED for branch in found):
        raise PathError("resolve() is supported before `is` only")
    return CompiledPath(tuple(found))


class _Compiler:
    """Compiles for one type of context inside one type of resource."""

    def __init__(self, resource_type: str, context_type: str) -> None:
        self._resource_type = resource_type
        self._context_type = context_type

    def compile(self, node: Node) -> list[Branch]:
        """Return the branches of a tree."""
        match node:
            case Literal():
                return [Branch(_LITERALS[type(node.value)], steps.constant(node.value), path=repr(node.value))]
            case Context():
                return [self._context(node)]
            case Member():
                return self._member(node)
            case Index():
                return [_sliced(branch, node.position, node.position + 1) for branch in self.compile(node.base)]
            case Call():
                return self._call(node)
            case Binary():
                return self._binary(node)
            case TypeOperation():
                return self._typed(node.operator, node.base, node.type)

    def _context(self, node: Context) -> Branch:
        if node.resource:
            return Branch(self._resource_type, steps.root, path="%resource")
        return Branch(self._context_type, steps.identity, path=self._context_type)

    def _member(self, node: Member) -> list[Branch]:
        if isinstance(node.base, Context) and node.name[0].isupper():
            return self._type_prefix(node)
        bases = self.compile(node.base)
        found = [step for base in bases for step in _steps(base, node.name)]
        if bases and not found:
            raise PathError(f"{bases[0].type} has no element {node.name!r}")
        return found

    def _type_prefix(self, node: Member) -> list[Branch]:
        context = self._context(Context())
        if node.name in _ancestry(context.type):
            return [context]
        if node.name not in TYPES:
            raise PathError(f"{node.name!r} is no type of R4")
        return []

    def _binary(self, node: Binary) -> list[Branch]:
        left, right = self.compile(node.left), self.compile(node.right)
        if node.operator == "|":
            return [*left, *right]
        if node.operator in ("=", "!="):
            return [_boolean(steps.compared(_getters(left), _getters(right), equal=node.operator == "="))]
        return [_boolean(steps.connected(_getters(left), _getters(right), decisive=node.operator == "or"))]

    def _typed(self, operator: str, base: Node, type_: str) -> list[Branch]:
        name = _TYPE_NAMES.get(type_.lower())
        if name is None:
            raise PathError(f"{type_!r} is no type of R4")
        branches = self.compile(base)
        if operator == "is":
            return [_boolean(steps.exists(_getters(_of_type(branches, name)), wanted=True))]
        return _of_type([branch for branch in branches if branch.type != _RESOLVED], name)

    def _call(self, node: Call) -> list[Branch]:
        handler = _FUNCTIONS.get((node.name, len(node.arguments)))
        if handler is None:
            raise PathError(f"the function {node.name}() with {len(node.arguments)} argument(s) is not supported")
        return handler(self, node)

    def where(self, node: Call) -> list[Branch]:
        """Keep what meets the criteria."""
        return [
            replace(branch, get=steps.filtered(branch.get, self._test(node.arguments[0], branch.type)))
            for branch in self.compile(node.base)
        ]

    def _test(self, criteria: Node, type_: str) -> steps.Test:
        match criteria:
            case Binary("=", Member(Context(False), name), Literal(value)) if not _many(type_, name) and not _is_choice(
                type_, name
            ):
                return steps.equals(name, value)
            case TypeOperation("is", Call(Context(False), "resolve", ()), target):
                return steps.points_to(target)
            case _:
                return steps.is_true(_getters(_Compiler(self._resource_type, type_).compile(criteria)))

    def exists(self, node: Call) -> list[Branch]:
        """Give whether anything (of the criteria) is there, or nothing for `empty()`."""
        branches = self.where(node) if node.arguments else self.compile(node.base)
        return [_boolean(steps.exists(_getters(branches), wanted=node.name == "exists"))]

    def negation(self, node: Call) -> list[Branch]:
        """Give the opposite of a boolean."""
        return [_boolean(steps.negated(_getters(self.compile(node.base))))]

    def first(self, node: Call) -> list[Branch]:
        """Keep the first or the last."""
        return [
            _sliced(branch, 0, 1) if node.name == "first" else _sliced(branch, -1, None) for branch in self.compile(node.base)
        ]

    def cast(self, node: Call) -> list[Branch]:
        """Apply a type operation in its form of a function."""
        operator = "is" if node.name == "is" else "as"
        return self._typed(operator, node.base, _type_argument(node))

    def extension(self, node: Call) -> list[Branch]:
        """Find extensions by their url, or whether there is one."""
        url = _string_argument(node)
        found = [step for base in self.compile(node.base) for step in _steps(base, "extension")]
        kept = [replace(branch, get=steps.filtered(branch.get, steps.with_url(url))) for branch in found]
        return [_boolean(steps.exists(_getters(kept), wanted=True))] if node.name == "hasExtension" else kept

    def resolve(self, node: Call) -> list[Branch]:
        """Mark references whose target is asked about."""
        return [replace(branch, type=_RESOLVED) for branch in self.compile(node.base)]

    def union(self, node: Call) -> list[Branch]:
        """Take both."""
        return [*self.compile(node.base), *self.compile(node.arguments[0])]

    def same(self, node: Call) -> list[Branch]:
        """Take what is there: index entries are a set anyway."""
        return self.compile(node.base)


_FUNCTIONS: Mapping[tuple[str, int], Callable[[_Compiler, Call], list[Branch]]] = {
    ("where", 1): _Compiler.where,
    ("exists", 0): _Compiler.exists,
    ("exists", 1): _Compiler.exists,
    ("empty", 0): _Compiler.exists,
    ("not", 0): _Compiler.negation,
    ("first", 0): _Compiler.first,
    ("last", 0): _Compiler.first,
    ("as", 1): _Compiler.cast,
    ("ofType", 1): _Compiler.cast,
    ("is", 1): _Compiler.cast,
    ("extension", 1): _Compiler.extension,
    ("hasExtension", 1): _Compiler.extension,
    ("resolve", 0): _Compiler.resolve,
    ("union", 1): _Compiler.union,
    ("combine", 1): _Compiler.union,
    ("distinct", 0): _Compiler.same,
}


def _steps(base: Branch, name: str) -> list[Branch]:
    if base.type == _RESOLVED:
        raise PathError("resolve() is supported before `is` only")
    if name == "extension" and base.parent is not None and base.element is not None and TYPES[base.type].kind == "primitive":
        beside = steps.primitive_extensions(base.parent.get, base.element.name)
        return [Branch("Extension", beside, many=True, path=f"{base.path}.extension", parent=base)]
    return [_step(base, element) for element in _elements(base.type, name)]


def _step(base: Branch, element: Element) -> Branch:
    many = element.max is None or element.max > 1
    return Branch(
        type=element.type,
        get=steps.child(base.get, element.name, many=many),
        many=base.many or many,
        path=f"{base.path}.{element.choice or element.name}",
        top=base.top or (element.name if base.get is steps.identity else ""),
        element=element,
        parent=base,
    )


def _elements(type_: str, name: str) -> list[Element]:
    elements = TYPES[type_].elements if type_ in TYPES else {}
    if name in elements:
        return [elements[name]]
    return [element for element in elements.values() if element.choice == name]


def _many(type_: str, name: str) -> bool:
    return any(element.max is None or element.max > 1 for element in _elements(type_, name))


def _is_choice(type_: str, name: str) -> bool:
    return any(element.name != name for element in _elements(type_, name))


def _ancestry(type_: str) -> list[str]:
    names = []
    while type_ in TYPES:
        names.append(type_)
        type_ = TYPES[type_].base
    return names


def _of_type(branches: Iterable[Branch], name: str) -> list[Branch]:
    found = []
    for branch in branches:
        if branch.type == _RESOLVED:
            found.append(replace(branch, get=steps.filtered(branch.get, steps.points_to(name))))
        elif branch.type == "Resource" and name != "Resource":
            found.append(replace(branch, type=name, get=steps.filtered(branch.get, steps.of_resource_type(name))))
        elif name in _ancestry(branch.type):
            found.append(branch)
    return found


def _sliced(branch: Branch, start: int, stop: int | None) -> Branch:
    return replace(branch, get=steps.sliced(branch.get, start, stop), many=False)


def _boolean(get: steps.Getter) -> Branch:
    return Branch("boolean", get, path="(boolean)")


def _getters(branches: Iterable[Branch]) -> Sequence[steps.Getter]:
    return [branch.get for branch in branches]


def _string_argument(node: Call) -> str:
    match node.arguments:
        case (Literal(str() as value),):
            return value
    raise PathError(f"{node.name}() takes one text")


def _type_argument(node: Call) -> str:
    match node.arguments:
        case (Member(Context() | Member(Context(), "FHIR" | "System"), name),):
            return name
    raise PathError(f"{node.name}() takes the name of a type")
