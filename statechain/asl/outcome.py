"""What a model is compiled to: a plan of states, what a state answers, and what its expressions may see.

The plan answers, the interpreter acts: a state returns `Next`, `Done`, `Fail` or an effect (`CallTask`, `WaitUntil`,
`FanOut`), or raises `StateError` where an evaluation fails. Nothing here waits, reads a clock or knows storage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs

from statechain.asl import model
from statechain.asl.model import Absent
from statechain.codec import JSONValue
from statechain.errors import StateError

if TYPE_CHECKING:
    from random import Random

__all__ = [
    "FROM_INPUT",
    "FROM_RESULT",
    "MADE",
    "Branch",
    "CallTask",
    "Catch",
    "Context",
    "Done",
    "Enter",
    "Expression",
    "Fail",
    "FanOut",
    "Next",
    "Origin",
    "Outcome",
    "Plan",
    "State",
    "Step",
    "Tolerance",
    "Transfer",
    "WaitUntil",
]


class Context(Protocol):
    """What an expression may see besides its input: handed in by the interpreter, one for each visit."""

    @property
    def variables(self) -> Mapping[str, JSONValue]:
        """The variables in scope, outer scopes included."""

    def object(self) -> dict[str, JSONValue]:
        """Return the context object (``$$``, ``$states.context``), built on first use."""

    def now(self) -> datetime:
        """Return the time of this visit, in UTC."""

    def random(self) -> Random:
        """Return the random source of this visit; the same visit, run again, draws the same numbers."""

    def rng(self, purpose: str) -> Random:
        """Return another one for one purpose, which draws the same numbers, no matter what else is drawn."""


Expression: TypeAlias = Callable[[JSONValue, Context], JSONValue]
"""A compiled path, intrinsic or template: (input, context) → value; raises StateError."""


class Origin(Enum):
    """What an output is: the state's input or its result as it was, or what was made of them."""

    INPUT = auto()
    RESULT = auto()
    MADE = auto()


# Each state asks for these, and up to Python 3.11 a member of an enumeration takes longer than a call.
FROM_INPUT, FROM_RESULT, MADE = Origin


@attrs.frozen
class Next:
    """Go on to another state of the same frame."""

    state: str
    output: JSONValue
    assigned: Mapping[str, JSONValue] | None = None
    # Says what is encoded already, and is no part of what a state decides: it is not compared.
    origin: Origin = attrs.field(default=MADE, eq=False)


@attrs.frozen
class Done:
    """The frame ends here."""

    output: JSONValue
    assigned: Mapping[str, JSONValue] | None = None
    origin: Origin = attrs.field(default=MADE, eq=False)


@attrs.frozen
class CallTask:
    """Await the handler (or service) behind a Resource; times are seconds."""

    resource: str
    input: JSONValue
    timeout: float | None = None
    heartbeat: float | None = None
    credentials: JSONValue = None


@attrs.frozen
class WaitUntil:
    """Let time pass: for a number of seconds, or until a moment in UTC (exactly one is given)."""

    seconds: float | None = None
    until: datetime | None = None


@attrs.frozen
class Branch:
    """One line of control below a Parallel or Map state.

    Attributes:
        plan: What it runs.

        input: What it starts with; for a Map, after the ItemSelector.

        index: Its place: the branch's, or the item's.

        item: For a Map: the context object's ``Map.Item`` (Index, Value, and Key or Source where they exist).
    """

    plan: Plan
    input: JSONValue
    index: int
    item: Mapping[str, JSONValue] | None = None


@attrs.frozen
class Tolerance:
    """How many items may fail before a Map fails: past either bound (None: no failures are tolerated by it)."""

    count: int | None = None
    percentage: float | None = None


@attrs.frozen
class Transfer:
    """Where a distributed Map reads its items, or writes its results: an integration, its arguments and settings."""

    resource: str | None
    arguments: Mapping[str, JSONValue]
    config: Mapping[str, JSONValue]


@attrs.frozen(kw_only=True)
class FanOut:
    """Run branches below this state; their outputs, in order, are its result.

    Attributes:
        branches: All of them, or None where items must first be read (``reader``).

        max_concurrency: How many at once; 0 means no bound of the state's own.

        distributed: A Map in DISTRIBUTED mode: items run as separate executions under a Map Run.

        tolerance: For a Map: finds its tolerated failures, once its start has been reported.

        label: The Map Run's label, or None.

        reader: For a Map with an ItemReader: finds where its items are read, once its start has been recorded.

        branches_of: For a Map with an ItemReader: makes the branches of the items, each with its key, where it has one,
            and its source.

        writer: For a Map with a ResultWriter: where its results are written.
    """

    branches: Sequence[Branch] | None
    max_concurrency: int = 0
    distributed: bool = False
    tolerance: Callable[[], Tolerance] = Tolerance
    label: str | None = None
    reader: Callable[[], Transfer] | None = None
    branches_of: Callable[[Sequence[tuple[str | None, JSONValue, str | None]]], Sequence[Branch]] | None = None
    writer: Transfer | None = None


@attrs.frozen
class Fail:
    """The state fails with an error of the definition: a Fail state, as distinct from an error of evaluation."""

    error: str | None = None
    cause: str | None = None


Outcome: TypeAlias = Next | Done | Fail | CallTask | WaitUntil | FanOut

Enter: TypeAlias = Callable[[JSONValue, Context], Outcome]
Step: TypeAlias = Callable[[JSONValue, "JSONValue | Absent", Context], Next | Done]


@attrs.frozen
class Catch:
    """A compiled Catcher: for which errors, and what it makes of one."""

    error_equals: tuple[str, ...]
    apply: Callable[[JSONValue, StateError, Context], Next]


@attrs.frozen(eq=False)
class State:
    """A compiled state.

    Attributes:
        name: Its name.

        type: ``"Task"``, ``"Pass"``, and so on.

        enter: (input, context) → `Next`, `Done`, `Fail` or an effect; the same for the same arguments.

        leave: (input, result of the effect, context) → `Next` or `Done`; for states that have an effect.

        retriers: Its Retriers, in order.

        catch: Its Catchers, in order.

        resource: A Task's Resource; else None.

        make: What makes a Task's input of the raw one; None where that passes as it is.

        drops_input: Whether the result of its effect is put out as it is, and its raw input is not looked at again.

        is_plain: Whether a Task does nothing but make its input, call, and put out the result.

        is_bounded: Whether a Task has a timeout, a heartbeat or credentials.

        plans: What runs below it: the plan of each Parallel branch, or of a Map's processor.

        next: The state that follows where the effect goes well; None where the line of control ends, or for a state
            without an effect.
    """

    name: str
    type: str
    enter: Enter
    leave: Step
    retriers: tuple[model.Retrier, ...] = ()
    catch: tuple[Catch, ...] = ()
    resource: str | None = None
    make: Expression | None = None
    drops_input: bool = False
    is_plain: bool = False
    is_bounded: bool = False
    plans: tuple[Plan, ...] = ()
    next: str | None = None


@attrs.frozen(eq=False)
class Plan:
    """A compiled state machine, Parallel branch or Map processor."""

    start_at: str
    states: Mapping[str, State]
    timeout_seconds: float | None = None
