"""Text to syntax tree."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from antlr4 import CommonTokenStream, InputStream
from antlr4.error.ErrorListener import ErrorListener
from antlr4.tree.Tree import TerminalNode
from fhirpathpy.parser.generated.FHIRPathLexer import FHIRPathLexer
from fhirpathpy.parser.generated.FHIRPathParser import FHIRPathParser

MAX_LENGTH = 10_000
_MEMBER = re.compile(r"'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`|(?<=\.)(?:div|mod|and|or|xor|implies)\b")
SAFE_FUNCTIONS = frozenset(
    """all allFalse allTrue anyFalse anyTrue as children combine contains count distinct empty endsWith exclude exists
    extension first hasValue iif indexOf intersect is isDistinct last length lower not now ofType select single skip
    startsWith subsetOf substring supersetOf tail take toBoolean toDate toDateTime toDecimal toInteger toQuantity
    toString toTime today trim union upper where""".split()  # noqa: SIM905  # A list of 46 literals reads worse.
)
"""Functions that a client's own expression may use: none whose cost a budget of steps can not bound, such as regular
expressions and powers."""

Tree = dict[str, Any]


class FhirPathError(ValueError):
    """An expression that is no FHIRPath, or that can not be evaluated on this value."""


class Expression:
    """A parsed expression; get one from `compile_expression`."""

    __slots__ = ("functions", "text", "tree")

    def __init__(self, text: str, tree: Tree) -> None:
        self.text = text
        self.tree = tree
        self.functions = frozenset(_functions(tree))
        """Names of the functions that it calls."""


@lru_cache(maxsize=2048)
def compile_expression(text: str) -> Expression:
    """Parse an expression.

    Raises:
        FhirPathError: it is no FHIRPath.
    """
    if len(text) > MAX_LENGTH:
        raise FhirPathError(f"it is longer than {MAX_LENGTH} characters")
    try:
        return Expression(text, _parse(text))
    except RecursionError:
        raise FhirPathError("it is nested too deep") from None


class _Strict(ErrorListener):  # type: ignore[misc]  # antlr4 carries no types.
    def syntaxError(self, _recognizer: Any, _symbol: Any, _line: int, column: int, message: str, _error: Any) -> None:  # noqa: N802  # The name is antlr4's.
        raise FhirPathError(f"at character {column + 1}: {message}")


def _delimited(match: re.Match[str]) -> str:
    """Delimit a keyword that is the name of an element: the grammar reads `text.div` as a division."""
    return match[0] if match[0][0] in "'`" else f"`{match[0]}`"


def _parse(text: str) -> Tree:
    lexer = FHIRPathLexer(InputStream(_MEMBER.sub(_delimited, text)))
    parser = FHIRPathParser(CommonTokenStream(lexer))
    for recognizer in (lexer, parser):
        recognizer.removeErrorListeners()
        recognizer.addErrorListener(_Strict())
    return _tree(parser.entireExpression().expression())  # type: ignore[no-untyped-call]


def _tree(rule: Any) -> Tree:
    """Return a rule of the grammar in the form that fhirpathpy evaluates.

    Its own listener also notes the text of every compound, which takes seconds for long expressions.
    """
    type_ = type(rule).__name__.removesuffix("Context")
    tree: Tree = {"type": type_, "terminalNodeText": []}
    if type_ == "Identifier" or type_.endswith("Literal") or type_ == "TypeSpecifier":
        tree["text"] = rule.getText()
    for child in rule.getChildren():
        if isinstance(child, TerminalNode):
            tree["terminalNodeText"].append(child.getText())
        else:
            tree.setdefault("children", []).append(_tree(child))
    return tree


def identifiers(tree: Tree) -> Iterator[str]:
    """Yield the identifiers in a tree: the parts of `FHIR.Patient`, where it is an argument."""
    if tree["type"] == "Identifier":
        yield str(tree["text"])
    for child in tree.get("children", ()):
        yield from identifiers(child)


def _functions(node: Tree) -> Iterator[str]:
    if node["type"] == "Functn":
        yield str(node["children"][0]["text"]).strip("`")
    for child in node.get("children", ()):
        yield from _functions(child)
