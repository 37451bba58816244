"""``list``, ``show``, ``history`` and ``stop``: what is stored of executions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import click

from statechain.cli.command import asynchronous
from statechain.cli.lookup import find_execution, machine_names
from statechain.cli.options.selection import FilterOptions, filter_options
from statechain.cli.render import (
    STYLES,
    Cell,
    Column,
    after,
    duration_of,
    echo_json,
    echo_json_array,
    print_table,
    styled,
    visit_rows,
    zoned,
)
from statechain.cli.storage import Storage, storage_option
from statechain.cli.terminal import echo_err
from statechain.drawing.picture import folded, printable, shortened
from statechain.records.executions import Execution, Suspect, Visit
from statechain.records.json_shapes import execution_json, instant
from statechain.records.queues import LimitWait

if TYPE_CHECKING:
    from statechain.engine.engine import Engine
    from statechain.storage.waits import ExecutionWait

__all__ = ["history", "list_executions", "show", "stop"]

MOST = 100
# As good as no limit.
ALL = 10**9
MOST_VALUE = 2000
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
LIST = (
    Column("NAME"),
    Column("MACHINE", rank=4),
    Column("STATUS"),
    Column("STATE", rank=2),
    Column("WAITS FOR", rank=5),
    Column("STARTED", rank=3),
    Column("TOOK", is_figure=True, rank=1),
    Column("ID", is_wide=True),
)
SUSPECTS = (
    Column("NAME"),
    Column("MACHINE"),
    Column("STATE"),
    Column("DEATHS", is_figure=True),
    Column("FOR", is_figure=True),
    Column("NEXT"),
    Column("ID", is_wide=True),
)
VISITS = (
    Column(""),
    Column("STATE"),
    Column("TYPE", rank=4),
    Column("AT", is_figure=True, rank=3),
    Column("TOOK", is_figure=True),
    Column("TRIES", is_figure=True, rank=1),
    Column("THEN", rank=2),
)
EVENTS = (Column("#", is_figure=True), Column("AT", is_figure=True, rank=1), Column("TYPE"), Column("ABOUT", rank=2))


@click.command("list")
@filter_options
@click.option("--suspect", is_flag=True, help="Only those whose workers died after taking them up; no filter applies.")
@click.option("--count", is_flag=True, help="Write only how many there are.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line.")
@storage_option
@asynchronous
async def list_executions(
    selection: FilterOptions, storage: Storage, *, suspect: bool, count: bool, as_json: bool
) -> None:
    """List executions, the newest 100 unless --limit says otherwise.

    In a pipe, the columns are separated by tabs, and nothing is cut.
    """
    async with storage.reader() as engine:
        if suspect:
            await _list_suspects(engine, selection.limit, count=count, as_json=as_json)
            return
        # One more than is shown says that the list is cut.
        filter_ = await selection.filter(engine, limit=None if count else MOST + 1)
        if count:
            click.echo(await engine.count_executions(filter_))
            return
        names = await machine_names(engine)
        shown: list[Execution] = []
        is_cut = False
        async for execution in engine.iterate_executions(filter_):
            is_cut = selection.limit is None and len(shown) == MOST
            if is_cut:
                break
            shown.append(execution)
        waits = await engine.get_execution_waits(shown)
    if as_json:
        for execution in shown:
            described = execution_json(execution, names.get(execution.state_machine_id))
            echo_json({**described, "waits": _wait_json(waits.get(execution.id))})
    else:
        print_table(LIST, [_row(each, names, waits) for each in shown])
    if is_cut:
        echo_err(f"(the first {MOST}; --limit and --offset show others, --count counts them)")


async def _list_suspects(engine: Engine, limit: int | None, *, count: bool, as_json: bool) -> None:
    suspects = await engine.list_suspects(limit=ALL if count else limit or MOST)
    names = {} if count else await machine_names(engine)
    if count:
        click.echo(len(suspects))
    elif as_json:
        for each in suspects:
            described = execution_json(each.execution, names.get(each.execution.state_machine_id))
            echo_json({**described, "deaths": each.deaths, "next": _next_trial(each)})
    else:
        print_table(SUSPECTS, [_suspect_row(each, names) for each in suspects])


def _suspect_row(suspect: Suspect, names: dict[str, str]) -> list[Cell]:
    execution = suspect.execution
    return [
        execution.name,
        names.get(execution.state_machine_id, execution.state_machine_id),
        execution.current_state or "",
        str(suspect.deaths),
        f"{suspect.suspected.total_seconds():.0f} s",
        _next_trial(suspect),
        execution.id,
    ]


def _next_trial(suspect: Suspect) -> str:
    if suspect.is_running:
        return "running now"
    return f"in {suspect.due.total_seconds():.0f} s" if suspect.due else "due"


def _wait_json(wait: ExecutionWait | None) -> dict[str, object] | None:
    return None if wait is None else {"reason": wait.reason, "about": wait.about, "until": instant(wait.until)}


def _row(execution: Execution, names: dict[str, str], waits: Mapping[str, ExecutionWait]) -> list[Cell]:
    return [
        execution.name,
        names.get(execution.state_machine_id, execution.state_machine_id),
        styled(execution.status),
        execution.current_state or "",
        str(waits.get(execution.id, "")),
        execution.start_time,
        duration_of(execution),
        execution.id,
    ]


@click.command()
@click.argument("execution", metavar="ID|NAME")
@json_option
@storage_option
@asynchronous
async def show(execution: str, storage: Storage, *, as_json: bool) -> None:
    """Show an execution: the state of it, and each visit of a state with its duration, retries and errors.

    NAME may be MACHINE/NAME, where more than one machine has an execution of that name.
    """
    async with storage.reader() as engine:
        found = await find_execution(engine, execution)
        visits = await engine.repository.visits(found.id)
        names = await machine_names(engine)
        links = await engine.list_linked_executions(source_execution_id=found.id)
        wait = None if found.status.is_terminal else await engine.get_limit_wait(found.id)
        waits = await engine.get_execution_waits([found])
    machine = names.get(found.state_machine_id, found.state_machine_id)
    if as_json:
        described = execution_json(found, machine)
        described["visits"] = [_visit_json(visit) for visit in folded(visits)]
        described["chained"] = [link.target_execution_id for link in links]
        described["waits_for"] = None if wait is None else attrs.asdict(wait)
        described["waits"] = _wait_json(waits.get(found.id))
        echo_json(described, indent=2)
        return
    for name, value in _facts(found, machine, len(links), wait or waits.get(found.id)):
        click.echo(f"{click.style(f'{name:>8}', dim=True)}  {value}")
    rows = list(visit_rows(found, visits))
    if rows:
        click.echo()
        print_table(VISITS, rows)
    else:
        echo_err("(it has no visits: none was recorded yet, or its state machine is EXPRESS)")


def _facts(
    execution: Execution, machine: str, chained: int, wait: LimitWait | ExecutionWait | None
) -> list[tuple[str, str]]:
    reason = ": ".join(part for part in (execution.error, execution.cause) if part)
    colour = STYLES[execution.status]
    state = f" in {execution.current_state}" if reason else ""
    facts = [
        ("name", click.style(execution.name, bold=True)),
        ("id", execution.id),
        ("machine", f"{machine}, revision {execution.state_machine_revision}"),
        ("status", click.style(str(execution.status), fg=colour) + state),
        ("waits", "" if wait is None else str(wait).removeprefix("waits ")),
        ("error", printable(reason)),
        ("started", f"{zoned(execution.start_time)}, took {duration_of(execution)}"),
        ("redriven", f"{execution.redrive_count} times" if execution.redrive_count else ""),
        ("key", printable(execution.key or "")),
        ("priority", str(execution.priority or "")),
        ("input", shortened(execution.input_text, MOST_VALUE)),
        ("output", shortened(execution.output_text or "", MOST_VALUE)),
        ("source", _source(execution)),
        ("chained", f"{chained} executions from it" if chained else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _source(execution: Execution) -> str:
    source = execution.source
    if source is None:
        return ""
    return source.execution_id + (f", the output of {source.state_name}" if source.state_name else "")


def _visit_json(visit: Visit) -> dict[str, Any]:
    return {
        "frame": visit.frame,
        "number": visit.number,
        "state": visit.state,
        "type": visit.type,
        "entered": instant(visit.entered),
        "exited": instant(visit.exited),
        "seconds": None if visit.exited is None else (visit.exited - visit.entered).total_seconds(),
        "retries": visit.retries,
        "output": None if visit.output is None else json.loads(visit.output),
        "error": visit.error,
        "cause": visit.cause,
        "next": visit.next,
    }


@click.command()
@click.argument("execution", metavar="ID|NAME")
@click.option("--json", "as_json", is_flag=True, help="Write the events as AWS's GetExecutionHistory answers them.")
@click.option("--reverse", is_flag=True, help="The last event first.")
@click.option("--after", "last", type=click.IntRange(min=0), default=0, help="Go on behind the event with this id.")
@click.option("--limit", type=click.IntRange(min=0), help="Show at most this many events.")
@storage_option
@asynchronous
async def history(
    execution: str, storage: Storage, *, as_json: bool, reverse: bool, last: int, limit: int | None
) -> None:
    """Show an execution's history, event by event.

    The next page of one with --limit begins --after the last event that was shown; so it does with --reverse.
    """
    async with storage.reader() as engine:
        found = await find_execution(engine, execution)
        events = engine.iterate_execution_history(found.id, after=last, limit=limit, reverse=reverse)
        if as_json:
            await echo_json_array("events", events)
            return
        rows: list[list[Cell]] = [
            [str(each["id"]), after(found, each["timestamp"]), each["type"], _about(each)] async for each in events
        ]
    print_table(EVENTS, rows)


def _about(event: Mapping[str, Any]) -> str:
    """Return what distinguishes one event from another, in a few words."""
    details: dict[str, Any] = next((value for key, value in event.items() if key.endswith("EventDetails")), {})
    keys = ("name", "index", "resource", "error", "cause", "input", "parameters", "output")
    return shortened("  ".join(str(details[key]) for key in keys if details.get(key) is not None), 120)


@click.command()
@click.argument("executions", nargs=-1, required=True, metavar="ID|NAME…")
@click.option("--error", help="The error name that is recorded.")
@click.option("--cause", help="The cause that is recorded.")
@storage_option
@asynchronous
async def stop(executions: tuple[str, ...], error: str | None, cause: str | None, storage: Storage) -> None:
    """Stop executions: each that runs, wherever, ends as ABORTED. One that has ended stays as it is."""
    async with storage.engine(read_only=True) as engine:
        for text in executions:
            found = await find_execution(engine, text)
            ended = await engine.stop_execution(found.id, error=error, cause=cause)
            before = "" if found.status == "RUNNING" else " (it had ended before)"
            echo_err(f"{ended.name} {ended.status}{before}")
