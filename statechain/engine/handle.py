"""A handle on an execution: await its end or its output, or stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from statechain.arguments import TEXT, checked
from statechain.codec import JSONValue
from statechain.guard import guarded
from statechain.records.executions import Execution, ExecutionStatus
from statechain.records.results import ExecutionFailed

if TYPE_CHECKING:
    from statechain.engine.services import EngineServices
    from statechain.execution.running import RunningExecution

__all__ = ["ExecutionHandle", "succeeded"]

T = TypeVar("T")
JSON: Final = object()
"""The default of `ExecutionHandle.result`: the output as JSON. None would be a type, the one of null."""


@guarded()
class ExecutionHandle:
    """An execution that was started: await its end, or stop it."""

    def __init__(self, services: EngineServices, execution: Execution, live: RunningExecution | None) -> None:
        self._services = services
        self.guard = services.guard
        self._execution = execution
        self._live = live

    @property
    def id(self) -> str:
        """The execution's id."""
        return self._execution.id

    @property
    def name(self) -> str:
        """The execution's name."""
        return self._execution.name

    @property
    def execution(self) -> Execution:
        """The execution as it was when it was started, or joined."""
        return self._execution

    @property
    def exception(self) -> BaseException | None:
        """What the execution failed by, such as a handler's exception, once it ended in this process; else None."""
        return None if self._live is None else self._live.exception

    def __repr__(self) -> str:
        return f"<ExecutionHandle {self.name}>"

    async def wait(self) -> Execution:
        """Return the execution once it has ended, in any status; cancelling the wait does not touch it.

        Returns:
            The execution as it ended.

        Raises:
            ExecutionNotFound: It was deleted meanwhile.
        """
        return await self._services.worker.wait(self.id, self._live)

    @overload
    async def result(self) -> JSONValue: ...

    @overload
    async def result(self, type: type[T]) -> T: ...

    @overload
    async def result(self, type: Any) -> Any: ...  # noqa: ANN401 -- a union has no type of its own

    async def result(self, type: Any = JSON) -> Any:  # noqa: A002
        """Return the output once the execution has SUCCEEDED.

        Arguments:
            type: The output is returned as this type, such as an attrs class (see `Execution.output_as`); left out,
                as JSON.

        Raises:
            ExecutionFailed: It ended FAILED, TIMED_OUT or ABORTED.

            InvalidPayload: The output does not match the type.
        """
        ended = succeeded(await self.wait(), self.exception)
        return ended.output if type is JSON else ended.output_as(type)

    @checked(error=TEXT.or_none(), cause=TEXT.or_none())
    async def stop(self, error: str | None = None, cause: str | None = None) -> Execution:
        """End the execution as ABORTED, and return it; one that has ended stays as it is.

        Arguments:
            error: The name of the error to record.

            cause: Why it is stopped, to record; one that is too long is truncated.

        Returns:
            The execution as it ended.

        Raises:
            ExecutionNotFound: It was deleted meanwhile.
        """
        return await self._services.stop_execution(self.id, error=error, cause=cause)


def succeeded(execution: Execution, exception: BaseException | None) -> Execution:
    """Return an execution that SUCCEEDED; raise ExecutionFailed from the exception that ended another one."""
    if execution.status is not ExecutionStatus.SUCCEEDED:
        raise ExecutionFailed(execution) from exception
    return execution
