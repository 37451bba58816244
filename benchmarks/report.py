"""Run all benchmarks, keep what they print as results/*.json, and make the tables and the plots of it.

`python benchmarks/report.py --postgres URL` takes some twenty minutes on two cores; `--size small` a fifth of
that. `--size tiny` shows only that everything runs, and takes the scripts as forks. Without a server SQLite alone is
measured; peers that are not installed are left out.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring.harness import parser
from measuring.rounds import HERE, Storage, memory, sqlite, storages
from measuring.scripts import FORKS, run
from tables import write_tables

SIZES = ("tiny", "small", "full")
RESULTS = HERE / "results"
PLOTS = HERE.parent / "docs" / "plots"

# What each script is given at each size. Those that take things in turn make their storages themselves.
IN_TURN: Mapping[str, Sequence[str]] = {
    "ratios": (
        "--rounds 1 --executions 10 --concurrency 1 --chained 4",
        "--rounds 3 --executions 2000",
        "--rounds 5 --executions 8000",
    ),
    "side_by_side": (
        "--rounds 1 --executions 5 --concurrency 4 --chained 4",
        "--rounds 1 --executions 50",
        "--rounds 3 --executions 100",
    ),
    "growth": (
        "--rounds 1 --sources 10,20 --concurrency 4",
        "--rounds 1 --sources 1000,3000,10000",
        "--rounds 3 --sources 1000,10000,100000",
    ),
}
ALONE: Mapping[str, Sequence[str]] = {
    "paging": (
        "--rounds 1 --executions 200 --page 10",
        "--rounds 3 --executions 100000",
        "--rounds 5 --executions 1000000",
    ),
    "inflight": ("--executions 100", "--executions 3000", "--executions 10000"),
    "interpreter": (
        "--rounds 1 --executions 1 --states 20",
        "--rounds 3 --executions 20",
        "--rounds 7 --executions 50",
    ),
    "startup": ("--rounds 1", "--rounds 10", "--rounds 20"),
}

Result = dict[str, Any]


def call(name: str, arguments: Sequence[str]) -> Result:
    """Run a script, which prints its progress; return its result."""
    done = run(HERE / f"{name}.py", ["--json", *arguments], shows_progress=True)
    if done.returncode:
        sys.exit(f"{name}.py failed, with what it says above")
    result: Result = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def on_each(name: str, arguments: Sequence[str], storages_of: Mapping[str, Storage]) -> Result:
    """Run a script on one fresh storage after the other; return the results as one."""
    result: Result = {"settings": {}, "rows": []}
    for storage, lend in storages_of.items():
        with lend() as url:
            told = call(name, [*arguments, "--url", url])
        result["settings"] |= {key: value for key, value in told["settings"].items() if key != "storage"}
        result["rows"] += [{"storage": storage, **row} for row in told["rows"]]
    return result


def benchmarks(options: argparse.Namespace) -> dict[str, Callable[[], Result]]:
    """Return what runs each benchmark at the size."""
    place = SIZES.index(options.size)
    loop = ["--tuned"] if options.tuned else []
    server = ["--postgres", options.postgres] if options.postgres else []
    where: dict[str, Mapping[str, Storage]] = {"interpreter": {"memory": memory}, "startup": {"SQLite": sqlite}}
    where |= dict.fromkeys(("paging", "inflight"), storages(options.postgres))

    def in_turn(name: str) -> Callable[[], Result]:
        return lambda: call(name, [*IN_TURN[name][place].split(), *loop, *server])

    def alone(name: str) -> Callable[[], Result]:
        return lambda: on_each(name, [*ALONE[name][place].split(), *loop], where[name])

    return {name: in_turn(name) for name in IN_TURN} | {name: alone(name) for name in ALONE}


def main() -> None:
    """Run, keep, tabulate, draw."""
    arguments = parser(__doc__)
    arguments.add_argument("--postgres", help="a PostgreSQL URL, of a role that may create databases")
    arguments.add_argument("--size", choices=SIZES, default="full")
    arguments.add_argument("--only", nargs="+", choices=[*IN_TURN, *ALONE], default=[*IN_TURN, *ALONE])
    arguments.add_argument("--results", type=Path, default=RESULTS)
    arguments.add_argument("--plots", type=Path, default=PLOTS)
    options = arguments.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    if options.size == "tiny":
        os.environ[FORKS] = "1"
    for name, measure in benchmarks(options).items():
        if name in options.only:
            began = time.perf_counter()
            result = measure()
            result["settings"]["size"] = options.size
            (options.results / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
            print(f"== {name} took {time.perf_counter() - began:,.0f} s", file=sys.stderr)
    write_tables(options.results)
    try:
        from plots import draw_all
    except ModuleNotFoundError as fault:
        print(f"no plots: {fault.name} is not installed", file=sys.stderr)
    else:
        draw_all(options.results, options.plots)


if __name__ == "__main__":
    main()
