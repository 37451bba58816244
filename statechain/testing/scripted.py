"""Handlers that answer as a test scripts them, state by state, and remember what they were called with.

A scripted state is never resolved by its Resource: handlers, Lambda functions, nested executions, activities and task
tokens are all answered in their place. States without a script go to the fallback, if there is one.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

import attrs

from statechain.arguments import TEXT, checked, instance_of, text
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.records.executions import Execution
from statechain.tasks.registry import Task, TaskContext, TaskRegistry
from statechain.testing.mock_config import Response, read_mock_config

if TYPE_CHECKING:
    from statechain.engine.engine import Engine
    from statechain.tasks.dependencies import Dependencies, Dependency

__all__ = ["Call", "Return", "ScriptedTasks", "Throw", "visited_states"]


def _delay(after: timedelta | float) -> timedelta:
    return after if isinstance(after, timedelta) else timedelta(seconds=after)


@attrs.frozen
class Return:
    """The task succeeds with a result.

    Attributes:
        result: What it returns; for a Lambda function by ``lambda:invoke`` with all that wraps the payload.

        after: How long it takes by the engine's clock: a duration, or seconds.
    """

    result: JSONValue = None
    after: timedelta = attrs.field(default=timedelta(0), converter=_delay, kw_only=True)


@attrs.frozen
class Throw:
    """The task fails.

    Attributes:
        error: The error name that Retry and Catch see.

        cause: A message for people.

        after: How long it takes by the engine's clock: a duration, or seconds.
    """

    error: str = attrs.field(validator=text("the name of an error"))
    cause: str | None = attrs.field(default=None, validator=TEXT.or_none())
    after: timedelta = attrs.field(default=timedelta(0), converter=_delay, kw_only=True)


Answer: TypeAlias = Return | Throw | Callable[..., Any]
"""One answer of a state; a callable is a handler, plain or async, that makes it of the input."""


@attrs.frozen
class Call:
    """A call of a scripted state, as it was made.

    Attributes:
        state: The state's name.

        input: What it was called with.

        attempt: Counts the attempts of this visit from 1.

        execution_id: The execution.

        execution_name: Its name.
    """

    state: str
    input: JSONValue
    attempt: int
    execution_id: str
    execution_name: str


@attrs.frozen
class _Lines:
    """The answers of one state, in the order of its calls; and whether they begin anew after the last."""

    answers: tuple[Return | Throw | Task, ...]
    cycles: bool


class ScriptedTasks(TaskRegistry):
    """Handlers for an `Engine` under test: ``Engine(tasks=ScriptedTasks({...}))``.

    Arguments:
        script: By the name of a state: one answer for every call; or a sequence of answers, one for each call of the
            state within an execution, after which any more calls end the execution with States.Runtime, which no
            Catcher answers.

        fallback: The handlers of states without a script. Without it such a state ends the execution likewise.

    Attributes:
        calls: Every call of a scripted state, in order.
    """

    @checked(
        script=instance_of(Mapping, meant="a mapping from the names of states to answers"),
        fallback=instance_of(TaskRegistry, meant="a TaskRegistry").or_none(),
    )
    def __init__(
        self, script: Mapping[str, Answer | Sequence[Answer]], *, fallback: TaskRegistry | None = None
    ) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._fallback = fallback
        self._counts: Counter[tuple[str, str]] = Counter()
        self._views: dict[str, _View] = {}
        for state, answers in script.items():
            if isinstance(answers, Sequence):
                lines = _Lines(tuple(_prepared(state, answer) for answer in answers), cycles=False)
            else:
                lines = _Lines((_prepared(state, answers),), cycles=True)
            self._add_lines(state, lines)

    @classmethod
    def from_mock_config(
        cls,
        config: Path | Mapping[str, Any],
        state_machine: str,
        test_case: str,
        *,
        fallback: TaskRegistry | None = None,
    ) -> Self:
        """Return the script of a test case in a mock configuration file of AWS Step Functions Local.

        A state's responses are numbered by its calls within an execution, and begin anew after the last.

        Arguments:
            config: The path of the file, or what it holds.

            state_machine: A name under ``StateMachines``.

            test_case: A name under its ``TestCases``.

            fallback: The handlers of states that the test case does not mock.

        Raises:
            ValueError: The file is not of that kind, or has no such test case.
        """
        tasks = cls({}, fallback=fallback)
        for state, responses in read_mock_config(config, state_machine, test_case).items():
            tasks._add_lines(state, _Lines(tuple(map(_answer_of, responses)), cycles=True))
        return tasks

    def inputs(self, state: str) -> list[JSONValue]:
        """Return what a scripted state was called with, in order.

        Arguments:
            state: The state's name.
        """
        return [call.input for call in self.calls if call.state == state]

    @property
    def uncalled(self) -> list[str]:
        """The scripted states that were never called."""
        return [state for state in self._views if not self.inputs(state)]

    def for_state(self, state: str) -> TaskRegistry:
        """Return what answers a state."""
        view = self._views.get(state)
        if view is not None:
            return view
        return _View(_unscripted(state)) if self._fallback is None else self._fallback

    def find(self, resource: str) -> Task | None:
        """Return what a Resource means where no state is known yet: with a script anything may have an answer."""
        found = None if self._fallback is None else self._fallback.find(resource)
        return found or _unscripted(resource)

    def find_transformer(self, name: str) -> Callable[[Any], Any] | None:
        """Return a transformer that is registered here, or in the fallback."""
        found = super().find_transformer(name)
        return self._fallback.find_transformer(name) if found is None and self._fallback is not None else found

    def with_dependencies(self, dependencies: Dependencies) -> Self:
        """Return a view for one engine: the handlers of the fallback get its dependencies."""
        view = super().with_dependencies(dependencies)
        if self._fallback is not None:
            view._fallback = self._fallback.with_dependencies(dependencies)  # noqa: SLF001 -- its own class
        return view

    def wanted(self) -> list[tuple[str, Mapping[str, Dependency]]]:
        """Return the dependencies of the fallback's handlers."""
        return [] if self._fallback is None else self._fallback.wanted()

    def _add_lines(self, state: str, lines: _Lines) -> None:
        if not lines.answers:
            raise ValueError(f"the script of the state {state!r} has no answer")

        async def answer(value: JSONValue, context: TaskContext) -> object:
            return await self._answer(state, lines, value, context)

        self._views[state] = _View(_task(state, answer))

    async def _answer(self, state: str, lines: _Lines, value: JSONValue, context: TaskContext) -> object:
        # Counted by execution, so that those that run beside each other do not take each other's answers.
        count = self._counts[context.execution_id, state]
        self._counts[context.execution_id, state] += 1
        seen = copy.deepcopy(value)  # a handler may do with its input as it likes
        self.calls.append(Call(state, seen, context.attempt, context.execution_id, context.execution_name))
        if count >= len(lines.answers) and not lines.cycles:
            raise StateError(
                "States.Runtime",
                f"the script of the state {state!r} has {len(lines.answers)} answers, and this is call {count + 1}",
            )
        answer = lines.answers[count % len(lines.answers)]
        clock = context._clock  # noqa: SLF001 -- a delay is a wait by the engine's clock
        if isinstance(answer, Task):
            return await answer(value, context, clock)
        if answer.after:
            await clock.sleep_until(clock.now() + answer.after)
        if isinstance(answer, Throw):
            raise StateError(answer.error, answer.cause)
        return answer.result


