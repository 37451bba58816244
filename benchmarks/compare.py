"""Hold two results of a benchmark (files that it printed with --json) against each other: what got faster or slower.

Rows are matched by what they measured; each figure is printed as the second's ratio to the first. Ratios of runs that
were not interleaved carry the machine's noise: read anything within a tenth as no change.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
SETTINGS = {"concurrency", "executions", "page", "sources", "states", "storage", "waiting for", "what", "who"}


def rows_of(file: Path) -> dict[tuple[tuple[str, Any], ...], Row]:
    """Return the rows of a result by what they measured."""
    rows = json.loads(file.read_text())["rows"]
    return {tuple((name, row[name]) for name in row if name in SETTINGS): row for row in rows}


def differences(one: Path, other: Path) -> Iterator[tuple[str, str, float, float]]:
    """Yield (what, figure, before, after) for every figure that both have."""
    before, after = rows_of(one), rows_of(other)
    for key, row in before.items():
        what = ", ".join(f"{name} {value}" for name, value in key)
        for figure in row.keys() & after.get(key, {}).keys() - SETTINGS:
            if isinstance(row[figure], float):
                yield what, figure, row[figure], float(after[key][figure])


def main() -> None:
    """Print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args()
    for what, figure, before, after in sorted(differences(options.before, options.after)):
        ratio = after / before if before else float("nan")
        print(f"{what:55} {figure:20} {before:>12,.2f} -> {after:>12,.2f}   {ratio:.2f}x")


if __name__ == "__main__":
    main()
