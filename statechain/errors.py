"""Every error that statechain raises on purpose.

StatechainError
├── DefinitionError             a definition has errors; lists them all
├── StateError                  a state failed, in the language's terms (error name and cause)
│   └── TaskError               raised by a handler to fail with an error name
├── ExecutionFailed             an awaited execution did not succeed (in records.results, with what it shows)
├── BatchStopped                a batch passed its tolerance of failures (there, too)
├── InputTransformerError       the caller's input_transformer raised
├── InvalidArgument             an argument is of the wrong type, or means nothing
├── InvalidPayload              a value cannot be stored as JSON exactly, is too large, or does not match a type
├── StateMachineNotFound
├── ExecutionNotFound
├── BatchNotFound
├── ExecutionAlreadyExists      the name is taken by an execution with another input
├── SourceNotFinished           chaining from an execution that has no output yet
├── SourceStateNotFound         chaining from a state that the source never left
├── InvalidToken                no task waits under this token
├── TaskTimedOut                the task that waited under this token has timed out
├── EngineNotUsable             the engine is not open, or belongs to another event loop, thread or process
├── LeaseLost                   a worker may write no more for an execution; its reason says why
└── RepositoryError             storage failed; the driver's exception is its __cause__
    ├── RepositoryUnavailable   storage cannot be reached just now: the same call may succeed later
    └── DamagedRow              a row of storage cannot be read
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

__all__ = [
    "BatchNotFound",
    "DamagedRow",
    "DefinitionError",
    "Diagnostic",
    "EngineNotUsable",
    "ExecutionAlreadyExists",
    "ExecutionNotFound",
    "InputTransformerError",
    "InvalidArgument",
    "InvalidPayload",
    "InvalidToken",
    "LeaseLost",
    "RepositoryError",
    "RepositoryUnavailable",
    "SourceNotFinished",
    "SourceStateNotFound",
    "StateError",
    "StateMachineNotFound",
    "StatechainError",
    "TaskError",
    "TaskTimedOut",
]


LossReason: TypeAlias = Literal["ANOTHERS", "ENDED", "BEHIND"]


class StatechainError(Exception):
    """The root of the tree: catch it to catch what statechain raises on purpose."""


@attrs.frozen
class Diagnostic:
    """One error in a definition.

    Attributes:
        code: A stable name of the kind of error, such as ``"missing-target"``; docs explain each.

        message: What is wrong and how to fix it, in one sentence.

        pointer: The place as a JSON pointer (RFC 6901), ``""`` for the whole definition.

        line: The line of the text, counted from 1; None when the definition was not text.

        column: The column in that line, counted from 1; None when the definition was not text.
    """

    code: str
    message: str
    pointer: str = attrs.field(default="", kw_only=True)
    line: int | None = attrs.field(default=None, kw_only=True)
    column: int | None = attrs.field(default=None, kw_only=True)

    def __str__(self) -> str:
        place = self.pointer or "the definition"
        if self.line is not None:
            place = f"{place} (line {self.line}, column {self.column})"
        return f"{place}: {self.message} [{self.code}]"


class DefinitionError(StatechainError, ValueError):
    """Raised when a state machine is created from a definition that has errors.

    Attributes:
        diagnostics: Every error that was found, in the order of the text.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        # The arguments as they were given: unpickling calls the class with them.
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        count = len(self.diagnostics)
        head = f"the definition has {count} fault{'' if count == 1 else 's'}:"
        return "\n".join([head, *(f"  {diagnostic}" for diagnostic in self.diagnostics)])


class StateError(StatechainError):
    """A state failed: what Retry and Catch see (ASL, "Errors").

    Attributes:
        error: The error name, such as ``"States.TaskFailed"`` or ``"Payment.Declined"``; None for a Fail state
            that names none.

        cause: A message for people, or None.

        location: The field whose evaluation failed (``"Output/total"``), for JSONata; else None.
    """

    def __init__(self, error: str | None, cause: str | None = None, *, location: str | None = None) -> None:
        self.error = error
        self.cause = cause
        self.location = location
        super().__init__(error, cause)

    @property
    def origin(self) -> BaseException | None:
        """The exception that the state failed by, such as the one that a handler raised; None where there was none."""
        origin = self.__cause__
        # Not a subclass: a TaskError is the handler's own exception.
        while type(origin) is StateError and origin.__cause__ is not None:
            origin = origin.__cause__
        return origin

    def __str__(self) -> str:
        return ": ".join(part for part in (self.error, self.cause) if part)


