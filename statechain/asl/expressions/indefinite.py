"""Paths that may find several nodes, through python-jsonpath with the dialect of the States Language.

Wildcards, slices, unions, descendants and filters. The library's own extensions are refused, its regular expressions
are matched in linear time, and every node it passes counts against a budget. Imported with the first such path only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from re import Pattern
from typing import cast

import jsonpath
from jsonpath.exceptions import JSONPathError, JSONPathSyntaxError
from jsonpath.filter import BaseExpression, PrefixExpression, RegexLiteral
from jsonpath.lex import Lexer
from jsonpath.match import JSONPathMatch, NodeList
from jsonpath.parse import Parser
from jsonpath.segments import JSONPathChildSegment, JSONPathRecursiveDescentSegment, JSONPathSegment
from jsonpath.selectors import (
    Filter,
    FilterContext,
    IndexSelector,
    JSONPathSelector,
    NameSelector,
    SliceSelector,
    WildcardSelector,
)
from jsonpath.stream import TokenStream
from jsonpath.token import (
    TOKEN_CONTAINS,
    TOKEN_DDOT,
    TOKEN_EOF,
    TOKEN_FALSE,
    TOKEN_IN,
    TOKEN_LG,
    TOKEN_MISSING,
    TOKEN_NAME,
    TOKEN_NIL,
    TOKEN_NONE,
    TOKEN_NULL,
    TOKEN_RE_FLAGS,
    TOKEN_TRUE,
    TOKEN_UNDEFINED,
    Token,
)

from statechain.asl.effort import STEPS_ON_LOOP, need_time
from statechain.asl.expressions.jsonpath_forms import standard
from statechain.asl.expressions.regex import Match, Regex, RegexSyntaxError, compile_regex
from statechain.codec import JSONValue
from statechain.limits import Limits

__all__ = ["Search", "SearchFailed"]

KEYWORDS = {TOKEN_TRUE: "true", TOKEN_FALSE: "false", TOKEN_NULL: "null", TOKEN_NIL: "null", TOKEN_NONE: "null"}
WORDS = {*KEYWORDS, TOKEN_IN, TOKEN_CONTAINS, TOKEN_MISSING, TOKEN_UNDEFINED}
FOREIGN = {TOKEN_CONTAINS, TOKEN_MISSING, TOKEN_UNDEFINED, TOKEN_LG}
SELECTORS = (NameSelector, IndexSelector, SliceSelector, WildcardSelector, Filter)
UNMATCHABLE = "\x00"
STEPS_A_NODE = 16
"""Steps of a regular expression that take as long as passing a node."""


class SearchFailed(Exception):
    """A path cannot be compiled (``column`` is where) or its evaluation went past a bound."""

    def __init__(self, message: str, column: int = 0) -> None:
        self.column = column
        super().__init__(message)


class Search:
    """A compiled path: call it with a value for the list of all that it finds."""

    def __init__(self, path: str, limits: Limits) -> None:
        self._limit = limits.path_nodes
        self._environment = _Environment(limits)
        text, column_in = standard(path)
        try:
            query = self._environment.compile(text)
        except (JSONPathError, RegexSyntaxError, RecursionError) as error:
            raise _uncompilable(error, column_in) from error
        except (ValueError, OverflowError) as error:  # the library takes 1e9 for an index, and any number of digits
            raise SearchFailed("there is a number in it that cannot be read") from error
        self._segments = tuple(cast("jsonpath.JSONPath", query).segments)

    def __call__(self, value: JSONValue, root: JSONValue = None) -> list[JSONValue]:
        """Return every match below a value, in the order of the document. Raises SearchFailed past the bounds.

        ``root`` is what ``$`` means in a filter: the value itself unless given.
        """
        if not isinstance(value, dict | list):
            return []
        self._environment.allow(self._limit)
        whole = root if isinstance(root, dict | list) else value
        start = JSONPathMatch(filter_context={}, obj=value, parent=None, path="$", parts=(), root=whole)
        nodes: Iterable[JSONPathMatch] = [start]
        try:
            for segment in self._segments:
                # Lazily: nodes flow through one by one, so that the budget ends the search early.
                nodes = segment.resolve(nodes)
            return [cast("JSONValue", node.obj) for node in nodes]
        except (JSONPathError, RecursionError) as error:
            raise SearchFailed(str(error).partition("\n")[0]) from error


def _uncompilable(error: Exception, column_in: Callable[[int], int]) -> SearchFailed:
    index = getattr(getattr(error, "token", None), "index", 0)
    message = error.args[0] if error.args else error
    return SearchFailed(str(message).partition("\n")[0], column_in(max(0, index)))


class _Lexer(Lexer):
    """The library's tokens, less its alternative spellings; behind ``..`` a keyword is a name."""

    key_pattern = r"(?:[\w:@/+$#%;^{}~-]|[^\x00-\x7f])+"
    logical_not_pattern = "!"
    logical_and_pattern = "&&"
    logical_or_pattern = r"\|\|"

    def tokenize(self, path: str) -> Iterator[Token]:
        previous = ""
        for token in super().tokenize(path):
            # `$..true` looks for members of that name.
            if token.kind in WORDS and previous == TOKEN_DDOT:
                yield Token(TOKEN_NAME, token.value, token.index, path)
            elif token.kind in FOREIGN or token.value != KEYWORDS.get(token.kind, token.value):
                raise JSONPathSyntaxError(f"unexpected token {token.value!r}", token=token)
            else:
                yield token
            previous = token.kind


