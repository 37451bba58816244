"""What tests of the language ask with: a visit to evaluate in, and one question for each kind of expression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import pytest

from statechain.asl import load
from statechain.asl.expressions.intrinsics import compile_intrinsic
from statechain.asl.expressions.jsonata import States, compile_jsonata
from statechain.asl.expressions.jsonpath import compile_path
from statechain.asl.plan.plan import State
from statechain.errors import DefinitionError, StateError
from statechain.limits import DEFAULT_LIMITS, Limits
from support.visit import Visit

Ask: TypeAlias = Callable[..., Any]
"""(text, value, limits=…, **variables) → the value that an expression has; raises StateError."""

Enter: TypeAlias = Callable[..., Any]
"""(fields of a state, value, **variables) → what entering the state answers; raises StateError."""

Faults: TypeAlias = Callable[[Any], dict[str, str]]
"""(definition) → its errors, as pointer → code; none where it loads."""


@pytest.fixture
def path() -> Ask:
    def ask(text: str, value: Any = None, *, limits: Limits = DEFAULT_LIMITS, **variables: Any) -> Any:
        return compile_path(text, limits=limits)(value, Visit(variables))

    return ask


@pytest.fixture
def intrinsic() -> Ask:
    def ask(text: str, value: Any = None, *, limits: Limits = DEFAULT_LIMITS, **variables: Any) -> Any:
        return compile_intrinsic(text, limits=limits)(value, Visit(variables))

    return ask


@pytest.fixture
def jsonata() -> Ask:
    def ask(text: str, value: Any = None, *, limits: Limits = DEFAULT_LIMITS, **variables: Any) -> Any:
        visit = Visit(variables)
        return compile_jsonata(text, "Output", limits=limits)(States(visit, {"input": value}), visit)

    return ask


@pytest.fixture
def jsonata_fault(jsonata: Ask) -> Callable[..., str]:
    """What the cause says after the words that every cause begins with."""

    def ask(text: str, value: Any = None, **variables: Any) -> str:
        with pytest.raises(StateError) as caught:
            jsonata(text, value, **variables)
        assert caught.value.error == "States.QueryEvaluationError"
        assert caught.value.location == "Output"
        begin = f"The JSONata expression '{text}' specified for the field 'Output' "
        cause = caught.value.cause or ""
        assert cause.startswith(begin)
        said = cause.removeprefix(begin).removeprefix("threw an error during evaluation")
        return said.removeprefix(". ").removeprefix(": ")  # a colon comes before a bound, as AWS has it

    return ask


def compiled(fields: Mapping[str, Any], language: str = "JSONPath", limits: Limits = DEFAULT_LIMITS) -> State:
    """Return a state as it is compiled, in a definition where A may lead to B."""
    ends = {} if fields["Type"] in {"Choice", "Succeed", "Fail"} or {"Next", "End"} & fields.keys() else {"Next": "B"}
    states: dict[str, Any] = {"A": {**fields, **ends}, "B": {"Type": "Succeed"}}
    if fields["Type"] in {"Succeed", "Fail"} or "End" in fields:
        del states["B"]
    loaded = load({"QueryLanguage": language, "StartAt": "A", "States": states}, limits=limits)
    return loaded.plan.states["A"]


@pytest.fixture
def enter() -> Enter:
    def ask(fields: Mapping[str, Any], value: Any = None, *, language: str = "JSONPath", **variables: Any) -> Any:
        return compiled(fields, language).enter(value, Visit(variables))

    return ask


@pytest.fixture
def leave() -> Enter:
    def ask(fields: Mapping[str, Any], value: Any, result: Any, *, language: str = "JSONPath", **variables: Any) -> Any:
        return compiled(fields, language).leave(value, result, Visit(variables))

    return ask


@pytest.fixture
def catch() -> Enter:
    def ask(fields: Mapping[str, Any], value: Any, fault: StateError, *, language: str = "JSONPath") -> Any:
        task = {"Type": "Task", "Resource": "r", "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "B", **fields}]}
        return compiled(task, language).catch[0].apply(value, fault, Visit())

    return ask


@pytest.fixture
def faults() -> Faults:
    def ask(definition: Any) -> dict[str, str]:
        try:
            load(definition)
        except DefinitionError as fault:
            return {each.pointer: each.code for each in fault.diagnostics}
        return {}

    return ask
