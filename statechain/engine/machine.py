"""A state machine as its users hold it: execute, start, chain. Its batches are in `machine_batches`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statechain import asl, drawing
from statechain.arguments import NAME, checked
from statechain.chaining.arguments import SOURCE, TRANSFORMER
from statechain.chaining.source import InputTransformer, as_source, chained_input, naming_transformer
from statechain.chaining.transformers import as_function
from statechain.codec import JSONInput, JSONValue, decode
from statechain.engine.chained import ChainedRun, check_same_input, is_end_of, wait_or_abort
from statechain.engine.handle import ExecutionHandle, succeeded
from statechain.engine.machine_batches import MachineBatches
from statechain.errors import InvalidArgument
from statechain.guard import guarded
from statechain.payload import Payload
from statechain.records.executions import Execution, ExecutionStatus, Source, new_id
from statechain.records.queues import KEY, PRIORITY

if TYPE_CHECKING:
    from collections.abc import Callable

    from statechain.asl import Definition
    from statechain.chaining.runner import JoinedCallback
    from statechain.engine.services import EngineServices
    from statechain.worker.revisions import Revision

__all__ = ["StateMachine"]

MAX_NAME = 80


@guarded()
class StateMachine(MachineBatches):
    """A revision of a state machine, bound to the engine that runs it.

    Attributes:
        id: The machine; all its revisions share it.

        name: Unique in the storage.

        revision: Which definition this is, counted from 1.

        type: ``"STANDARD"`` or ``"EXPRESS"``.
    """

    def __init__(self, services: EngineServices, revision: Revision) -> None:
        self._services = services
        self.guard = services.guard
        self._revision = revision
        record = revision.record
        self.id = record.id
        self.name = record.name
        self.revision = record.revision
        self.type = record.type

    @property
    def definition(self) -> JSONValue:
        """The definition as a mapping, decoded afresh at each access."""
        return decode(self._revision.record.definition)

    def to_mermaid(self) -> str:
        """Return the definition as a Mermaid flowchart; `Engine.draw_execution` draws an execution on it."""
        return drawing.draw_definition(self._loaded().model, "mermaid")

    def to_dot(self) -> str:
        """Return the definition as a Graphviz digraph."""
        return drawing.draw_definition(self._loaded().model, "dot")

    def to_svg(self) -> str:
        """Return the definition drawn as an SVG document."""
        return drawing.draw_definition(self._loaded().model, "svg")

    def _loaded(self) -> Definition:
        return asl.load_stored(self._revision.record.definition, limits=self._services.limits)

    def __repr__(self) -> str:
        return f"<StateMachine {self.name} revision {self.revision}>"

    @checked(name=NAME.or_none(), source=SOURCE, input_transformer=TRANSFORMER, key=KEY.or_none(), priority=PRIORITY)
    async def execute(
        self,
        input: JSONInput = None,  # noqa: A002 -- the term of the field
        *,
        name: str | None = None,
        source: str | Execution | Source | None = None,
        input_transformer: InputTransformer | str | None = None,
        key: str | None = None,
        priority: int = 0,
    ) -> Execution:
        """Run an execution and return it once it has SUCCEEDED.

        >>> execution = await orders.execute({"id": 7}, name="order-7")  # doctest: +SKIP
        >>> execution.output  # doctest: +SKIP

        Arguments:
            input: The input, any JSON value; not given together with a source.

            name: Unique within the machine, 1 to 80 characters; the id by default. If an execution with this name and
                the same input exists, that one is awaited and returned.

            source: A finished execution to chain from: its output, or that of the state that a `Source` names,
                becomes the input. The link is stored with the new execution.

            input_transformer: Maps the source's output to the input; sync or async. A function, or the name of one that
                is registered by `TaskRegistry.transformer`.

            key: What it has in common with others (see `start_execution`).

            priority: Those with a higher one are taken up first (see `start_execution`).

        Returns:
            The execution, SUCCEEDED.

        Raises:
            ExecutionFailed: It ended FAILED, TIMED_OUT or ABORTED.

            ExecutionAlreadyExists: The name belongs to an execution with another input.

            ExecutionNotFound, SourceNotFinished, SourceStateNotFound, InputTransformerError: The source, or the
                transformer, gives no input.

            InvalidPayload: The input is not JSON, or too large.

            ValueError: As for `start_execution`.

        Cancelling the await aborts the execution: ABORTED is recorded before the cancellation goes on, or, where
        storage takes longer than a second, by the engine soon after.
        """
        execution, given = await self._prepared(input, name, source, input_transformer, key, priority)
        worker = self._services.worker
        # Begun and concluded by one task, which is woken once: for the end.
        begun = worker.begin(self._revision, execution, given)
        del given, input  # it is the execution's own: from here it would be kept to the end
        found, live = await worker.conclude(execution, begun)
        if is_end_of(found, execution):
            return succeeded(found, None if live is None else live.exception)
        check_same_input(found, execution, self.name)
        handle = ExecutionHandle(self._services, found, live)
        return succeeded(await wait_or_abort(self._services, handle), handle.exception)

    @checked(name=NAME.or_none(), source=SOURCE, input_transformer=TRANSFORMER, key=KEY.or_none(), priority=PRIORITY)
    async def start_execution(
        self,
        input: JSONInput = None,  # noqa: A002
        *,
        name: str | None = None,
        source: str | Execution | Source | None = None,
        input_transformer: InputTransformer | str | None = None,
        key: str | None = None,
        priority: int = 0,
    ) -> ExecutionHandle:
        """Start an execution and return once the start is durable.

        >>> handle = await orders.start_execution({"id": 7}, name="order-7")  # doctest: +SKIP
        >>> output = await handle.result()  # doctest: +SKIP

        Arguments:
            input: The input, any JSON value; not given together with a source.

            name: Unique within the machine, 1 to 80 characters; the id by default. If an execution with this name and
                the same input exists, its handle is returned.

            source: A finished execution to chain from (see `execute`).

            input_transformer: Maps the source's output to the input; sync or async. A function, or the name of one that
                is registered by `TaskRegistry.transformer`.

            key: What it has in common with others, such as a tenant, 1 to 80 characters. Where the machine has limits
                (see `Engine.set_machine_limits`), keys take turns, and a limit may count for each key.

            priority: Those with a higher one are taken up first, within a turn; from -9999 to 9999.

        Returns:
            A handle, to wait for the end or to stop the execution; `Engine.get_handle` makes another one later.

        Raises:
            ExecutionAlreadyExists: The name belongs to an execution with another input.

            ExecutionNotFound, SourceNotFinished, SourceStateNotFound, InputTransformerError: The source, or the
                transformer, gives no input.

            InvalidPayload: The input is not JSON, or too large.

            ValueError: There is both an input and a source, or a transformer without a source, or no transformer is
                registered under its name.
        """
        return await self._started(*await self._prepared(input, name, source, input_transformer, key, priority))

    async def _prepared(
        self,
        input: JSONInput,  # noqa: A002
        name: str | None,
        source: str | Execution | Source | None,
        input_transformer: str | InputTransformer | None,
        key: str | None,
        priority: int,
    ) -> tuple[Execution, Payload]:
        """Return an execution that is to be started, and its input, of a source's output where one is given."""
        origin = None
        if source is not None:
            if input is not None:
                raise ValueError("give an input or a source, not both: map the source's output by input_transformer")
            origin = as_source(source)
            transformer = as_function(input_transformer, self._services.tasks)
            input = await chained_input(self._services.repository, origin, transformer)  # noqa: A001
        elif input_transformer is not None:
            raise ValueError("an input_transformer maps a source's output: give a source")
        with naming_transformer(is_there=input_transformer is not None):
            given = self._isolated(input)
        named = None if name is None else _checked_name(name)
        return self._new_execution(given, named, origin, key=key, priority=priority), given

    async def start_child(self, input: JSONInput, *, name: str) -> ExecutionHandle:  # noqa: A002
        """Start an execution for a Task of another; join the one that has its name, as a parent that is resumed does.

        To join one that was taken over from another worker does not make it this process's own: it is handed over with
        its parent.
        """
        given = self._isolated(input)
        return await self._started(self._new_execution(given, _checked_name(name), None), given, owns=False)

    async def _started(self, execution: Execution, given: Payload, *, owns: bool = True) -> ExecutionHandle:
        holder, live = await self._services.worker.start(self._revision, execution, given, owns=owns)
        check_same_input(holder, execution, self.name)
        return ExecutionHandle(self._services, holder, live)

    def begin_chained(
        self,
        given: Payload,
        *,
        name: str,
        source: Source | None,
        joins: JoinedCallback | None,
        redrive_failed: bool,
        key: str | None,
        priority: int,
        succeeding: Callable[[], None] | None = None,
    ) -> ChainedRun:
        """Begin the execution of one item of a batch.

        ``given`` is its input, which is its own from now on. With ``joins`` the execution that already chains this
        source is joined, under any name, and reported. With ``redrive_failed`` one that ended without success is
        redriven first. ``succeeding`` is called when it has SUCCEEDED here, and that is about to be written.
        """
        self.guard.check()
        execution = self._new_execution(given, name, source, key=key, priority=priority)
        begun = self._services.worker.begin(
            self._revision, execution, given, exclusive=joins is not None, succeeding=succeeding
        )
        return ChainedRun(
            self._services, execution, begun, joins, machine_name=self.name, redrive_failed=redrive_failed
        )

    # Inside

    def _isolated(self, value: JSONInput) -> Payload:
        """Return an input as it is stored, and as the execution begins with it: a private copy."""
        limits = self._services.limits
        return Payload.isolated(value, max_bytes=limits.payload_bytes, max_depth=limits.payload_depth)

    def _new_execution(
        self, given: Payload, name: str | None, source: Source | None, *, key: str | None = None, priority: int = 0
    ) -> Execution:
        id_ = new_id()
        return Execution(
            id=id_,
            name=id_ if name is None else name,
            state_machine_id=self.id,
            state_machine_revision=self.revision,
            status=ExecutionStatus.RUNNING,
            input_text=given.encoded(),
            start_time=self._services.clock.now(),
            current_state=self._revision.plan.start_at,
            source=source,
            key=key,
            priority=priority,
        )


def _checked_name(name: str) -> str:
    """Return a name that every backend can keep and compare."""
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidArgument(f"an execution's name is 1 to {MAX_NAME} printable characters")
    return name
