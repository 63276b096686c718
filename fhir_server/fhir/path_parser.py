"""The grammar of FHIRPath, as far as search parameters use it.

https://hl7.org/fhir/R4/fhirpath.html, http://hl7.org/fhirpath/N1/grammar.html
"""

import re
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^'\\]|\\.)*')
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`]+`)
    | (?P<variable>%[A-Za-z]+)
    | (?P<this>\$this)
    | (?P<symbol>!=|[.()\[\]|=,])
    )""",
    re.VERBOSE,
)
_STRING_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
_MAX_LENGTH = 20_000
_MAX_DEPTH = 50


class PathError(ValueError):
    """The expression is malformed, or uses what search parameters may not use here."""


@dataclass(frozen=True, slots=True)
class Literal:
    """`'x'`, `1`, `true`."""

    value: Any


@dataclass(frozen=True, slots=True)
class Context:
    """What the expression is applied to (`$this`), or the resource that it is in (`%resource`)."""

    resource: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """`base.name`."""

    base: "Node"
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """`base.name(arguments)`."""

    base: "Node"
    name: str
    arguments: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Index:
    """`base[position]`."""

    base: "Node"
    position: int


@dataclass(frozen=True, slots=True)
class Binary:
    """`left operator right`, where the operator is `|`, `=`, `!=`, `and` or `or`."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class TypeOperation:
    """`base is type`, `base as type`."""

    operator: str
    base: "Node"
    type: str


Node = Literal | Context | Member | Call | Index | Binary | TypeOperation


def parse(expression: str) -> Node:
    """Return the tree of an expression.

    Raises:
        PathError: it is none, or one with more than search parameters may use.
    """
    parser = _Parser(expression)
    node = parser.disjunction()
    parser.end()
    return node


class _Parser:
    def __init__(self, expression: str) -> None:
        if len(expression) > _MAX_LENGTH:
            raise PathError(f"the expression has more than {_MAX_LENGTH} characters")
        self._tokens = list(_tokens(expression))
        self._position = 0
        self._depth = 0

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._position]

    def _next(self) -> tuple[str, str]:
        token = self._tokens[self._position]
        self._position += 1
        return token

    def _accept(self, *texts: str) -> str:
        kind, text = self._peek()
        if text in texts and kind in ("symbol", "name"):
            self._position += 1
            return text
        return ""

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise PathError(f"expected {text!r} instead of {self._peek()[1] or 'the end'!r}")

    def end(self) -> None:
        if self._peek()[0] != "end":
            raise PathError(f"{self._peek()[1]!r} is not supported here")

    def disjunction(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise PathError(f"the expression is nested deeper than {_MAX_DEPTH} levels")
        node = self._conjunction()
        while self._accept("or"):
            node = Binary("or", node, self._conjunction())
        self._depth -= 1
        return node

    def _conjunction(self) -> Node:
        node = self._equality()
        while self._accept("and"):
            node = Binary("and", node, self._equality())
        return node

    def _equality(self) -> Node:
        node = self._union()
        while operator := self._accept("=", "!="):
            node = Binary(operator, node, self._union())
        return node

    def _union(self) -> Node:
        node = self._typed()
        while self._accept("|"):
            node = Binary("|", node, self._typed())
        return node

    def _typed(self) -> Node:
        node = self._invocation()
        while operator := self._accept("is", "as"):
            node = TypeOperation(operator, node, self._type_name())
        return node

    def _type_name(self) -> str:
        name = self._name()
        return self._name() if name in ("FHIR", "System") and self._accept(".") else name

    def _name(self) -> str:
        kind, text = self._next()
        if kind != "name":
            raise PathError(f"expected a name instead of {text or 'the end'!r}")
        return text.strip("`")

    def _invocation(self) -> Node:
        node = self._term()
        while symbol := self._accept(".", "["):
            if symbol == ".":
                node = self._step(node)
            else:
                kind, text = self._next()
                if kind != "number" or not text.isdecimal():
                    raise PathError(f"{text!r} is no index that is supported")
                node = Index(node, int(text))
                self._expect("]")
        return node

    def _term(self) -> Node:
        kind, text = self._peek()
        if kind == "name" and text not in ("true", "false"):
            return self._step(Context())
        self._position += 1
        if kind == "name":
            return Literal(text == "true")
        if kind == "string":
            return Literal(_STRING_ESCAPE.sub(_unescape, text[1:-1]))
        if kind == "number":
            return Literal(float(text) if "." in text else int(text))
        if kind == "this":
            return Context()
        if kind == "variable":
            return _variable(text)
        if text == "(":
            node = self.disjunction()
            self._expect(")")
            return node
        raise PathError(f"{text or 'the end'!r} is not supported here")

    def _step(self, base: Node) -> Node:
        if self._peek()[0] == "this":
            raise PathError("$this is not supported after a dot")
        name = self._name()
        if not self._accept("("):
            return Member(base, name)
        arguments: list[Node] = []
        if not self._accept(")"):
            arguments.append(self.disjunction())
            while self._accept(","):
                arguments.append(self.disjunction())
            self._expect(")")
        return Call(base, name, tuple(arguments))


def _tokens(expression: str) -> list[tuple[str, str]]:
    found, position, text = [], 0, expression.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise PathError(f"{text[position : position + 20].strip()!r} is not supported")
        found.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return [*found, ("end", "")]


def _unescape(match: re.Match[str]) -> str:
    text = match[1]
    return chr(int(text[1:], 16)) if len(text) > 1 else _ESCAPED.get(text, text)


def _variable(text: str) -> Node:
    if text in ("%resource", "%rootResource"):
        return Context(resource=True)
    if text == "%context":
        return Context()
    raise PathError(f"the variable {text} is not supported")
