"""The library's tokenizer and parser, with strings and errors as jsonata.js has them."""

from __future__ import annotations

import math
import re
from typing import Any

from jsonata import jexception, parser, regex_engine, tokenizer

from statechain.asl.expressions.jsonata.library import Node

__all__ = ["parse_tree"]


UNICODE_ESCAPE = re.compile(r"[0-9a-fA-F]{4}", re.ASCII)
SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[Ee][-+]?[0-9]+)?", re.ASCII)
NO_OPERATORS = frozenset("!~")
"""Characters that end a name, and begin an operator of two, but are none alone."""

# The library formats values into its messages, and fails to format a function.
parser.Parser.Symbol.__repr__ = lambda _node: "function"

PADDING = "\0" * 4
"""Beyond the end, so that looking ahead finds characters that mean nothing."""


class _Tokenizer(tokenizer.Tokenizer):  # type: ignore[misc]
    position: int

    def __init__(self, text: str, engine: regex_engine.RegexEngine) -> None:
        super().__init__(text, engine)
        self.path = text + PADDING

    def next(self, prefix: bool) -> Any:  # noqa: ANN401 -- the library's token
        """Return the next token; ``prefix`` is false where an operand may begin. None at the end."""
        while self.position < self.length and self.path[self.position] in " \t\n\r":
            self.position += 1
        sign = self.path[self.position]
        if sign in {'"', "'"}:
            return self._string(sign)
        number = NUMBER.match(self.path, self.position)
        # The library would take it as infinite; jsonata.js refuses it.
        if number is not None and math.isinf(float(number[0])):
            raise jexception.JException("S0102", self.position, number[0])
        token = super().next(prefix)
        if token is not None and token.type == "operator" and token.value in NO_OPERATORS:
            raise jexception.JException("S0204", self.position, token.value)
        return token

    def _string(self, quote: str) -> Any:  # noqa: ANN401
        """Read a string literal; two escapes that are a surrogate pair are one character."""
        self.position += 1
        read: list[str] = []
        while self.position < self.length:
            sign = self.path[self.position]
            self.position += 1
            if sign == quote:
                return self.create("string", SURROGATE_PAIR.sub(_joined, "".join(read)))
            read.append(self._escaped() if sign == "\\" else sign)
        raise jexception.JException("S0101", self.position)

    def _escaped(self) -> str:
        sign = self.path[self.position]
        self.position += 1
        if sign == "u":
            digits = UNICODE_ESCAPE.match(self.path, self.position)
            if digits is None:
                raise jexception.JException("S0104", self.position - 1)
            self.position = digits.end()
            return chr(int(digits[0], 16))
        if sign not in self.escapes:
            raise jexception.JException("S0103", self.position - 1, sign)
        return str(self.escapes[sign])


def _joined(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16", "surrogatepass").decode("utf-16")


class _Parser(parser.Parser):  # type: ignore[misc]
    def process_ast(self, expr: Node) -> Node:
        """Return a node's syntax tree.

        ``a ?: b`` and ``a ?? b`` are conditions that have ``a`` twice: processed twice it would be negated twice where
        it is a negative number, and take time that doubles with each level. So it is processed once, and shared.
        """
        shared = None if expr is None or expr.type != "condition" else expr.then
        if shared is None or not (shared is expr.condition or shared in (expr.condition.arguments or ())):
            return super().process_ast(expr)
        made = parser.Parser.Symbol(self)
        made.type, made.position = "condition", expr.position
        made.condition = self.process_ast(expr.condition)
        self.push_ancestry(made, made.condition)
        made.then = made.condition if shared is expr.condition else made.condition.arguments[0]
        if expr._else is not None:  # noqa: SLF001 -- the library's name for the alternative
            made._else = self.process_ast(expr._else)  # noqa: SLF001
            self.push_ancestry(made, made._else)  # noqa: SLF001
        return made

    def parse(self, jsonata: str, regex_engine: regex_engine.RegexEngine) -> Node:
        """Return the syntax tree of an expression. Raises JException."""
        self.source = jsonata
        self.lexer = _Tokenizer(jsonata, regex_engine)
        self.advance()
        expression = self.expression(0)
        if self.node.id != "(end)":
            raise jexception.JException("S0201", self.node.position, self.node.value)
        tree = self.process_ast(expression)
        if tree.type == "parent" or tree.seeking_parent is not None:
            raise jexception.JException("S0217", tree.position, tree.type)
        return tree


def parse_tree(text: str, engine: regex_engine.RegexEngine) -> Node:
    """Return the syntax tree of an expression. Raises JException, or any error of the library."""
    try:
        return _Parser().parse(text, engine)
    except (RecursionError, jexception.JException):
        raise
    except RuntimeError as error:  # the library raises some of its messages without their codes
        code = next((code for code, said in jexception.JException.error_codes.items() if said == str(error)), None)
        if code is None:
            raise
        raise jexception.JException(code, 0) from error
