"""Expressions through the library: compiled to its syntax tree once, evaluated by this thread's engine."""

from __future__ import annotations

import threading
from typing import Any

from jsonata.jexception import JException

from statechain.asl.effort import TakesLong
from statechain.asl.expressions.jsonata import tree
from statechain.asl.expressions.jsonata.budget import TOO_DEEP, TOO_LARGE, Exhausted
from statechain.asl.expressions.jsonata.engine import Engine, parse
from statechain.asl.expressions.jsonata.expression import Evaluate, JSONataSyntaxError, States, evaluation_failed
from statechain.asl.expressions.jsonata.functions.table import new_engine
from statechain.asl.expressions.jsonata.library import Node
from statechain.asl.expressions.jsonata.messages import sentence
from statechain.asl.expressions.jsonata.values import NotJSON, TooLarge, to_json, to_library
from statechain.asl.outcome import Context
from statechain.codec import JSONValue
from statechain.limits import Limits

__all__ = ["compile_expression", "fields_in"]

# An engine holds the budget of one evaluation: each thread has its own.
_threads = threading.local()


def _engine() -> Engine:
    """Return this thread's engine."""
    found: Engine | None = getattr(_threads, "engine", None)
    if found is None:
        found = _threads.engine = new_engine()
    return found


def _parsed(text: str) -> Node:
    try:
        parsed = parse(text)
        tree.refuse_bare(parsed)
    except tree.BareReference as error:
        raise JSONataSyntaxError(str(error), error.column) from error
    except JException as error:
        column = max(0, min(error.location, len(text)) - 1)
        raise JSONataSyntaxError(f"{text!r} is no JSONata expression: {sentence(error)}", column) from error
    except RecursionError as error:
        raise JSONataSyntaxError("the expression nests too deep") from error
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, RuntimeError) as error:
        # The library's parser fails in these ways where an expression ends too early.
        raise JSONataSyntaxError(f"{text!r} is no JSONata expression: it ends too early", len(text)) from error
    return parsed


def fields_in(text: str) -> frozenset[str]:
    """Return which fields of ``$states`` an expression names."""
    return tree.states_fields(_parsed(text)) or frozenset()


def compile_expression(text: str, failure: str, field: str, limits: Limits) -> Evaluate:
    """Compile an expression; ``failure`` is how a cause of it begins. Raises JSONataSyntaxError."""
    parsed = _parsed(text)
    variables = tree.variables(parsed)
    needs_states = "states" in variables
    fields = tree.states_fields(parsed)
    names = [name for name in variables if name != "states"]

    def evaluate(states: States, context: Context) -> JSONValue:
        known = context.variables
        bindings: dict[str, Any] = {name: to_library(known[name]) for name in names if name in known}
        if needs_states:
            bindings["states"] = states.native(to_library, fields)
        try:
            result = _engine().run(parsed, bindings, context, limits)
            value = None if result is None else to_json(result)
        # No error of the expression: it is evaluated again, in a thread.
        except TakesLong:
            raise
        except NotJSON as error:
            raise evaluation_failed(f"{failure} returned an unsupported result type.", field) from error
        except (Exhausted, TooLarge, RecursionError) as error:
            raise evaluation_failed(f"{failure} threw an error during evaluation: {_bound(error)}", field) from error
        except Exception as error:
            raise evaluation_failed(f"{failure} threw an error during evaluation. {_said(error)}", field) from error
        if result is None:
            raise evaluation_failed(f"{failure} returned nothing (undefined).", field)
        return value

    return evaluate


def _bound(error: Exception) -> str:
    """Return AWS's words for the bound that an evaluation went past."""
    if isinstance(error, RecursionError):
        return TOO_DEEP
    return TOO_LARGE if isinstance(error, TooLarge) else str(error)


def _said(error: Exception) -> str:
    """Return JSONata's message for an error. Python's messages are not shown."""
    if isinstance(error, JException):
        return sentence(error)
    return "D1001: Number out of range" if isinstance(error, OverflowError) else "The expression cannot be evaluated"
