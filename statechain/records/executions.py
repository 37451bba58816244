"""What storage keeps, as immutable values: executions, visits, links, state machines.

Payloads are carried as canonical JSON text (see `statechain.codec`), and decoded only when it is read.
Times are timezone-aware UTC datetimes, to the microsecond.
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar, overload

import attrs

from statechain.arguments import EXECUTION_ID, text
from statechain.codec import JSONValue, decode
from statechain.records.details import VisitDetail

__all__ = [
    "TERMINAL",
    "Claim",
    "DurationStatistics",
    "Execution",
    "ExecutionStatus",
    "Link",
    "Source",
    "StateMachineRecord",
    "Suspect",
    "Visit",
    "new_id",
    "record",
]


if TYPE_CHECKING:
    from attrs import frozen as record
else:
    from attrs import define as record
"""The decorator of records that each step makes: frozen for type checkers only, since to make one that is frozen at
run time, too, takes twice as long. They are never changed."""

T = TypeVar("T")

_last_tick = 0


def new_id() -> str:
    """Return a UUIDv7 (RFC 9562): unique everywhere, and ordered by time within the process."""
    global _last_tick  # noqa: PLW0603 -- the order within a process is state of the process
    # In 4096ths of a millisecond; one more where the clock was set back, or two ids fall into one of them.
    tick = max(time.time_ns() * 4096 // 1_000_000, _last_tick + 1)
    _last_tick = tick
    # 48 bits of milliseconds, the version, 12 bits of a fraction, the variant, and 62 random bits.
    value = (tick >> 12) << 80 | 0x7 << 76 | (tick & 0xFFF) << 64 | 0b10 << 62
    digits = f"{value | int.from_bytes(os.urandom(8), 'big') >> 2:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class ExecutionStatus(StrEnum):
    """The status of an execution, in AWS's terms."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    ABORTED = "ABORTED"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will happen, unless the execution is redriven."""
        return self is not ExecutionStatus.RUNNING


TERMINAL = frozenset(status for status in ExecutionStatus if status.is_terminal)
"""The statuses of executions that have ended."""


def _to_state_name(name: str | None) -> str | None:
    # No state has an empty name. What is no string is left to the validator.
    return None if isinstance(name, str) and not name else name


@attrs.frozen
class Source:
    """What a chained execution takes its input from.

    Attributes:
        execution_id: The finished execution.

        state_name: Take the output of its last visit of this state; None, or an empty string, its final output.
    """

    execution_id: str = attrs.field(validator=EXECUTION_ID)
    state_name: str | None = attrs.field(
        default=None,
        converter=_to_state_name,
        validator=text("the name of a state").or_none(),
    )


