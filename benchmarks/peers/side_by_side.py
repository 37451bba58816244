"""statechain and its peers, the same work in turn, round after round: medians, and the medians of the ratios.

Every figure is a process of its own, with the peer's documented fast path and its default durability. Run it in an
environment that has the peers (`nox -s bench_peers -- --postgres URL`); without a PostgreSQL it measures SQLite alone.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
OURS = HERE.parent / "executions.py"
DURABLE = ("dbos", "langgraph")
IN_MEMORY = {"transitions": "transitions_steps.py", "python-statemachine": "statemachine_steps.py"}
PACKAGES = ("statechain", "dbos", "langgraph", "transitions", "python-statemachine")


def call(script: Path, *arguments: str) -> dict[str, Any]:
    """Run a script, and return the figures that it prints last."""
    command = [sys.executable, str(script), *arguments]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(printed.strip().splitlines()[-1])  # type: ignore[no-any-return]


def ours(url: str, concurrency: int, executions: int, *more: str) -> dict[str, Any]:
    """Measure statechain."""
    script = ("--url", url, "--rounds", "1", "--concurrency", str(concurrency), "--executions", str(executions))
    command = [sys.executable, str(OURS), "--json", *script, *more]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(printed)["rows"][0]  # type: ignore[no-any-return]


def peer(name: str, url: str, concurrency: int, executions: int) -> dict[str, Any]:
    """Measure a durable peer."""
    sizes = ("--concurrency", str(concurrency), "--executions", str(executions))
    return call(HERE / f"{name}_steps.py", "--url", url, *sizes)


def one_round(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str, float]]:
    """Yield (what, who, figure) for everything once, those that are compared next to each other."""
    storages = {"SQLite": lambda name: f"sqlite:///{folder / name}.db"}
    if options.postgres:
        storages["PostgreSQL"] = lambda _name: options.postgres
    for storage, url_of in storages.items():
        for concurrency in options.concurrency:
            what = f"executions/s, {storage}, {concurrency} at a time"
            count = max(200, min(5000, 60 * concurrency))
            yield what, "statechain", ours(url_of("statechain"), concurrency, count)["executions/s"]
            for name in DURABLE:
                yield what, name, peer(name, url_of(name), concurrency, options.executions)["executions/s"]
    what = "transitions/s, in memory"
    yield what, "statechain", ours("memory://", 1, 3000, "--type", "EXPRESS")["steps/s"]
    for name, script in IN_MEMORY.items():
        yield what, name, call(HERE / script, "--executions", "3000")["steps/s"]


def ratios(rounds: list[dict[tuple[str, str], float]]) -> list[dict[str, Any]]:
    """Return a row for each figure: its median, and the median of statechain's ratio to it, round by round."""
    rows = []
    for what, who in rounds[0]:
        figures = [figures[what, who] for figures in rounds]
        against = [figures[what, "statechain"] / figures[what, who] for figures in rounds]
        rows.append({"what": what, "who": who, "median": median(figures), "statechain is": median(against)})
    return rows


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", default="", help="a PostgreSQL URL")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=lambda text: list(map(int, text.split(","))), default=[1, 10, 100])
    parser.add_argument("--executions", type=int, default=200, help="of each peer, in each round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds: list[dict[tuple[str, str], float]] = []
    for _ in range(options.rounds):
        figures: dict[tuple[str, str], float] = defaultdict(float)
        with tempfile.TemporaryDirectory() as folder:
            for what, who, figure in one_round(options, Path(folder)):
                figures[what, who] = figure
                print(f"{what}: {who} {figure:,.0f}", file=sys.stderr)
        rounds.append(figures)
    rows = ratios(rounds)
    settings = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "rounds": options.rounds,
        **{name: version(name) for name in PACKAGES},
    }
    if options.json:
        print(json.dumps({"settings": settings, "rows": rows}, indent=2))
        return
    print(", ".join(f"{name} {value}" for name, value in settings.items()))
    for row in rows:
        print(f"{row['what']:45} {row['who']:20} {row['median']:>10,.0f}   statechain is {row['statechain is']:.1f}x")


if __name__ == "__main__":
    main()
