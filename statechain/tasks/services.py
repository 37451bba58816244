"""What a Task's Resource means: a handler by name, or one of AWS's service integrations. Pure functions of values.

A suffix says how AWS waits: ``.waitForTaskToken`` for an answer under a token, ``.sync`` and ``.sync:2`` for the end
of a nested execution.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs

from statechain.codec import JSONValue, decode
from statechain.errors import DefinitionError, Diagnostic, InvalidPayload, StateError
from statechain.tasks.registry import Task, TaskRegistry

if TYPE_CHECKING:
    from statechain.asl import Definition
    from statechain.asl.outcome import CallTask

__all__ = [
    "LAMBDA_INVOKE",
    "START_EXECUTION",
    "ActivityCall",
    "Call",
    "HandlerCall",
    "NestedCall",
    "activity_name",
    "check_resources",
    "is_known",
    "is_waiting_externally",
    "prepare",
    "resolve",
    "waits_for_token",
]

LAMBDA_INVOKE = "arn:aws:states:::lambda:invoke"
START_EXECUTION = "arn:aws:states:::states:startExecution"
TOKEN_SUFFIX = ".waitForTaskToken"  # noqa: S105 -- no secret, but AWS's suffix
HANDED_OUT_BEFORE = "(handed out before)"
EMPTY: JSONValue = {}


@attrs.frozen
class HandlerCall:
    """A handler to call.

    Attributes:
        task: The handler.

        input: What it gets.

        wraps: Whether the result is wrapped as the ``lambda:invoke`` integration wraps it.

        waits: Whether the answer comes under a task token, and not from the handler.

        unwraps: Whether the input is the ``Payload`` of what the state gives, as in ``lambda:invoke``.
    """

    task: Task
    input: JSONValue
    wraps: bool = False
    waits: bool = False
    unwraps: bool = False

    @property
    def is_only_called(self) -> bool:
        """Whether nothing more is to be done than to await the handler."""
        return self.task.is_async and not (self.wraps or self.waits) and self.task.delivery == "at_least_once"


@attrs.frozen
class NestedCall:
    """An execution to start.

    Attributes:
        machine: The state machine's name or id.

        input: Its input.

        name: The execution's name, or None for one that is made of the attempt's key.

        waits: Whether its end is awaited.

        parses: Whether its input and output are reported as values (``.sync:2``), not as JSON texts.

        under_token: Whether the answer comes under a task token.

        arn: What the definition names the state machine by.
    """

    machine: str
    input: JSONValue
    name: str | None
    waits: bool = False
    parses: bool = False
    under_token: bool = False
    arn: str = attrs.field(kw_only=True)


@attrs.frozen
class ActivityCall:
    """A task for an activity's workers."""

    activity: str
    input: JSONValue


Call: TypeAlias = HandlerCall | NestedCall | ActivityCall


def activity_name(resource: str) -> str | None:
    """Return the name in an activity's ARN, or None for anything else."""
    parts = resource.split(":")
    if len(parts) == 7 and parts[0] == "arn" and parts[2] == "states" and parts[5] == "activity":
        return parts[6]
    return None


def is_known(resource: str, registry: TaskRegistry) -> bool:
    """Return whether a Resource can be served, as far as the definition alone shows."""
    base = resource.removesuffix(TOKEN_SUFFIX)
    if registry.find(resource) is not None or registry.find(base) is not None:
        return True
    # A FunctionName or a state machine may come from the input: they are known only when the Task runs.
    return base in {LAMBDA_INVOKE, *INTEGRATIONS} or activity_name(resource) is not None


def check_resources(definition: Definition, registry: TaskRegistry) -> None:
    """Raise DefinitionError with a diagnostic for each Resource of a definition that cannot be served."""
    diagnostics = [
        definition.place(
            Diagnostic(
                "unknown-resource",
                f"no handler is registered for {resource!r}; registered are: {', '.join(registry) or 'none'}",
                pointer=pointer,
            )
        )
        for pointer, resource in definition.resources()
        if not is_known(resource, registry)
    ]
    if diagnostics:
        raise DefinitionError(diagnostics)


class ExternalWait(Protocol):
    """What an attempt remembers that waits for an answer from outside."""

    @property
    def called(self) -> bool:
        """Whether what had to be done before waiting is done."""


class Attempt(Protocol):
    """The attempt that a line of control is in: `statechain.execution.frame.Frame`."""

    token: str | None

    @property
    def outside(self) -> ExternalWait | None:
        """What it remembers while it waits; None where it does not."""