@attrs.frozen(kw_only=True, repr=False)
class Execution:
    """One run of a state machine, as storage last recorded it.

    Attributes:
        id: Unique everywhere, ordered by time.

        name: Unique within the state machine.

        state_machine_id: The state machine; all its revisions share the id.

        state_machine_revision: The revision on which it runs to its end.

        status: RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED.

        input_text: The input as JSON text; `input` decodes it.

        output_text: The output as JSON text once SUCCEEDED, else None; `output` decodes it.

        error: The error name of an execution that did not succeed, or None.

        cause: A message for people beside the error, or None.

        start_time: When it was started.

        end_time: When it ended; None exactly while RUNNING.

        current_state: The state that the root line of control is in, or ended in.

        source: What it was chained from, or None.

        redrive_count: How often it was redriven.

        key: What it has in common with others, such as a tenant, for the limits of its machine; None without one.

        priority: Those with a higher priority are taken up before others, where the machine has limits.
    """

    id: str
    name: str
    state_machine_id: str
    state_machine_revision: int
    status: ExecutionStatus
    input_text: str
    output_text: str | None = None
    error: str | None = None
    cause: str | None = None
    start_time: datetime
    end_time: datetime | None = None
    current_state: str | None = None
    source: Source | None = None
    redrive_count: int = 0
    key: str | None = None
    priority: int = 0

    @property
    def input(self) -> JSONValue:
        """The input, decoded afresh at each access."""
        # Not kept: the record is shared, and a caller may change the value that it gets.
        return decode(self.input_text)

    @property
    def output(self) -> JSONValue:
        """The output, decoded afresh at each access; None where there is none."""
        return None if self.output_text is None else decode(self.output_text)

    @overload
    def input_as(self, type: type[T]) -> T: ...

    @overload
    def input_as(self, type: Any) -> Any: ...  # noqa: ANN401

    def input_as(self, type: Any) -> Any:  # noqa: A002
        """Return the input as a type, such as an attrs class or a pydantic model.

        Arguments:
            type: What a typed handler may take (see `output_as`).

        Returns:
            The input, converted and checked.

        Raises:
            InvalidPayload: The input does not match the type. The message names each place, and shows no value.

            ModuleNotFoundError: The extra ``typed`` is needed (``pip install 'statechain[typed]'``).

            TypeError: The type cannot be made of JSON.
        """
        return _read_as(type, self.input_text, f"the input of execution {self.name!r}")

    @overload
    def output_as(self, type: type[T]) -> T: ...

    @overload
    def output_as(self, type: Any) -> Any: ...  # noqa: ANN401 -- a union is no type

    def output_as(self, type: Any) -> Any:  # noqa: A002
        """Return the output as a type, such as an attrs class or a pydantic model.

        >>> invoice = execution.output_as(Invoice)  # doctest: +SKIP

        Arguments:
            type: What a typed handler may return: an attrs class, dataclass, msgspec Struct or pydantic model, a
                ``list`` or ``dict`` of them, or a type of JSON itself.

        Returns:
            The output, converted and checked. Where there is no output, ``None`` is converted.

        Raises:
            InvalidPayload: The output does not match the type. The message names each place, and shows no value.

            ModuleNotFoundError: The extra ``typed`` is needed (``pip install 'statechain[typed]'``).

            TypeError: The type cannot be made of JSON.
        """
        return _read_as(type, self.output_text, f"the output of execution {self.name!r}")

    def ended(
        self,
        *,
        status: ExecutionStatus,
        end_time: datetime,
        output_text: str | None,
        error: str | None,
        cause: str | None,
        current_state: str | None,
    ) -> Execution:
        """Return the execution as its end leaves it."""
        # Field by field: `attrs.evolve` takes five times as long, and each execution ends once.
        return Execution(
            id=self.id,
            name=self.name,
            state_machine_id=self.state_machine_id,
            state_machine_revision=self.state_machine_revision,
            status=status,
            input_text=self.input_text,
            output_text=output_text,
            error=error,
            cause=cause,
            start_time=self.start_time,
            end_time=end_time,
            current_state=current_state,
            source=self.source,
            redrive_count=self.redrive_count,
            key=self.key,
            priority=self.priority,
        )

    def moved_to(self, state: str | None) -> Execution:
        """Return the execution in another state, as quickly as `ended` does."""
        return Execution(
            id=self.id,
            name=self.name,
            state_machine_id=self.state_machine_id,
            state_machine_revision=self.state_machine_revision,
            status=self.status,
            input_text=self.input_text,
            output_text=self.output_text,
            error=self.error,
            cause=self.cause,
            start_time=self.start_time,
            end_time=self.end_time,
            current_state=state,
            source=self.source,
            redrive_count=self.redrive_count,
            key=self.key,
            priority=self.priority,
        )

    @property
    def duration(self) -> timedelta | None:
        """How long it took, from its start to its end; None while RUNNING."""
        return None if self.end_time is None else self.end_time - self.start_time

    def __repr__(self) -> str:
        return f"<Execution {self.name} {self.status}>"


def _read_as(annotation: Any, text: str | None, what: str) -> object:  # noqa: ANN401 -- an annotation
    from statechain.typed.convert import read_as  # noqa: PLC0415 -- loaded by the first typed read

    return read_as(annotation, text, what)


