"""The options that choose executions and say how a batch runs: one for each field of the two attrs classes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from statechain.chaining.options import BatchExecutionOptions
from statechain.cli.exits import usage_errors
from statechain.cli.lookup import find_machine
from statechain.cli.options.values import MOMENT, STATUS
from statechain.engine.engine import Engine
from statechain.records.filters import Chained, ExecutionFilter

__all__ = [
    "FilterOptions",
    "batch_options",
    "filter_options",
    "make_options",
]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


class Renamed(click.Option):
    """An option whose old name is accepted and not shown: the last of its names."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option's line of ``--help``, without the old name."""
        record = super().get_help_record(ctx)
        return None if record is None else (record[0].replace(f", {self.secondary_opts[-1]}", ""), record[1])


FILTER_OPTIONS = {
    "status": click.option("--status", type=STATUS, multiple=True, help="Of this status; may be given more than once."),
    "state_machine": click.option("--state-machine", metavar="NAME|ID", help="Of this state machine."),
    "name": click.option("--name", metavar="TEXT", help="With this text in their names, case-sensitive."),
    "text": click.option("--text", help="With this text in their names, or ids that begin with it, case-sensitive."),
    "current_state": click.option(
        "--current-state", metavar="STATE", help="Whose current, or last, state is this one."
    ),
    "start_after": click.option(
        "--start-after", type=MOMENT, help="Started after this: 2026-01-31T12:00:00Z, or 2h (ago)."
    ),
    "start_before": click.option("--start-before", type=MOMENT, help="Started before this."),
    "limit": click.option("--limit", type=click.IntRange(0), help="At most this many."),
    "offset": click.option("--offset", type=click.IntRange(0), default=0, help="Skip this many first."),
    "order": click.option(
        "--order",
        type=click.Choice(["newest_first", "oldest_first"]),
        default="newest_first",
        show_default=True,
        help="By the time of their start.",
    ),
    "unchained_to": click.option("--unchained-to", metavar="NAME|ID", help="Not chained yet to this state machine."),
    "unchained_state": click.option(
        "--unchained-state", metavar="STATE", help="With --unchained-to: chains from this state's output."
    ),
}
"""By the field of `ExecutionFilter`; its machine is ``state_machine``, and ``unchained_to`` takes two options."""

BATCH_OPTIONS = {
    "concurrent_batches": click.option(
        "--concurrent-batches", type=click.IntRange(0), help="How many run at once; 0 or 1 is one after the other."
    ),
    "stop_on_error": click.option(
        "--stop-on-error/--continue-on-error",
        " /--go-on-after-errors",
        cls=Renamed,
        default=None,
        help="Stop at the first failure.",
    ),
    "tolerated_failure_count": click.option(
        "--tolerated-failure-count", type=click.IntRange(0), help="Stop after more failures than this."
    ),
    "tolerated_failure_percentage": click.option(
        "--tolerated-failure-percentage", type=click.FloatRange(0, 100), help="Or after more than this part."
    ),
    "redrive_failed": click.option(
        "--redrive-failed/--keep-failed", default=None, help="Redrive what ended without success in an earlier run."
    ),
    "page_size": click.option("--page-size", type=click.IntRange(1), help="How many sources are read at a time."),
    "key": click.option("--key", help="What they have in common, such as a tenant, where the machine has limits."),
    "priority": click.option("--priority", type=int, help="Those with a higher one are taken up first, likewise."),
}
"""By the field of `BatchExecutionOptions`."""


class FilterOptions:
    """What the filter options say; names of state machines are looked up when the filter is made."""

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 -- options of all types
        self._values = values
        self.limit: int | None = values["limit"]
        self.unchained_to: str | None = values["unchained_to"]

    def without_target(self) -> FilterOptions:
        """Return the options without ``--unchained-to``, for a target that does not exist yet."""
        return FilterOptions(**{**self._values, "unchained_to": None, "unchained_state": None})

    async def filter(self, engine: Engine, *, limit: int | None = None) -> ExecutionFilter:
        """Return the filter; ``limit`` counts where none was given."""
        fields = dict(self._values)
        name, state = fields.pop("state_machine"), fields.pop("unchained_state")
        machine = None if name is None else await find_machine(engine, name)
        target = None if self.unchained_to is None else await find_machine(engine, self.unchained_to)
        if target is None and state is not None:
            raise click.UsageError("--unchained-state needs --unchained-to")
        # click gives an empty tuple where there was none; to a filter that is no status at all.
        fields["status"] = fields["status"] or None
        fields["limit"] = limit if self.limit is None else self.limit
        fields["unchained_to"] = None if target is None else Chained(target, state)
        with usage_errors():
            return ExecutionFilter(**fields, state_machine_id=machine)


def filter_options(command: FunctionT) -> FunctionT:
    """Add the filter options; the command gets them as one ``selection``."""
    return _gathered(command, FILTER_OPTIONS, "selection", FilterOptions)


def batch_options(command: FunctionT) -> FunctionT:
    """Add the options of a batch; the command gets those that were given as ``options``, a dictionary."""
    return _gathered(command, BATCH_OPTIONS, "options", given)


def given(**values: Any) -> dict[str, Any]:  # noqa: ANN401 -- options of all types
    """Return what was given."""
    return {name: value for name, value in values.items() if value is not None}


def _gathered(
    command: FunctionT,
    options: Mapping[str, Callable[[FunctionT], FunctionT]],
    into: str,
    make: Callable[..., Any],
) -> FunctionT:
    @functools.wraps(command)
    def gathering(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        kwargs[into] = make(**{name: kwargs.pop(name) for name in options})
        return command(*args, **kwargs)

    decorated: Any = gathering
    # Decorators are applied from the last on, and --help shows them in the order of the text.
    for option in reversed([*options.values()]):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def make_options(values: dict[str, Any]) -> BatchExecutionOptions:
    """Return the options of a batch, or say what is not legal."""
    with usage_errors():
        return BatchExecutionOptions(**values)
