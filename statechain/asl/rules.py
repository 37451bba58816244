"""A Choice's rules: value → model, noting errors and going on."""

from __future__ import annotations

from typing import Final

from statechain.asl import model
from statechain.asl.expressions.choice import OPERATORS, parse_timestamp
from statechain.asl.grammar import PARTS
from statechain.asl.model import ABSENT, QueryLanguage
from statechain.asl.reader import Obj, Reader, is_expression
from statechain.asl.text import pointer_to

__all__ = ["choice_rule"]

RULE: Final = PARTS["Rule"]


def choice_rule(parser: Reader, value: Obj, pointer: str, language: QueryLanguage) -> model.ChoiceRule:
    """Read a rule at the top: a comparison or a junction of them, or in JSONata a condition."""
    if language == "JSONata":
        parser.part(value, RULE, language, pointer, COMPARISONS)
        rule = _condition(parser, value, pointer)
    else:
        parser.part({key: item for key, item in value.items() if key in RULE.fields}, RULE, language, pointer)
        rule = _rule(parser, {key: item for key, item in value.items() if key not in RULE.fields}, pointer)
    return model.ChoiceRule(
        rule=rule,
        next=parser.required_text(value, "Next", pointer, "a rule at the top"),
        output=value.get("Output", ABSENT),
        assign=parser.assign(value, pointer),
    )


def _condition(parser: Reader, value: Obj, pointer: str) -> model.Rule:
    found = value.get("Condition")
    if isinstance(found, bool) or (isinstance(found, str) and is_expression(found)):
        return model.Condition(found)
    if "Condition" in value:
        message = "Condition must be a boolean, or a JSONata expression in {% %}"
        parser.report("wrong-type", message, pointer_to(pointer, "Condition"))
    else:
        parser.report("missing-field", "a rule of a JSONata state needs the field 'Condition'", pointer)
    # In the place of what is wrong: its error is noted, and reading goes on to find the others.
    return model.Condition(value=False)


def _rule(parser: Reader, value: Obj, pointer: str) -> model.Rule:
    """Read And, Or, Not or a comparison."""
    for key in ("Next", "Assign"):
        if key in value:
            parser.report("unknown-field", f"only a rule at the top has {key}", pointer_to(pointer, key))
    value = {key: item for key, item in value.items() if key not in {"Comment", "Next", "Assign"}}
    for junction in ("And", "Or"):
        if junction in value:
            parser.only(value, {junction}, pointer, RULE.what)
            rules = parser.each(value, junction, pointer, lambda item, at: _rule(parser, item, at))
            if not rules:
                parser.report("missing-field", f"{junction} needs at least one rule", pointer)
            return model.Junction("And" if junction == "And" else "Or", rules)
    if "Not" in value:
        parser.only(value, {"Not"}, pointer, RULE.what)
        inner = parser.typed(value, "Not", dict, pointer, "a rule")
        if inner is not None:
            return model.Negation(_rule(parser, inner, pointer_to(pointer, "Not")))
        return model.Comparison("$", "IsPresent", operand=True)
    return _comparison(parser, value, pointer)


def _comparison(parser: Reader, value: Obj, pointer: str) -> model.Rule:
    variable = parser.required_text(value, "Variable", pointer, "a comparison")
    operators = [key for key in value if key != "Variable"]
    if len(operators) != 1:
        parser.report("operator", "a comparison has exactly one operator", pointer)
        return model.Comparison(variable, "IsPresent", operand=True)
    operator = operators[0]
    at = pointer_to(pointer, operator)
    if operator not in KNOWN_OPERATORS:
        near = parser.hints.near(operator, KNOWN_OPERATORS, "operator")
        parser.report("operator", f"there is no operator {operator!r}{near}", at)
        return model.Comparison(variable, "IsPresent", operand=True)
    kinds, name = KNOWN_OPERATORS[operator]
    operand = value[operator]
    # To Python True is a number, and so a NumericEquals would take it.
    if not isinstance(operand, kinds) or (isinstance(operand, bool) and bool not in kinds):
        parser.report("wrong-type", f"{operator} compares with {name}", at)
    elif operator.startswith("Timestamp") and not operator.endswith("Path") and parse_timestamp(operand) is None:
        parser.report("wrong-value", f"{operator} compares with a moment such as 2024-08-18T17:33:00Z", at)
    return model.Comparison(variable, operator, operand)


def _operand(operator: str) -> tuple[tuple[type, ...], str]:
    """Report what an operator compares with."""
    if operator.startswith(("Is", "Boolean")):
        return (bool,), "a boolean"
    if operator.startswith("Numeric"):
        return (int, float), "a number"
    return (str,), "a string"


KNOWN_OPERATORS: Final = {
    "IsPresent": _operand("IsPresent"),
    **{name: _operand(name) for name in OPERATORS},
    **{
        f"{name}Path": ((str,), "a path") for name in OPERATORS if not name.startswith("Is") and name != "StringMatches"
    },
}
"""Every operator with what it compares with: types, and their name."""

COMPARISONS: Final = frozenset({"Variable", "And", "Or", "Not", *KNOWN_OPERATORS})
