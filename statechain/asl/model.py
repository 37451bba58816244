"""The immutable model of a definition: what the text says, checked for form, with no meaning attached yet.

Payload templates stay plain JSON values and expressions stay strings; `plan` compiles them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final, Literal, TypeAlias

import attrs

from statechain.codec import JSONValue

__all__ = [
    "ABSENT",
    "Absent",
    "Catcher",
    "Choice",
    "ChoiceRule",
    "Comparison",
    "Condition",
    "Fail",
    "ItemBatcher",
    "ItemProcessor",
    "ItemReader",
    "Junction",
    "Map",
    "Negation",
    "Optional",
    "Parallel",
    "Pass",
    "QueryLanguage",
    "ResultWriter",
    "Retrier",
    "Rule",
    "State",
    "StateMachine",
    "Succeed",
    "Task",
    "Wait",
]

QueryLanguage = Literal["JSONPath", "JSONata"]


class Absent(Enum):
    """The type of `ABSENT`: a field that is not there, where null means something else."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT
Optional: TypeAlias = "JSONValue | Absent"


@attrs.frozen(kw_only=True)
class Retrier:
    """How a state is tried again after some errors (ASL, "Retrying after error"); times are seconds."""

    error_equals: tuple[str, ...]
    interval_seconds: float = 1
    max_attempts: int = 3
    backoff_rate: float = 2.0
    max_delay_seconds: float | None = None
    jitter_strategy: Literal["FULL", "NONE"] = "NONE"


@attrs.frozen(kw_only=True)
class Catcher:
    """Where a state goes after some errors (ASL, "Fallback states")."""

    error_equals: tuple[str, ...]
    next: str
    result_path: Optional = ABSENT
    output: Optional = ABSENT
    assign: Optional = ABSENT


@attrs.frozen(kw_only=True)
class _State:
    """What every state has.

    Attributes:
        name: Unique in the definition.

        pointer: Its place in the definition, as a JSON pointer.

        query_language: The one in force in this state.
    """

    name: str
    pointer: str
    query_language: QueryLanguage
    comment: str | None = None
    input_path: Optional = ABSENT
    output_path: Optional = ABSENT
    output: Optional = ABSENT
    assign: Optional = ABSENT

    @property
    def machines(self) -> tuple[StateMachine, ...]:
        """The machines inside: a Parallel's branches, a Map's processor."""
        return ()


@attrs.frozen(kw_only=True)
class _Flowing(_State):
    """A state that goes on to another, or ends its line of control (``next`` is None)."""

    next: str | None


@attrs.frozen(kw_only=True)
class _Working(_Flowing):
    """A state that can fail and be tried again."""

    parameters: Optional = ABSENT
    arguments: Optional = ABSENT
    result_selector: Optional = ABSENT
    result_path: Optional = ABSENT
    retry: tuple[Retrier, ...] = ()
    catch: tuple[Catcher, ...] = ()


@attrs.frozen(kw_only=True)
class Task(_Working):
    """Does work outside; ``*_path`` fields and JSONata strings are read from the input."""

    resource: str
    timeout_seconds: Optional = ABSENT
    timeout_seconds_path: str | None = None
    heartbeat_seconds: Optional = ABSENT
    heartbeat_seconds_path: str | None = None
    credentials: Optional = ABSENT


@attrs.frozen(kw_only=True)
class Pass(_Flowing):
    """Passes its input on, or something else instead."""

    result: Optional = ABSENT
    result_path: Optional = ABSENT
    parameters: Optional = ABSENT


@attrs.frozen
class Comparison:
    """One JSONPath comparison: ``operator`` names its table entry; ``operand`` is a literal or a path."""

    variable: str
    operator: str
    operand: JSONValue


@attrs.frozen
class Junction:
    """``And`` or ``Or`` of rules."""

    operator: Literal["And", "Or"]
    rules: tuple[Rule, ...]


@attrs.frozen
class Negation:
    """``Not`` of a rule."""

    rule: Rule


