"""How an execution or a batch ended, for its caller: an item's result, or an error that shows what ended.

These two errors hold records, which hold values that can be invalid: so they are here, above `statechain.errors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, overload

import attrs

from statechain.codec import JSONValue
from statechain.errors import StatechainError
from statechain.records.executions import Execution

__all__ = ["BatchExecutionResult", "BatchStopped", "ExecutionFailed"]

T = TypeVar("T")


class ExecutionFailed(StatechainError):
    """Raised where an output was awaited and the execution ended FAILED, TIMED_OUT or ABORTED.

    Where it failed in this process by an exception, such as one that a handler raised, that is the ``__cause__``.

    Attributes:
        execution: The execution as it ended.
    """

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        # The argument that makes it anew: errors are copied and pickled by their arguments.
        super().__init__(execution)

    @property
    def error(self) -> str | None:
        """The error name that ended the execution."""
        return self.execution.error

    @property
    def cause(self) -> str | None:
        """The cause that ended the execution."""
        return self.execution.cause

    def __str__(self) -> str:
        execution = self.execution
        reason = ": ".join(part for part in (execution.error, execution.cause) if part)
        return f"execution {execution.name!r} ended {execution.status}" + (f" ({reason})" if reason else "")


@attrs.frozen(kw_only=True)
class BatchExecutionResult:
    """How one item of a batch ended.

    Attributes:
        source_execution_id: The source; None in bulk.

        index: The item's place in the batch, from 0.

        execution: The execution as it ended; None where none could be started, which ``error`` then says. Typed so that
            it need not be narrowed.

        error: None where it SUCCEEDED; else an ExecutionFailed, InputTransformerError, SourceNotFinished, …
    """

    source_execution_id: str | None
    index: int
    # `| Any` for `| None`, as typeshed has it for `re.Match.group`: nearly every result has an execution, and a checker
    # that asked for a test of None before each `result.execution.output` would find no mistake.
    execution: Execution | Any
    error: Exception | None

    @property
    def output(self) -> JSONValue:
        """The output of the execution; where it did not succeed, ``error`` is raised."""
        if self.error is not None:
            raise self.error
        return None if self.execution is None else self.execution.output

    @overload
    def output_as(self, type: type[T]) -> T: ...

    @overload
    def output_as(self, type: Any) -> Any: ...  # noqa: ANN401 -- a union is no type

    def output_as(self, type: Any) -> Any:  # noqa: A002
        """Return the output as a type (see `Execution.output_as`).

        Arguments:
            type: What a typed handler may return, such as an attrs class.

        Returns:
            The output, converted and checked.

        Raises:
            StatechainError: The item failed: its ``error`` is raised, such as `ExecutionFailed`.

            InvalidPayload: The output does not match the type.

            ModuleNotFoundError, TypeError: As for `Execution.output_as`.
        """
        if self.error is not None:
            raise self.error
        return None if self.execution is None else self.execution.output_as(type)


class BatchStopped(StatechainError):
    """Raised by a batch whose failures passed its tolerance; its ``__cause__`` is the first failure.

    Attributes:
        results: Every item that ended so far, in the order of the index; none where a stream has handed them out.
    """

    def __init__(self, results: Sequence[BatchExecutionResult]) -> None:
        self.results = list(results)
        super().__init__(self.results)

    def __str__(self) -> str:
        if not self.results:
            return "the batch was stopped"
        failed = sum(result.error is not None for result in self.results)
        return f"the batch was stopped by its failures: {failed} of {len(self.results)} ended items failed"
