"""Records → what a person reads: tables on a terminal, tab-separated lines in a pipe, JSON where it is asked for."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import attrs
import click
from rich.table import Table
from rich.text import Text

from statechain.cli.terminal import console_of, is_utf
from statechain.drawing.picture import Standing, folded, printable, seconds_of, shortened, spoken, standing_of
from statechain.records.batches import Batch
from statechain.records.executions import Execution, Visit
from statechain.records.json_shapes import instant

__all__ = [
    "STANDINGS",
    "STYLES",
    "Cell",
    "Column",
    "after",
    "duration_of",
    "echo_json",
    "echo_json_array",
    "moment",
    "print_table",
    "styled",
    "styled_batch",
    "visit_rows",
    "zoned",
]

STYLES = {"RUNNING": "blue", "SUCCEEDED": "green", "FAILED": "red", "TIMED_OUT": "red", "ABORTED": "magenta"}
STANDINGS: dict[Standing, tuple[str, str]] = {
    "succeeded": ("✓", "green"),
    "caught": ("!", "yellow"),
    "failed": ("✗", "red"),
    "running": ("…", "blue"),
    "stopped": ("■", "magenta"),
}
WIDE = 132
FOLDED = 20
"""A column that is wider may be folded, to this width and no less."""
UNSHOWABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What JSON allows in a string, and no terminal or encoding can be trusted with."""

Cell: TypeAlias = "str | Text | datetime"
"""A cell of a table; a time is local for people, UTC for programs."""


@attrs.frozen
class Column:
    """A column of a table.

    Attributes:
        heading: What is above it.

        is_figure: Whether it is aligned to the right.

        is_wide: Whether it is shown on wide terminals only.

        rank: Where the terminal is too narrow, the columns of the highest rank are left out first, and those of rank 0
            never.
    """

    heading: str
    is_figure: bool = False
    is_wide: bool = False
    rank: int = 0


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
    """Print rows: a table on a terminal, else tab-separated lines with a heading, never cut."""
    console = console_of()
    if not console.is_terminal:
        click.echo("\t".join(column.heading for column in columns))
        for row in rows:
            click.echo("\t".join(_plain(cell) for cell in row))
        return
    texts = [[_shown(cell) for cell in row] for row in rows]
    widths = [
        max([len(column.heading), *(row[place].cell_len for row in texts)]) for place, column in enumerate(columns)
    ]
    shown = _fitting(columns, widths, console.width)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place in shown:
        justify = "right" if columns[place].is_figure else "left"
        is_short = widths[place] <= FOLDED
        table.add_column(columns[place].heading, justify=justify, overflow="fold", no_wrap=is_short)  # type: ignore[arg-type]
    for texts_of_row in texts:
        table.add_row(*(texts_of_row[place] for place in shown))
    console.print(table)


def _fitting(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Return the places of the columns that a terminal has room for; a long one may be folded."""
    shown = [place for place, column in enumerate(columns) if not column.is_wide or width >= WIDE]
    while sum(min(widths[place], FOLDED) + 2 for place in shown) - 2 > width:
        last = max(shown, key=lambda place: columns[place].rank)
        if not columns[last].rank:
            break
        shown.remove(last)
    return shown


def _shown(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(moment(cell) if isinstance(cell, datetime) else printable(cell))


def _plain(cell: Cell) -> str:
    if isinstance(cell, datetime):
        return instant(cell) or ""
    text = cell.plain if isinstance(cell, Text) else cell
    # They separate cells and rows.
    return printable(text).replace("\t", " ").replace("\n", " ")


def styled_batch(batch: Batch, *, is_brief: bool = False) -> Text:
    """Return a batch's status in its colour: SUCCEEDED with failures among its items is yellow, and names them."""
    counts = batch.item_counts
    failed = counts.failed + counts.timed_out + counts.aborted
    if batch.status != "SUCCEEDED" or not failed:
        return styled(batch.status)
    return Text(str(batch.status) + ("" if is_brief else f", {failed} of {counts.total} failed"), style="yellow")


def styled(status: str) -> Text:
    """Return a status in its colour."""
    return Text(status, style=STYLES.get(status, ""))


def moment(at: datetime | None) -> str:
    """Return a time for people: local, to the second."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def zoned(at: datetime) -> str:
    """Return a time for people that can be given back to a command: local, with the offset from UTC."""
    return at.astimezone().isoformat(sep=" ", timespec="seconds")


def after(execution: Execution, at: datetime) -> str:
    """Return how long after an execution's start something happened."""
    seconds = (at - execution.start_time).total_seconds()
    return f"+{spoken(seconds)}" if seconds >= 0.0005 else "0"


def duration_of(execution: Execution | Batch) -> str:
    """Return how long something took, or has taken by now."""
    return spoken(max(0.0, ((execution.end_time or datetime.now(UTC)) - execution.start_time).total_seconds()))


def echo_json(value: Any, *, indent: int | None = None) -> None:  # noqa: ANN401 -- any JSON value
    """Write a JSON value to standard output, as people and programs can read it."""
    click.echo(_json_text(value, indent))


async def echo_json_array(name: str, values: AsyncIterator[Any]) -> None:
    """Write an object whose one member is an array, value by value, indented as `echo_json` does it."""
    click.echo(f'{{\n  "{name}": [', nl=False)
    separator = end = ""
    # Written as it comes: a history of any length is never whole in memory.
    async for value in values:
        click.echo(f"{separator}\n{textwrap.indent(_json_text(value, 2), '    ')}", nl=False)
        separator, end = ",", "\n  "
    click.echo(f"{end}]\n}}")


def _json_text(value: Any, indent: int | None) -> str:  # noqa: ANN401 -- any JSON value
    text = json.dumps(value, ensure_ascii=not is_utf(), indent=indent, default=_as_json)
    return UNSHOWABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _as_json(value: object) -> object:
    if isinstance(value, datetime):
        return instant(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def visit_rows(execution: Execution, visits: Iterable[Visit]) -> Iterator[list[Cell]]:
    """Yield a row for each visit: mark, state (indented by branch), type, start, duration, tries, what came of it."""
    now = datetime.now(UTC)
    for visit in folded(visits):
        standing = standing_of(visit, execution)
        mark, style = STANDINGS[standing]
        depth = visit.frame.count("[")
        branch = f"{'  ' * depth}{visit.frame[visit.frame.rindex('[') :]} " if depth else ""
        yield [
            Text(mark, style=style),
            Text.assemble((branch, "dim"), printable(visit.state)),
            visit.type,
            after(execution, visit.entered),
            spoken(seconds_of(visit, execution, now)),
            str(visit.retries + 1) if visit.retries else "",
            _outcome(visit, standing, style),
        ]


def _outcome(visit: Visit, standing: Standing, style: str) -> Text:
    if visit.error is not None:
        cause = f": {shortened(visit.cause, 100)}" if visit.cause else ""
        caught = f" → {visit.next}" if standing == "caught" else ""
        return Text.assemble((printable(visit.error), style), cause, (caught, "dim"))
    if standing in {"running", "stopped"}:
        return Text(standing, style=style)
    return Text(f"→ {visit.next}" if visit.next else "", style="dim")