class _View(TaskRegistry):
    """The handlers as one state sees them: one for any Resource."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    def find(self, resource: str) -> Task | None:  # noqa: ARG002
        """Return the one handler."""
        return self._task


def _task(name: str, handler: Callable[..., Any]) -> Task:
    return Task(name, handler, "at_least_once", takes_context=True, is_async=True, answers=True)


def _prepared(state: str, answer: Answer) -> Return | Throw | Task:
    """Return an answer; a callable as it would be registered."""
    if isinstance(answer, Return | Throw):
        return answer
    registry = TaskRegistry()
    registry.add(state, answer)
    return cast("Task", registry.find(state))


def _unscripted(name: str) -> Task:
    async def refuse(_value: JSONValue, context: TaskContext) -> None:
        raise StateError("States.Runtime", f"the state {context.state_name!r} has no script, and there is no fallback")

    return _task(name, refuse)


def _answer_of(response: Response) -> Return | Throw:
    return Throw(response.error, response.cause) if response.error is not None else Return(response.result)


async def visited_states(engine: Engine, execution: Execution | str) -> list[str]:
    """Return the names of the states that an execution entered, in order, each time anew; retries are no entries.

    Arguments:
        engine: The engine that the execution is stored in.

        execution: The execution, or its id.
    """
    history = await engine.get_execution_history(execution if isinstance(execution, str) else execution.id)
    return [event["stateEnteredEventDetails"]["name"] for event in history if event["type"].endswith("StateEntered")]