class TaskError(StateError):
    """Raise it in a handler to fail the task with an error of any name: ``TaskError("Card.Declined", "card 42")``.

    Arguments:
        error: The error name, which Retry and Catch match.

        cause: A message for people; of an exception, give ``str(exception)``.

    Raises:
        InvalidArgument: One of them is no string.
    """

    def __init__(self, error: str, cause: str | None = None) -> None:
        if not isinstance(error, str):
            raise InvalidArgument(f"error must be the name of an error, a string, not {type(error).__name__}")
        if cause is not None and not isinstance(cause, str):
            raise InvalidArgument(f"cause must be a string, or None, not {type(cause).__name__}: give str() of it")
        super().__init__(error, cause)


class InputTransformerError(StatechainError):
    """Raised when an ``input_transformer`` raised: its exception is the ``__cause__``."""


class InvalidArgument(StatechainError, TypeError, ValueError):
    """Raised by a public method when an argument is of the wrong type, or out of its bounds, before anything is done.

    It is a TypeError and a ValueError, too. The message names the argument and says what is meant.
    """


class InvalidPayload(StatechainError, ValueError):
    """Raised when a value cannot be stored as JSON exactly, before anything is written; or cannot be read as a type.

    The message names the place in the value as a JSON pointer, never the value itself.

    Attributes:
        is_too_large: Whether size or nesting is the only thing wrong with it.
    """

    def __init__(self, message: str, *, is_too_large: bool = False) -> None:
        self.is_too_large = is_too_large
        super().__init__(message)


class StateMachineNotFound(StatechainError, LookupError):
    """Raised when no state machine has this name or id."""


class ExecutionNotFound(StatechainError, LookupError):
    """Raised when no execution has this id."""


class BatchNotFound(StatechainError, LookupError):
    """Raised when no batch has this id."""


class ExecutionAlreadyExists(StatechainError):
    """Raised by a start whose name belongs to an execution of the same machine with another input."""


class SourceNotFinished(StatechainError):
    """Raised when a chained execution asks for the output of a source that has none (yet)."""


class SourceStateNotFound(StatechainError, LookupError):
    """Raised when a chained execution asks for the output of a state that its source never completed."""


class InvalidToken(StatechainError, LookupError):
    """Raised by the task token calls when no task waits, or ever waited, under the token."""


class TaskTimedOut(StatechainError):
    """Raised by the task token calls when the task under the token is over."""


class EngineNotUsable(StatechainError, RuntimeError):
    """Raised by a call on what is not open, or not open here.

    It was not entered, it has been closed, or it was opened in another event loop, thread or process. The message says
    which, and what to do.
    """


class LeaseLost(StatechainError):
    """Raised inside a worker that may write no more for an execution.

    Attributes:
        reason: ``"ANOTHERS"``: another worker claimed it. ``"ENDED"``: it has ended, or was deleted. ``"BEHIND"``:
            storage holds less than it acknowledged before, as after a failover, or from a backup.
    """

    def __init__(self, message: str, reason: LossReason = "ANOTHERS") -> None:
        self.reason = reason
        super().__init__(message)


class RepositoryError(StatechainError):
    """Raised when storage failed for good; the driver's exception is the ``__cause__``."""


class RepositoryUnavailable(RepositoryError):
    """Raised when storage cannot be reached or is busy: nothing is known to be wrong with the call itself.

    Attributes:
        timed_out: Whether storage answers, and a lock or the work took longer than it allows: other calls may succeed.
    """

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        self.timed_out = timed_out
        super().__init__(message)


class DamagedRow(RepositoryError):
    """Raised when a row of storage cannot be read: a time, a status, a JSON text or a type is none that can be there.

    An execution that needs the row ends FAILED; a list leaves the row out. ``statechain doctor`` finds and repairs
    such rows.

    Attributes:
        table: The table.

        key: The values of its key that name the row.

        problem: What is wrong with it.
    """

    def __init__(self, table: str, key: tuple[object, ...], problem: str) -> None:
        self.table = table
        self.key = key
        self.problem = problem
        # As they were given, for unpickling; the text is made by `__str__`.
        super().__init__(table, key, problem)

    def __str__(self) -> str:
        key = ", ".join(repr(value)[:200] for value in self.key)
        return f"the row {key} of {self.table} cannot be read: {self.problem} (`statechain doctor` repairs it)"
