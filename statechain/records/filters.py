"""Filters of executions, their order, and the cursor that pages through them.

A filter is checked when it is made, so storage gets only valid ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypeAlias, cast, runtime_checkable

import attrs

from statechain.arguments import TEXT
from statechain.codec import JSONValue
from statechain.errors import InvalidArgument
from statechain.records.executions import Execution, ExecutionStatus

__all__ = ["Chained", "Cursor", "ExecutionFilter", "ExecutionKey", "HasId", "Statuses", "as_id", "to_statuses"]

OPTIONAL_TEXT = TEXT.or_none()
Order = Literal["newest_first", "oldest_first"]


@runtime_checkable
class HasId(Protocol):
    """An object that is known by its id, such as a `StateMachine`."""

    @property
    def id(self) -> str:
        """The id."""


def _storable_text(_instance: object, attribute: attrs.Attribute[Any], value: str | None) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise InvalidArgument(f"{attribute.name} must be a string, not {type(value).__name__}")
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{attribute.name} holds a NUL or a lone surrogate, which no database can compare")


def as_id(machine: HasId | str) -> str:
    """Return the id of a machine, or the string that was given; other values are left to a validator."""
    # A class that has a property `id` is taken for a HasId, too: the validator refuses it.
    return machine.id if isinstance(machine, HasId) and not isinstance(machine, type) else cast("str", machine)


def _is_machine(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None and attribute.default is None:
        return
    if not isinstance(value, str):
        raise InvalidArgument(
            f"{attribute.name} must be a state machine, its name or its id, not {type(value).__name__}"
        )
    _storable_text(instance, attribute, value)


@attrs.frozen
class Chained:
    """A relation to look for: executions of ``to`` that were chained from an execution.

    Attributes:
        to: The target machine, its name or its id.

        source_state_name: Only chains from this state's output; None means chains from any output.
    """

    to: str = attrs.field(converter=as_id, validator=_is_machine)
    source_state_name: str | None = attrs.field(default=None, validator=_storable_text)


def to_statuses(value: Statuses | None) -> frozenset[ExecutionStatus] | None:
    """Return the statuses that one status, or a collection of them, means. Raises ValueError."""
    if value is None:
        return None
    if not isinstance(value, Iterable):
        raise InvalidArgument(f"status must be one status or a collection of them, not {type(value).__name__}")
    # A status is a string, and an iterable of its letters.
    members = [value] if isinstance(value, str) else list(value)
    try:
        return frozenset(ExecutionStatus(member) for member in members)
    except ValueError as error:
        known = ", ".join(ExecutionStatus)
        raise ValueError(f"status: {error}; the statuses are {known}") from None


def _to_utc(value: datetime | None) -> datetime | None:
    """Return a time in UTC; other values are left to the validator, which knows the field's name."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        return value
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return value


def _is_utc(_instance: object, attribute: attrs.Attribute[Any], value: datetime | None) -> None:
    if value is None:
        return
    if not isinstance(value, datetime):
        raise InvalidArgument(f"{attribute.name} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(
            f"{attribute.name} is {value.isoformat()}, a naive time: give it a timezone, such as datetime.now(UTC)"
        )
    # The converter has made it UTC, but for a time that overflows there.
    if value.tzinfo is not UTC:
        raise ValueError(f"{attribute.name} is {value.isoformat()}, which is beyond the years 1 to 9999 in UTC")


def _to_chained(value: Chained | HasId | str | None) -> Chained | None:
    is_machine = isinstance(value, str | HasId) and not isinstance(value, type)
    return Chained(cast("str | HasId", value)) if is_machine else cast("Chained | None", value)


def _is_chained(_instance: object, attribute: attrs.Attribute[Any], value: Chained | None) -> None:
    if value is not None and not isinstance(value, Chained):
        raise InvalidArgument(
            f"{attribute.name} must be Chained, a state machine, its name or its id, not {type(value).__name__}"
        )


def _is_count(_instance: object, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value is None and attribute.default is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"{attribute.name} must be a whole number, not {type(value).__name__}")
    # What a BIGINT holds: an offset goes into SQL as it is.
    if not 0 <= value < 2**63:
        raise ValueError(f"{attribute.name} is {value}: it must be at least 0 and below 2**63")


Statuses: TypeAlias = ExecutionStatus | str | Iterable[ExecutionStatus | str]


