"""What an execution and a chained item use here and in another checkout: processor time, and memory while in flight.

The same scripts run both, in turn, in processes of their own: only the library differs. Nothing is asserted: machines
differ, and continuous integration prints this beside a change.

    git worktree add --detach ../base origin/main
    python benchmarks/against.py ../base
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from measuring.harness import cell, parser, show
from measuring.rounds import HERE, Storage, storages

FIGURES = ("client us", "server us", "WAL bytes", "commits/execution", "objects each", "allocations each")
"""What is compared: figures that do not follow how busy the machine is, as rates do."""

RATES = ("executions/s", "sources/s")
"""What is compared as well where it is asked for, on a machine that does nothing else."""

SCRIPTS: Mapping[str, Sequence[str]] = {
    "executions": ("executions.py", "--concurrency=100"),
    "chained": ("batches.py", "--concurrency=100"),
    "one at a time": ("executions.py", "--concurrency=1"),
    "ten at a time": ("executions.py", "--concurrency=10"),
    "a thousand at a time": ("executions.py", "--concurrency=1000"),
    "with Retry and Catch": ("executions.py", "--concurrency=100", "--shape=caught"),
    "in Parallel branches": ("executions.py", "--concurrency=100", "--shape=parallel"),
    "in Map iterations": ("executions.py", "--concurrency=100", "--shape=map"),
    "observed": ("executions.py", "--concurrency=100", "--observed"),
    "in flight": ("inflight.py",),
}
"""What can be measured: a script, and what sets it apart from the others."""

USUAL = ("executions", "chained", "one at a time", "in flight")

Row = Mapping[str, float]


def measured(tree: Path, script: str, arguments: Sequence[object], storage: Storage) -> Row:
    """Return the first row that a script of this folder prints with the library of a checkout."""
    paths = os.pathsep.join([str(tree), str(tree / "backends")])
    with storage() as url:
        command = [sys.executable, str(HERE / script), "--json", "--url", url, *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": paths}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{script} failed with the library of {tree}:\n{done.stderr}")
    row: Row = json.loads(done.stdout.strip().splitlines()[-1])["rows"][0]
    return row


def compared(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Yield a row for each figure: what it was in the other checkout, what it is here, and the median of the ratios."""
    here = HERE.parent
    loop = ["--tuned"] if options.tuned else []
    for storage, lend in storages(options.postgres).items():
        for what in options.only:
            script, *own = SCRIPTS[what]
            count = "--sources" if script == "batches.py" else "--executions"
            arguments = [*own, *loop, *(["--rounds=1"] if script == "executions.py" else []), count, options.executions]
            pairs: list[tuple[Row, Row]] = []
            for number in range(options.rounds):
                trees = [options.base, here] if number % 2 == 0 else [here, options.base]
                taken = {tree: measured(tree, script, arguments, lend) for tree in trees}
                pairs.append((taken[options.base], taken[here]))
            for figure in (*FIGURES, *(RATES if options.rates else ())):
                both = [(base[figure], ours[figure]) for base, ours in pairs if base.get(figure) and ours.get(figure)]
                if both:
                    before, after = (median(each) for each in zip(*both, strict=True))
                    ratio = median(ours / base for base, ours in both)
                    yield {
                        "what": what,
                        "storage": storage,
                        "figure": figure,
                        "before": before,
                        "after": after,
                        "ratio": ratio,
                    }


def main() -> None:
    """Measure, and print a table or JSON."""
    arguments = parser(__doc__)
    arguments.add_argument("base", type=Path, help="the other checkout")
    arguments.add_argument("--postgres", help="a PostgreSQL URL, of a role that may create databases")
    arguments.add_argument("--executions", type=int, default=1000, help="of each measurement")
    arguments.add_argument("--only", nargs="+", choices=SCRIPTS, default=USUAL, help="what is measured")
    arguments.add_argument("--rates", action="store_true", help="also executions a second: for a machine that is idle")
    options = arguments.parse_args()
    options.base = options.base.resolve()
    rows = [{**row, "ratio": f"{cell(row['ratio'])}x"} for row in compared(options)]
    show({"before": options.base.name, "rounds": options.rounds}, rows, as_json=options.json)


if __name__ == "__main__":
    main()
