"""``statistics``: what was started in a window of time, how long it took, and what failed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import click

from statechain.cli.command import asynchronous
from statechain.cli.exits import usage_errors
from statechain.cli.lookup import find_machine
from statechain.cli.options.values import MOMENT
from statechain.cli.render import Cell, Column, echo_json, print_table
from statechain.cli.storage import Storage, storage_option
from statechain.drawing.picture import spoken
from statechain.records.executions import ExecutionStatus
from statechain.records.json_shapes import instant
from statechain.reports import Activity

__all__ = ["statistics"]

COLUMNS = (
    Column("FROM"),
    Column("STARTED", is_figure=True),
    *(Column(str(status), is_figure=True, rank=place + 1) for place, status in enumerate(ExecutionStatus)),
    Column("P50", is_figure=True),
    Column("P95", is_figure=True),
)


@click.command()
@click.option("--state-machine", metavar="NAME|ID", help="Of this state machine.")
@click.option("--since", type=MOMENT, default="24h", show_default=True, help="From then on: a time, or 2h (ago).")
@click.option("--intervals", type=click.IntRange(1, 1000), default=1, show_default=True, help="Equal parts of it.")
@click.option("--backlog", "is_backlog", is_flag=True, help="What waits for a worker now, instead.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line.")
@storage_option
@asynchronous
async def statistics(
    state_machine: str | None, since: datetime, intervals: int, storage: Storage, *, is_backlog: bool, as_json: bool
) -> None:
    """Count executions by status and measure durations, for each part of a window of time.

    Durations are those of the newest executions of a part that have ended, at most 500. With --backlog: executions that
    no worker has claimed, and open shards of batches; both of the whole storage.
    """
    if is_backlog:
        await _show_backlog(storage, as_json=as_json)
        return
    async with storage.reader() as engine:
        machine = None if state_machine is None else await find_machine(engine, state_machine)
        with usage_errors():
            activity = await engine.execution_activity(
                since,
                datetime.now(UTC),
                intervals=intervals,
                state_machine_id=None if machine is None else machine.id,
            )
    if as_json:
        for each in activity:
            echo_json(_json(each))
    else:
        print_table(COLUMNS, [_row(each) for each in activity])


async def _show_backlog(storage: Storage, *, as_json: bool) -> None:
    async with storage.reader() as engine:
        backlog = await engine.backlog()
    if as_json:
        found = attrs.asdict(backlog)
        del found["tickets"]  # this command has no dispatcher
        echo_json(found)
        return
    rows: list[list[Cell]] = [
        ["executions without a worker", str(backlog.executions)],
        ["shards without a worker", str(backlog.shards)],
        ["shards that run", str(backlog.running_shards)],
    ]
    print_table((Column("WHAT"), Column("COUNT", is_figure=True)), rows)


def _json(activity: Activity) -> dict[str, Any]:
    return {
        "begin": instant(activity.begin),
        "end": instant(activity.end),
        "counts": {str(status): count for status, count in activity.counts.items()},
        "durations": attrs.asdict(activity.durations),
    }


def _row(activity: Activity) -> list[Cell]:
    took = activity.durations
    return [
        activity.begin,
        str(activity.total),
        *(str(count) for count in activity.counts.values()),
        "" if took.p50 is None else spoken(took.p50),
        "" if took.p95 is None else spoken(took.p95),
    ]
