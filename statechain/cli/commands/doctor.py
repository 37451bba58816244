"""``doctor``: check a storage for damaged rows, and repair them."""

from __future__ import annotations

import click

from statechain.cli.command import asynchronous
from statechain.cli.exits import Failure, exit_with
from statechain.cli.render import Cell, Column, echo_json, print_table
from statechain.cli.storage import Storage, storage_option
from statechain.cli.terminal import echo_err
from statechain.storage.findings import Checkable, Finding

__all__ = ["doctor"]

COLUMNS = (Column("TABLE"), Column("ROW"), Column("PROBLEM"), Column("REPAIR"))


@click.command()
@click.option("--fix", is_flag=True, help="Repair what is found, safely beside workers that run.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line.")
@storage_option
@asynchronous
async def doctor(storage: Storage, *, fix: bool, as_json: bool) -> None:
    """Check the storage for rows that cannot be read or that lead to nothing.

    Exits with 1 where something was found, repaired or not: a second call says what is left.
    """
    async with storage.engine(read_only=True) as engine:
        if not isinstance(engine.repository, Checkable):
            raise Failure("this kind of storage cannot be checked")
        findings = [finding async for finding in engine.repository.check(repair=fix)]
    if as_json:
        for finding in findings:
            echo_json(_json(finding))
    elif findings:
        print_table(COLUMNS, [_row(finding, fix=fix) for finding in findings])
    repaired = sum(finding.is_repaired for finding in findings)
    if not findings:
        echo_err("nothing is damaged")
    elif fix:
        echo_err(f"{repaired} of {len(findings)} damaged rows were repaired")
    else:
        echo_err(f"{len(findings)} rows are damaged; --fix repairs those that can be repaired")
    exit_with(1 if findings else 0)


def _row(finding: Finding, *, fix: bool) -> list[Cell]:
    repair = finding.repair or "it cannot be repaired here"
    if fix and finding.repair and not finding.is_repaired:
        repair = "it was changed meanwhile: check again"
    return [finding.table, ", ".join(map(str, finding.key)), finding.problem, repair]


def _json(finding: Finding) -> dict[str, object]:
    return {
        "table": finding.table,
        "key": [key if isinstance(key, int | str) else repr(key) for key in finding.key],
        "problem": finding.problem,
        "repair": finding.repair,
        "repaired": finding.is_repaired,
    }