def prepare(frame: Attempt, resource: str) -> None:
    """Give an attempt that waits for a task token the token that its expressions show."""
    if frame.token is None and waits_for_token(resource):
        is_known_outside = frame.outside is not None and frame.outside.called
        # Only the hash is stored: after a crash, expressions cannot have the token again.
        frame.token = HANDED_OUT_BEFORE if is_known_outside else secrets.token_urlsafe(32)


def is_waiting_externally(frame: Attempt, resource: str | None) -> bool:
    """Return whether all that is left of an attempt is to wait for the outside: no handler is to be called for it."""
    if frame.outside is None or resource is None:
        return False
    # Under a token, the handler has to be called first; a child or an activity's task only waits.
    return frame.outside.called or not waits_for_token(resource)


def waits_for_token(resource: str) -> bool:
    """Return whether a Resource asks for an answer under a task token."""
    return resource.endswith(TOKEN_SUFFIX)


def resolve(effect: CallTask, registry: TaskRegistry) -> Call:
    """Return what to call for a Task; raise StateError where nothing registered it."""
    resource = effect.resource
    waits = waits_for_token(resource)
    base = resource.removesuffix(TOKEN_SUFFIX) if waits else resource
    task = registry.find(resource) or (registry.find(base) if waits else None)
    if task is not None:
        return HandlerCall(task, effect.input, waits=waits and not task.answers)
    activity = activity_name(resource)
    if activity is not None:
        # A handler in the place of the activity's workers, as in tests.
        task = registry.find(activity)
        return ActivityCall(activity, effect.input) if task is None else HandlerCall(task, effect.input)
    if base == LAMBDA_INVOKE:
        return _lambda_invoke(effect.input, registry, waits=waits)
    integrate = INTEGRATIONS.get(resource)
    if integrate is None:
        raise StateError("States.TaskFailed", f"no handler is registered for the resource {resource!r}")
    return integrate(effect.input)


def _lambda_invoke(value: JSONValue, registry: TaskRegistry, *, waits: bool) -> HandlerCall:
    name = value.get("FunctionName") if isinstance(value, dict) else None
    if not isinstance(name, str) or not isinstance(value, dict):
        raise StateError("States.TaskFailed", "lambda:invoke needs a FunctionName")
    # A FunctionName may be a name, or an ARN with a version or an alias behind the name.
    task = registry.find(name) or registry.find(name.rpartition(":function:")[2].partition(":")[0])
    if task is None:
        raise StateError("States.TaskFailed", f"no handler is registered for the function {name!r}")
    # The answer under a token is the result as it is; AWS wraps only what the function returns.
    return HandlerCall(task, value.get("Payload", EMPTY), wraps=not waits, waits=waits, unwraps=True)


def _start_execution(
    value: JSONValue, *, waits: bool = False, parses: bool = False, under_token: bool = False
) -> NestedCall:
    found = value if isinstance(value, dict) else {}
    arn, name = found.get("StateMachineArn"), found.get("Name")
    if not isinstance(arn, str):
        raise StateError("States.TaskFailed", "startExecution needs a StateMachineArn")
    if name is not None and not isinstance(name, str):
        raise StateError("States.TaskFailed", "startExecution needs a string as the Name of an execution")
    return NestedCall(
        _machine_name(arn), _nested_input(found.get("Input", EMPTY)), name, waits, parses, under_token, arn=arn
    )


def _nested_input(given: JSONValue) -> JSONValue:
    """Return the input of a nested execution: a string is the JSON text that AWS's API takes."""
    if not isinstance(given, str):
        return given
    try:
        return decode(given)
    except InvalidPayload as fault:
        cause = f"Invalid State Machine Execution Input: '{fault}'"
        raise StateError("StepFunctions.InvalidExecutionInputException", cause) from fault


def _machine_name(arn: str) -> str:
    """Return what names the machine of an ARN; a version or an alias that follows it means the machine itself."""
    _, is_arn, name = arn.rpartition(":stateMachine:")
    return name.partition(":")[0] if is_arn else name


INTEGRATIONS: dict[str, Callable[[JSONValue], Call]] = {
    START_EXECUTION: _start_execution,
    f"{START_EXECUTION}.sync": lambda value: _start_execution(value, waits=True),
    f"{START_EXECUTION}.sync:2": lambda value: _start_execution(value, waits=True, parses=True),
    f"{START_EXECUTION}{TOKEN_SUFFIX}": lambda value: _start_execution(value, under_token=True),
}