@record(kw_only=True, repr=False)
class Visit:
    """One pass of one line of control through one state: the unit of history and of durability.

    A visit is written once, at its exit. One that waits for the outside is also written when it starts to wait;
    the later row for the same ``(frame, number)`` replaces the earlier when visits are folded.

    Attributes:
        execution_id: The execution.

        frame: The path of the line of control: ``""`` is the root, ``"Fanout[0]"`` a branch, and so on, nested.

        number: Counts the visits of this frame path from 0; with the two above it identifies the visit for ever.

        state: The state's name.

        type: The state's type, such as ``"Task"``.

        entered: When the state was entered.

        exited: When it was left, caught or failed; None in the row of a visit that still waits.

        entered_event: The history event id of the entry.

        exited_event: The history event id of the exit; 0 where the history shows none.

        output: The state's output as JSON text; None where it failed or still waits.

        error: The error name, where the state failed (also where a catcher took it).

        cause: The cause beside it.

        next: The state that follows in this frame, or None at its end.

        detail: A `VisitDetail` as JSON text: moments, retries, waits, assigned variables; None where there is none.
    """

    execution_id: str
    frame: str
    number: int
    state: str
    type: str
    entered: datetime
    exited: datetime | None
    entered_event: int
    exited_event: int
    output: str | None = None
    error: str | None = None
    cause: str | None = None
    next: str | None = None
    detail: str | None = None

    @property
    def retries(self) -> int:
        """How often the state was tried again within this visit."""
        return retries_in(self.detail)

    @property
    def has_output(self) -> bool:
        """Whether it has an output: it did not fail, and does not wait."""
        return self.output is not None

    def __repr__(self) -> str:
        stands = "waiting" if self.exited is None else self.error or "left"
        return f"<Visit {self.frame or '·'}/{self.state}#{self.number} {stands}>"


def retries_in(detail: str | None) -> int:
    """Return how often a state was tried again, from the detail of its visit."""
    if detail is None or '"retries":' not in detail:  # to decode each detail of a long execution takes a while
        return 0
    return sum(VisitDetail.load(detail).retries)


@attrs.frozen(kw_only=True)
class Link:
    """The record that one execution was chained from another.

    Attributes:
        source_execution_id: The finished execution.

        source_state_name: The state whose output was taken, or None for the final output.

        target_execution_id: The chained execution.

        target_state_machine_id: Its state machine.

        created: When the chained execution was started.
    """

    source_execution_id: str
    source_state_name: str | None
    target_execution_id: str
    target_state_machine_id: str
    created: datetime


@attrs.frozen(kw_only=True, repr=False)
class StateMachineRecord:
    """One revision of a state machine's definition, as stored.

    Attributes:
        id: The state machine; all revisions share it.

        name: Unique.

        revision: Counts the definitions under this name from 1.

        type: ``"STANDARD"`` or ``"EXPRESS"``.

        definition: The definition as canonical JSON text.

        created: When this revision was created.
    """

    id: str
    name: str
    revision: int
    type: str
    definition: str
    created: datetime

    def __repr__(self) -> str:
        return f"<StateMachine {self.name} revision {self.revision}>"


@attrs.frozen(kw_only=True)
class Claim:
    """The right to run an execution: only the holder of the highest epoch may write.

    Attributes:
        execution: The execution as it is.

        epoch: Raised by each claim; every write is checked against it.

        seq: How many visit rows the journal holds.

        claims: How many take-ups since it last made progress were followed by the death of its worker.

        suspected: How long it has been a suspect, in the storage's uptime.

        is_limited: Whether it was claimed under the limits of its state machine.
    """

    execution: Execution
    epoch: int
    seq: int
    claims: int = 0
    suspected: timedelta = timedelta(0)
    is_limited: bool = False


@attrs.frozen(kw_only=True)
class Suspect:
    """A RUNNING execution whose workers died after they had taken it up, without progress in between.

    Attributes:
        execution: The execution.

        deaths: How many of its take-ups were followed by the death of the worker.

        suspected: How long it has been a suspect, in time during which some worker was alive.

        is_running: Whether a worker is trying it again now.

        due: How long until it may be taken up again; zero where it may be at once, or is running.
    """

    execution: Execution
    deaths: int
    suspected: timedelta
    is_running: bool
    due: timedelta


@attrs.frozen(kw_only=True)
class DurationStatistics:
    """How many executions are in one status, and how long they took, in seconds.

    Percentiles are by nearest rank. All durations are None where nothing has ended (so for RUNNING, always).

    Attributes:
        count: How many executions there are.

        min, max: The shortest and the longest duration.

        mean: The average.

        p50, p95, p99: The median, and what 95 and 99 of a hundred took at most.
    """

    count: int
    min: float | None = None
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None
