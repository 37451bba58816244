"""The JSONata library, repaired and under a budget: an `Engine` evaluates syntax trees, one at a time.

What the library gets wrong (AWS answers otherwise) or does in quadratic time is overridden, method by method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from jsonata import functions, regex_engine, utils
from jsonata import jsonata as library

from statechain.asl.expressions.cause_text import is_number
from statechain.asl.expressions.jsonata.budget import NUMBER_BYTES, TOO_DEEP, Budget, Exhausted
from statechain.asl.expressions.jsonata.library import Frame, JList, Node, Value, is_function, sequence_of
from statechain.asl.expressions.jsonata.messages import JSONataError
from statechain.asl.expressions.jsonata.operators.arithmetic import ARITHMETIC, COMPARISONS, whole_if_whole
from statechain.asl.expressions.jsonata.operators.grouping import grouped
from statechain.asl.expressions.jsonata.operators.ordering import ordered
from statechain.asl.expressions.jsonata.operators.transform import transformer
from statechain.asl.expressions.jsonata.operators.tuple_streams import tuples
from statechain.asl.expressions.jsonata.tokens import parse_tree
from statechain.asl.expressions.jsonata.values import NULL, Walker, text_of
from statechain.asl.expressions.regex import Regex, RegexSyntaxError, compile_regex
from statechain.asl.outcome import Context
from statechain.limits import Limits

__all__ = ["Engine", "parse"]

LONGEST_EXPRESSION = 65_536
LONGEST_RANGE = 10_000_000  # JSONata's own bound, error D2014


def parse(text: str) -> Node:
    """Return the syntax tree of an expression; raise what the library raises where it has none."""
    if len(text) > LONGEST_EXPRESSION:
        raise JSONataError("D3137", 0, f"an expression has at most {LONGEST_EXPRESSION} characters")
    return parse_tree(text, _regular_expression)


def _regular_expression(pattern: str, flags: regex_engine.RegexFlags) -> Value:
    try:
        return compile_regex(pattern, ignore_case=flags.case_insensitive, multiline=flags.multiline)
    except RegexSyntaxError as error:
        raise JSONataError("D3137", 0, str(error)) from error


class Engine(Budget, library.Jsonata):  # type: ignore[misc]
    """Evaluates syntax trees, one at a time, each within its budget."""

    def __init__(self) -> None:
        super().__init__("null")
        self.context: Context
        self.natives: Frame = library.Jsonata.Frame(None)
        self._kinds: dict[str, Callable[[Node, Value, Frame], Value]] = {
            "path": self.evaluate_path,
            "binary": self.evaluate_binary,
            "unary": self.evaluate_unary,
            "name": lambda node, value, _frame: functions.Functions.lookup(value, str(node.value)),
            "string": self._literal,
            "number": self._literal,
            "value": self._literal,
            "wildcard": lambda node, value, _frame: self.evaluate_wildcard(node, value),
            "descendant": lambda node, value, _frame: self.evaluate_descendants(node, value),
            "parent": lambda node, _value, frame: frame.lookup(node.slot.label),
            "condition": self.evaluate_condition,
            "block": self.evaluate_block,
            "bind": self.evaluate_bind_expression,
            "regex": lambda node, _value, _frame: node.value,
            "function": lambda node, value, frame: self.evaluate_function(node, value, frame, utils.Utils.NONE),
            "variable": self.evaluate_variable,
            "lambda": self.evaluate_lambda,
            "partial": self.evaluate_partial_application,
            "apply": self.evaluate_apply_expression,
            "transform": self.evaluate_transform_expression,
        }

    def run(
        self, tree: Node, bindings: Mapping[str, Value], context: Context, limits: Limits, document: Value = None
    ) -> Value:
        """Evaluate a tree with these variables, on top of the functions; raise what the library raises.

        A state has no input ``document``; expressions of other programs do.
        """
        self.context = context
        self.begin(limits)
        frame = library.Jsonata.Frame(self.natives)
        frame.bindings = dict(bindings)
        library.Jsonata.CURRENT.jsonata = self  # the library's functions call back through it
        return self.eval(tree, document, frame)

    def get_per_thread_instance(self) -> Engine:
        """Return itself: an engine belongs to one thread."""
        return self

    def eval(self, node: Node, value: Value, frame: Frame) -> Value:
        """Evaluate a node in the context of a value, within the budget."""
        self._left -= 1  # `charge(1)`, written out: every node comes through here
        self._depth += 1
        if self._left < 0:
            self._go_on()
        if self._depth > self._deepest:
            raise Exhausted(TOO_DEEP)
        evaluate = self._kinds.get(node.type)
        result = None if evaluate is None else evaluate(node, value, frame)
        if node.predicate is not None:
            for predicate in node.predicate:
                result = self.evaluate_filter(predicate.expr, result, frame)
        if node.group is not None and node.type != "path":
            result = self.evaluate_group_expression(node.group, result, frame)
        self._depth -= 1  # not in a `finally`: nothing is evaluated after an error, and `run` begins at 0 again
        return self._settled(node, result)

    def _settled(self, node: Node, result: Value) -> Value:
        """Weigh a result; a sequence of one is that one, an empty sequence is nothing."""
        # The exact type, which is cheaper than `isinstance`, and a JList is a list, too.
        kind = type(result)
        if kind is str or kind is list:
            self.weigh(result)
        elif kind is JList:
            if result.sequence and not result.tuple_stream:
                if node.keep_array:
                    result.keep_singleton = True
                if not result:
                    return None
                if len(result) == 1:
                    return result if result.keep_singleton else result[0]
            self.weigh(result)
        return result

    @staticmethod
    def _literal(node: Node, _value: Value, _frame: Frame) -> Value:
        return NULL if node.value is None else node.value

    # Operators

    def evaluate_unary(self, node: Node, value: Value, frame: Frame) -> Value:
        """Negate, or construct an array or an object."""
        if node.value == "-":
            number = self.eval(node.expression, value, frame)
            if number is None or is_number(number):
                return None if number is None else -number
            raise JSONataError("D1002", node.position, number)
        if node.value == "[":
            return self._array(node, value, frame)
        return self.evaluate_group_expression(node, value, frame) if node.value == "{" else None

    def _array(self, node: Node, value: Value, frame: Frame) -> Value:
        made = JList()
        for item in node.expressions:
            result = self.eval(item, value, frame)
            if isinstance(result, list) and item.value != "[":
                made.extend(result)
            elif result is not None:
                made.append(result)
        made.cons = bool(node.consarray)
        return made

    def evaluate_numeric_expression(self, left: Value, right: Value, operator: str) -> Value:
        """Calculate with doubles: dividing by nothing is infinite, as in JavaScript."""
        if left is not None and not utils.Utils.is_numeric(left):
            raise JSONataError("T2001", -1, operator)
        if right is not None and not utils.Utils.is_numeric(right):
            raise JSONataError("T2002", -1, operator)
        if left is None or right is None:
            return None
        return whole_if_whole(ARITHMETIC[operator](float(left), float(right)))

    def evaluate_equality_expression(self, left: Value, right: Value, operator: str) -> bool:
        """Return whether two values are, or are not, the same."""
        if left is None or right is None:
            return False
        return self.equal(left, right) is (operator == "=")

    def evaluate_includes_expression(self, left: Value, right: Value) -> bool:
        """Return whether a value is among others."""
        if left is None or right is None:
            return False
        items = right if isinstance(right, list) else [right]
        self.weigh(items)
        return any(self.equal(item, left) for item in items)

    def equal(self, one: Value, other: Value) -> bool:
        """Return whether two values are the same, charging for each item that is compared."""
        pending = [(one, other)]
        while pending:
            left, right = pending.pop()
            if isinstance(left, list) and isinstance(right, list):
                if len(left) != len(right):
                    return False
                pending.extend(zip(left, right, strict=True))
            elif isinstance(left, dict) and isinstance(right, dict):
                if left.keys() != right.keys():
                    return False
                pending.extend((item, right[key]) for key, item in left.items())
            elif left != right or isinstance(left, bool) is not isinstance(right, bool):  # to Python True equals 1
                return False
            self.charge(1)
        return True

    def evaluate_comparison_expression(self, left: Value, right: Value, operator: str) -> Value:
        """Compare two numbers or two texts."""
        for value in (left, right):
            if value is not None and not isinstance(value, str) and not is_number(value):
                raise JSONataError("T2010", -1, operator)
        if left is None or right is None:
            return None
        if isinstance(left, str) is not isinstance(right, str):
            raise JSONataError("T2009", -1, left, right, operator)
        return COMPARISONS[operator](left, right)

    def evaluate_string_concat(self, left: Value, right: Value) -> str:
        """Join two values as texts."""
        return "".join(self.string(value) for value in (left, right) if value is not None)

    def string(self, value: Value, *, indent: int = 0) -> str:
        """Return a value as ``$string`` does, charging for what it writes."""
        if isinstance(value, str):
            return value
        if isinstance(value, float) and not math.isfinite(value):
            raise JSONataError("D3001", -1)
        if is_function(value):
            return ""
        return text_of(value, self.walker(), indent=indent, is_json=True)

    def walker(self) -> Walker:
        """Return what counts the values of a tree that is walked, and how deep they are."""
        return Walker(self.charge)

    def copy(self, value: Value) -> Value:
        """Return a deep copy, charging for it."""
        return self._copy(value, self.walker())

    def _copy(self, value: Value, walker: Walker) -> Value:
        if isinstance(value, dict):
            with walker:
                walker.pass_items(len(value))
                return {key: self._copy(item, walker) for key, item in value.items()}
        if isinstance(value, list):
            with walker:
                walker.pass_items(len(value))
                return [self._copy(item, walker) for item in value]
        return value

    def evaluate_range_expression(self, first: Value, last: Value) -> Value:
        """Return the whole numbers from one to another, if they are few enough."""
        for value, code in ((first, "T2003"), (last, "T2004")):
            if value is not None and not (is_number(value) and float(value).is_integer()):
                raise JSONataError(code, -1, value)
        if first is None or last is None or first > last:
            return None
        if last - first + 1 > LONGEST_RANGE:
            raise JSONataError("D2014", -1, last - first + 1)
        self.allow((last - first + 1) * NUMBER_BYTES)
        items = sequence_of()
        items.extend(range(int(first), int(last) + 1))
        return items

    def evaluate_wildcard(self, _node: Node, value: Value) -> Value:
        """Return all members, arrays among them flattened."""
        found = sequence_of()
        members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for member in members:
            if isinstance(member, list):
                found.extend(self._leaves(member))
            else:
                found.append(member)
        return found

    def _leaves(self, value: list[Value]) -> list[Value]:
        """Return what is in an array and the arrays in it."""
        pending, found = value[::-1], []
        while pending:
            self.charge(1)
            item = pending.pop()
            if isinstance(item, list):
                pending.extend(item[::-1])
            else:
                found.append(item)
        return found

    def evaluate_descendants(self, _node: Node, value: Value) -> Value:
        """Return a value and all that is in it, arrays aside."""
        if value is None:
            return None
        pending, found = [value], sequence_of()
        while pending:
            self.charge(1)
            item = pending.pop()
            if not isinstance(item, list):
                found.append(item)
            if isinstance(item, list | dict):
                # Reversed: taken from the end, they come in the order of the document.
                pending.extend([*(item.values() if isinstance(item, dict) else item)][::-1])
        return found[0] if len(found) == 1 else found

    def evaluate_filter(self, predicate: Node, value: Value, frame: Frame) -> Value:
        """Return the item at an index, or the items that a predicate holds for."""
        if predicate.type == "number":
            items = value if isinstance(value, list) else [] if value is None else [value]
            index = math.floor(predicate.value)
            found = items[index] if -len(items) <= index < len(items) else None
            if isinstance(found, list):
                return found
            results = sequence_of() if found is None else sequence_of(found)
            results.tuple_stream = isinstance(value, JList) and value.tuple_stream
            return results
        return super().evaluate_filter(predicate, value, frame)

    def evaluate_tuple_step(self, node: Node, value: Value, bindings: Value, frame: Frame) -> Value:
        """Bind what a step finds to its variables: one tuple for each, beside those that the tuple has already."""
        if node.type == "sort":
            return super().evaluate_tuple_step(node, value, bindings, frame)
        stream = sequence_of()
        stream.tuple_stream = True
        stream.extend(tuples(self, node, [{"@": item} for item in value] if bindings is None else bindings, frame))
        return stream if node.stages is None else self.evaluate_stages(node.stages, stream, frame)

    def evaluate_sort_expression(self, node: Node, value: Value, frame: Frame) -> Value:
        """Return a path's items in the order of the operator's terms."""
        return ordered(self, node, value, frame)

    def evaluate_group_expression(self, node: Node, value: Value, frame: Frame) -> Value:
        """Group the items by their keys, then evaluate each group's value; an object constructor is one group."""
        return grouped(self, node, value, frame)

    def evaluate_apply_expression(self, node: Node, value: Value, frame: Frame) -> Value:
        """Apply a function to a value, or chain it to another function."""
        left = self.eval(node.lhs, value, frame)
        if node.rhs.type == "function":
            return self.evaluate_function(node.rhs, value, frame, left)
        function = self.eval(node.rhs, value, frame)
        if not is_function(function):
            raise JSONataError("T2006", node.position)
        if is_function(left):
            return self.apply(self.eval(self.chain_ast(), None, frame), [left, function], None, frame)
        return self.apply(function, [left], None, frame)

    def evaluate_partial_application(self, node: Node, value: Value, frame: Frame) -> Value:
        """Fix some arguments of a function; a name without its dollar sign is pointed out."""
        procedure = node.procedure
        name = str(procedure.steps[0].value) if procedure.type == "path" else ""
        if name and self.eval(procedure, value, frame) is None and frame.lookup(name) is not None:
            raise JSONataError("T1007", node.position, name)
        return super().evaluate_partial_application(node, value, frame)

    def apply_inner(self, function: Value, arguments: Value, value: Value, frame: Frame) -> Value:
        """Call a function. Raises JException (T1006) where it is none; the library would print it."""
        if not is_function(function):
            raise JSONataError("T1006", 0)
        if isinstance(function, Regex):
            function.charge(self.charge, sum(len(each) for each in arguments if isinstance(each, str)))
        return super().apply_inner(function, arguments, value, frame)

    def evaluate_transform_expression(self, node: Node, _value: Value, frame: Frame) -> Value:
        """Return the function that a transform is."""
        return transformer(self, node, frame)