class _Parser(Parser):
    """The library's grammar, with selectors and segments of the dialect in the tree."""

    def parse_query(self, stream: TokenStream) -> Iterable[JSONPathSegment]:
        for segment in super().parse_query(stream):
            selectors = tuple(map(_of_dialect, segment.selectors))
            is_last = stream.current().kind == TOKEN_EOF
            picks = is_last and len(selectors) > 1 and all(isinstance(each, NameSelector) for each in selectors)
            if isinstance(segment, JSONPathRecursiveDescentSegment):
                kind: type[JSONPathSegment] = _PickBelow if picks else _Descent
            else:
                kind = _Pick if picks else _Child
            yield kind(env=self.env, token=segment.token, selectors=selectors)

    def parse_regex(self, stream: TokenStream) -> BaseExpression:
        pattern, flags = stream.current().value, ""
        if stream.peek().kind == TOKEN_RE_FLAGS:
            stream.next()
            flags = stream.next().value
        compiled = compile_regex(pattern, ignore_case="i" in flags, multiline="m" in flags, dot_all="s" in flags)
        # The library only calls `fullmatch` of it.
        return RegexLiteral(value=cast("Pattern[str]", _CountedRegex(compiled, cast("_Environment", self.env))))

    def parse_prefix_expression(self, stream: TokenStream) -> BaseExpression:
        expression = super().parse_prefix_expression(stream)
        return _Not(expression.operator, expression.right) if isinstance(expression, PrefixExpression) else expression


