"""What a Task's Resource means: a handler by name, or one of AWS's service integrations."""

from __future__ import annotations

from statechain.asl.outcome import CallTask
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.runtime.tasks import Task, TaskRegistry, function_name

__all__ = ["LAMBDA_INVOKE", "Call", "is_known", "resolve"]

import attrs

LAMBDA_INVOKE = "arn:aws:states:::lambda:invoke"


@attrs.frozen
class Call:
    """A handler to call, what it gets, and how its result is wrapped.

    Attributes:
        task: The handler.

        input: What it gets.

        is_optimized: Whether the result is wrapped as the ``lambda:invoke`` integration wraps it.
    """

    task: Task
    input: JSONValue
    is_optimized: bool = False

    def wrap(self, result: JSONValue) -> JSONValue:
        """Return the result as the state sees it."""
        if not self.is_optimized:
            return result
        return {"ExecutedVersion": "$LATEST", "Payload": result, "StatusCode": 200}


def is_known(resource: str, registry: TaskRegistry) -> bool:
    """Tell whether a Resource can be served, as far as the definition alone tells."""
    return registry.find(resource) is not None or resource == LAMBDA_INVOKE


def resolve(effect: CallTask, registry: TaskRegistry) -> Call:
    """Return what to call for a Task; raise StateError where nobody registered it."""
    task = registry.find(effect.resource)
    if task is not None:
        return Call(task, effect.input)
    if effect.resource == LAMBDA_INVOKE:
        return _lambda_invoke(effect.input, registry)
    raise StateError("States.TaskFailed", f"no handler is registered for the resource {effect.resource!r}")


def _lambda_invoke(value: JSONValue, registry: TaskRegistry) -> Call:
    name = value.get("FunctionName") if isinstance(value, dict) else None
    if not isinstance(name, str) or not isinstance(value, dict):
        raise StateError("States.TaskFailed", "lambda:invoke needs a FunctionName")
    task = registry.find(name) or registry.find(function_name(name) or name.partition(":")[0])
    if task is None:
        raise StateError("States.TaskFailed", f"no handler is registered for the function {name!r}")
    return Call(task, value.get("Payload", {}), is_optimized=True)