@attrs.frozen(kw_only=True, init=False)
class ExecutionFilter:
    """Selects executions, in a total order by ``(start_time, id)``.

    Attributes:
        status: One status or a collection of them; None is any.

        state_machine_id: Only executions of this machine: the machine, its name or its id.

        name: A literal, case-sensitive part of the name. ``name_contains`` is another name for it.

        text: A literal, case-sensitive part of the name, or the beginning of the id.

        current_state: Only executions that are in this state, or ended in it; branches do not count.

        start_after: Only executions started after this time (exclusive, timezone-aware).

        start_before: Only executions started before this time (exclusive, timezone-aware).

        limit: At most this many; None for all, 0 for none.

        offset: Skip this many first.

        order: ``"newest_first"`` or ``"oldest_first"``.

        unchained_to: Only executions from which no execution of this target, RUNNING or SUCCEEDED, was chained: a
            `Chained`, or a machine, its name or its id.

    Raises:
        ValueError: A value is out of its bounds: a naive time, an unknown status, a negative limit.

        InvalidArgument: A value is of the wrong type.
    """

    status: frozenset[ExecutionStatus] | None = attrs.field(default=None, converter=to_statuses)
    state_machine_id: str | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(as_id),
        validator=_is_machine,
    )
    name: str | None = attrs.field(default=None, validator=_storable_text)
    text: str | None = attrs.field(default=None, validator=_storable_text)
    current_state: str | None = attrs.field(default=None, validator=_storable_text)
    start_after: datetime | None = attrs.field(default=None, converter=_to_utc, validator=_is_utc)
    start_before: datetime | None = attrs.field(default=None, converter=_to_utc, validator=_is_utc)
    limit: int | None = attrs.field(default=None, validator=_is_count)
    offset: int = attrs.field(default=0, validator=_is_count)
    order: Order = attrs.field(default="newest_first")
    unchained_to: Chained | None = attrs.field(default=None, converter=_to_chained, validator=_is_chained)

    def __init__(  # attrs has one name for each field; `name_contains` is a second one
        self,
        *,
        status: Statuses | None = None,
        state_machine_id: HasId | str | None = None,
        name: str | None = None,
        name_contains: str | None = None,
        text: str | None = None,
        current_state: str | None = None,
        start_after: datetime | None = None,
        start_before: datetime | None = None,
        limit: int | None = None,
        offset: int = 0,
        order: Order = "newest_first",
        unchained_to: Chained | HasId | str | None = None,
    ) -> None:
        OPTIONAL_TEXT.check("name_contains", name_contains)
        if name is not None and name_contains is not None:
            raise ValueError("give name or name_contains, not both: they are the same")
        self.__attrs_init__(
            status=status,
            state_machine_id=state_machine_id,
            name=name if name_contains is None else name_contains,
            text=text,
            current_state=current_state,
            start_after=start_after,
            start_before=start_before,
            limit=limit,
            offset=offset,
            order=order,
            unchained_to=unchained_to,
        )

    @property
    def name_contains(self) -> str | None:
        """The part of the name; `name` is the same."""
        return self.name

    def described(self) -> dict[str, JSONValue]:
        """Return the filter as a JSON object, as it is stored with a batch: every field that restricts or orders."""
        values = {field.name: _described(getattr(self, field.name)) for field in attrs.fields(type(self))}
        # 0 skips nothing: it is left out, as None is.
        if not self.offset:
            del values["offset"]
        return {name: value for name, value in values.items() if value is not None}

    @order.validator
    def _known_order(self, _attribute: attrs.Attribute[str], value: str) -> None:
        if value not in ("newest_first", "oldest_first"):  # other types may not be hashable
            raise ValueError(f"order is {value!r}: it must be 'newest_first' or 'oldest_first'")

    def __attrs_post_init__(self) -> None:
        if self.start_after is not None and self.start_before is not None and self.start_after >= self.start_before:
            raise ValueError("start_after must be earlier than start_before")


def _described(value: object) -> JSONValue:
    match value:
        case frozenset():
            return [str(member) for member in sorted(value)]
        case datetime():
            return value.isoformat()
        case Chained():
            return attrs.asdict(value)
        case _:
            return cast("JSONValue", value)


@attrs.frozen
class Cursor:
    """The place of one execution in the order of a filter: a page starts after it.

    Attributes:
        start_time: When the execution was started.

        id: Its id, which orders those that were started in the same microsecond.
    """

    start_time: datetime
    id: str  # breaks ties: many may start in the same microsecond

    @classmethod
    def of(cls, execution: Execution | ExecutionKey) -> Cursor:
        """Return the place of an execution."""
        return cls(execution.start_time, execution.id)


@attrs.frozen
class ExecutionKey:
    """An execution by its place in the order of a filter, without its payloads.

    Together with the redrive count this identifies one run: if the count is unchanged, the ended execution has not been
    redriven.

    Attributes:
        start_time: When the execution was started.

        id: Its id.

        redrive_count: How often it had been redriven.
    """

    start_time: datetime
    id: str
    redrive_count: int

    @classmethod
    def of(cls, execution: Execution) -> ExecutionKey:
        """Return the key of an execution."""
        return cls(execution.start_time, execution.id, execution.redrive_count)