class _CountedRegex:
    """A regular expression whose matching counts as nodes, by what it costs."""

    def __init__(self, regex: Regex, environment: _Environment) -> None:
        self._regex = regex
        self._environment = environment

    def fullmatch(self, text: str) -> Match | None:
        """Return the match that is the whole text."""
        return self._regex.fullmatch(text, lambda steps: self._environment.count(steps // STEPS_A_NODE))


def _of_dialect(selector: JSONPathSelector) -> JSONPathSelector:
    if not isinstance(selector, SELECTORS):
        message = "brackets take only names in quotes, indexes, slices, * and filters"
        raise JSONPathSyntaxError(message, token=selector.token)
    if isinstance(selector, Filter):
        return _Filter(env=selector.env, token=selector.token, expression=selector.expression)
    return selector


class _Not(PrefixExpression):
    """A negation: a null counts as absent, though a bare path only asks whether something is there."""

    def evaluate(self, context: FilterContext) -> object:
        value = self.right.evaluate(context)
        if isinstance(value, NodeList) and len(value) == 1 and value[0].obj is None:
            return True
        return not context.env.is_truthy(value)


class _Filter(Filter):
    """A filter: of an array it tests the items, of an object the object itself. Only objects can match."""

    def resolve(self, node: JSONPathMatch) -> Iterable[JSONPathMatch]:
        if isinstance(node.obj, list):
            for place, item in enumerate(node.obj):
                if isinstance(item, Mapping) and self._holds(item, node):
                    yield node.new_child(item, place)
        elif isinstance(node.obj, Mapping) and self._holds(node.obj, node):
            yield node

    def _holds(self, item: object, node: JSONPathMatch) -> bool:
        return bool(self.expression.evaluate(FilterContext(env=self.env, current=item, root=node.root)))


class _Child(JSONPathChildSegment):
    def resolve(self, nodes: Iterable[JSONPathMatch]) -> Iterable[JSONPathMatch]:
        return _counted(cast("_Environment", self.env), super().resolve(nodes))


class _Descent(JSONPathRecursiveDescentSegment):
    """Descendants; since filters test each object that is passed, they do not test it again as an item."""

    def resolve(self, nodes: Iterable[JSONPathMatch]) -> Iterable[JSONPathMatch]:
        environment = cast("_Environment", self.env)
        for node in nodes:
            for each in _counted(environment, self._visit(node)):
                for selector in self.selectors:
                    if isinstance(each.obj, Mapping) or not isinstance(selector, _Filter):
                        yield from _counted(environment, selector.resolve(each))


def _picked(node: JSONPathMatch, selectors: Iterable[JSONPathSelector], *, wants_all: bool) -> Iterator[JSONPathMatch]:
    """Yield one object of the named members, as a choice of names at the end of a path finds it."""
    if not isinstance(node.obj, Mapping):
        return
    names = [each.name for each in selectors if isinstance(each, NameSelector)]
    members = {name: node.obj[name] for name in names if name in node.obj}
    if not wants_all or len(members) == len(set(names)):
        yield node.new_child(members, ",".join(names))


class _Pick(JSONPathChildSegment):
    """Several names at the end of a path: of each object, one object of the members that it has."""

    def resolve(self, nodes: Iterable[JSONPathMatch]) -> Iterable[JSONPathMatch]:
        for node in nodes:
            yield from _counted(cast("_Environment", self.env), _picked(node, self.selectors, wants_all=False))


class _PickBelow(JSONPathRecursiveDescentSegment):
    """The same of every descendant that has all the names."""

    def resolve(self, nodes: Iterable[JSONPathMatch]) -> Iterable[JSONPathMatch]:
        environment = cast("_Environment", self.env)
        for node in nodes:
            for each in _counted(environment, self._visit(node)):
                yield from _counted(environment, _picked(each, self.selectors, wants_all=True))


def _counted(environment: _Environment, nodes: Iterable[JSONPathMatch]) -> Iterator[JSONPathMatch]:
    for node in nodes:
        environment.count(1)
        yield node


class _Budget(threading.local):
    """How many nodes an evaluation may pass yet; a thread may evaluate a path while another does."""

    left = 0
    rest = 0


class _Environment(jsonpath.JSONPathEnvironment):
    """The library's settings: no extensions, no functions."""

    lexer_class = _Lexer
    parser_class = _Parser
    pseudo_root_token = filter_context_token = intersection_token = union_token = key_token = keys_filter_token = ""
    keys_selector_token = UNMATCHABLE

    def __init__(self, limits: Limits) -> None:
        self.max_recursion_depth = limits.payload_depth + 1
        self._budget = _Budget()
        self.allow(limits.path_nodes)
        super().__init__()

    def allow(self, nodes: int) -> None:
        """Begin an evaluation that may pass that many nodes."""
        budget = self._budget
        budget.left = min(nodes, STEPS_ON_LOOP)
        budget.rest = nodes - budget.left

    def count(self, nodes: int) -> None:
        """Count nodes that are passed. Raises JSONPathError past the bound, TakesLong past that of an event loop."""
        budget = self._budget
        budget.left -= nodes
        if budget.left < 0:
            # The rest is for a thread alone: in an event loop the search is given up, and begun again there.
            if budget.rest:
                need_time()
            budget.left, budget.rest = budget.left + budget.rest, 0
            if budget.left < 0:
                raise JSONPathError("it passes too many nodes")

    def setup_function_extensions(self) -> None:
        """Register none."""