@attrs.frozen
class Condition:
    """A JSONata condition, or a literal boolean."""

    value: str | bool


Rule: TypeAlias = Comparison | Junction | Negation | Condition


@attrs.frozen(kw_only=True)
class ChoiceRule:
    """One top-level rule of a Choice, and where it leads."""

    rule: Rule
    next: str
    output: Optional = ABSENT
    assign: Optional = ABSENT


@attrs.frozen(kw_only=True)
class Choice(_State):
    """Goes where the first rule that holds leads, else to the default."""

    choices: tuple[ChoiceRule, ...]
    default: str | None = None


@attrs.frozen(kw_only=True)
class Wait(_Flowing):
    """Lets time pass; exactly one of its four fields is there."""

    seconds: Optional = ABSENT
    seconds_path: str | None = None
    timestamp: Optional = ABSENT
    timestamp_path: str | None = None


@attrs.frozen(kw_only=True)
class Succeed(_State):
    """Ends its line of control well."""


@attrs.frozen(kw_only=True)
class Fail(_State):
    """Ends the execution, or the branch, with an error."""

    error: Optional = ABSENT
    error_path: str | None = None
    cause: Optional = ABSENT
    cause_path: str | None = None


@attrs.frozen(kw_only=True)
class Parallel(_Working):
    """Runs branches side by side."""

    branches: tuple[StateMachine, ...]

    @property
    def machines(self) -> tuple[StateMachine, ...]:
        """The branches."""
        return self.branches


@attrs.frozen(kw_only=True)
class ItemProcessor:
    """What a Map runs for each item."""

    machine: StateMachine
    mode: Literal["INLINE", "DISTRIBUTED"] = "INLINE"
    execution_type: Literal["STANDARD", "EXPRESS"] | None = None


@attrs.frozen(kw_only=True)
class ItemReader:
    """Where a distributed Map reads its items from."""

    resource: str
    reader_config: Optional = ABSENT
    parameters: Optional = ABSENT
    arguments: Optional = ABSENT


@attrs.frozen(kw_only=True)
class ItemBatcher:
    """How a distributed Map groups its items."""

    batch_input: Optional = ABSENT
    max_items: Optional = ABSENT
    max_items_path: str | None = None
    max_bytes: Optional = ABSENT
    max_bytes_path: str | None = None


@attrs.frozen(kw_only=True)
class ResultWriter:
    """Where a distributed Map writes its results."""

    resource: str | None = None
    writer_config: Optional = ABSENT
    parameters: Optional = ABSENT
    arguments: Optional = ABSENT


@attrs.frozen(kw_only=True)
class Map(_Working):
    """Runs a processor for each item of an array."""

    item_processor: ItemProcessor
    items_path: Optional = ABSENT
    items: Optional = ABSENT
    item_selector: Optional = ABSENT
    max_concurrency: Optional = ABSENT
    max_concurrency_path: str | None = None
    tolerated_failure_count: Optional = ABSENT
    tolerated_failure_count_path: str | None = None
    tolerated_failure_percentage: Optional = ABSENT
    tolerated_failure_percentage_path: str | None = None
    label: str | None = None
    item_reader: ItemReader | None = None
    item_batcher: ItemBatcher | None = None
    result_writer: ResultWriter | None = None

    @property
    def machines(self) -> tuple[StateMachine, ...]:
        """What each item runs."""
        return (self.item_processor.machine,)


State: TypeAlias = Task | Pass | Choice | Wait | Succeed | Fail | Parallel | Map


@attrs.frozen(kw_only=True)
class StateMachine:
    """A whole definition, a Parallel branch or a Map's processor."""

    pointer: str
    start_at: str
    states: Mapping[str, State]
    query_language: QueryLanguage = "JSONPath"
    comment: str | None = None
    version: str | None = None
    timeout_seconds: float | None = None

    def walk(self) -> Iterator[StateMachine]:
        """Yield this machine and all inside it, without recursion."""
        pending = [self]
        while pending:
            machine = pending.pop()
            yield machine
            for state in machine.states.values():
                pending.extend(state.machines)
