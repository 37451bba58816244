"""Results as plots: results/*.json → docs/plots/*.svg, the same bytes for the same results."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from measuring.rounds import HERE, RATE, US
from tables import of, values

mpl.rcParams.update(
    {
        "svg.hashsalt": "statechain",
        "svg.fonttype": "none",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.8,
        "lines.markersize": 4.5,
    }
)

# Okabe and Ito's palette, which can be distinguished without colour vision.
COLOURS = {
    US: "#0072B2",
    "floor": "#555555",
    "dbos": "#D55E00",
    "langgraph": "#009E73",
    "absurd": "#CC79A7",
    "SQLite": "#D55E00",
    "PostgreSQL": "#0072B2",
}
NAMES = {"floor": "bare floor", "dbos": "DBOS", "langgraph": "LangGraph"}
LABEL_POINTS = 12

Row = Mapping[str, Any]
Line = tuple[str, Sequence[float], Sequence[float]]


def draw(figure: Figure, panels: Sequence[tuple[Axes, Sequence[Line]]]) -> None:
    """Draw the lines of each panel, and then, where its axes have settled, their names at their ends."""
    for axes, lines in panels:
        for who, across, up in lines:
            style = "--" if who == "floor" else "-"
            axes.plot(across, up, style, marker="o", color=COLOURS[who], zorder=3 if who == US else 2)
        axes.margins(x=0.04, y=0.1)
        if axes.get_yscale() == "linear":
            axes.set_ylim(0, 1.25 * max(max(up) for _, _, up in lines))
        else:
            low, high = axes.get_ylim()
            room = max(1.0, (10 * low / high) ** 0.5)  # less than a decade would make a hill of a ripple
            axes.set_ylim(low / room, high * room)
            axes.yaxis.set_major_locator(LogLocator(10, subs=(1,) if high / low > 50 else (1, 2, 5)))
    figure.draw_without_rendering()
    for axes, lines in panels:
        for (who, across, up), offset in zip(lines, _offsets(axes, lines), strict=True):
            axes.annotate(
                NAMES.get(who, who), (across[-1], up[-1]), (8, offset), textcoords="offset points", va="center",
                color=COLOURS[who], fontweight="bold" if who == US else "normal", annotation_clip=False,
            )  # fmt: skip


def _offsets(axes: Axes, lines: Sequence[Line]) -> list[float]:
    """Return by how many points to lift each name, so that names of lines that end close by stay apart."""
    scale = 72 / axes.get_figure().dpi  # type: ignore[union-attr]
    ends = [axes.transData.transform((across[-1], up[-1])) * scale for _, across, up in lines]
    offsets = [0.0] * len(lines)
    placed: list[tuple[float, float]] = []
    for place in sorted(range(len(lines)), key=lambda place: float(ends[place][1])):
        across, up = map(float, ends[place])
        taken = [other for beside, other in placed if abs(beside - across) < 3 * LABEL_POINTS]
        height = max([up, *(other + LABEL_POINTS for other in taken)])
        offsets[place] = height - up
        placed.append((across, height))
    return offsets


def logarithmic(axes: Axes, ticks: Sequence[float]) -> None:
    """Make both axes logarithmic, with plain figures at them."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    named_across(axes, ticks)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def named_across(axes: Axes, ticks: Sequence[float]) -> None:
    """Name what was measured across."""
    axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=True, axis="y", which="major")


def line(rows: Sequence[Row], who: str, across: str, up: str) -> Line:
    """Return a line from rows."""
    return who, [row[across] for row in rows], [row[up] for row in rows]


def throughput(results: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw executions a second against concurrency: ours, the floor, the peers, a panel a storage."""
    ours, theirs = of(results["ratios"], what="executions"), of(results.get("side_by_side", []), what="executions")
    storages = values(ours, "storage")
    figure = Figure(figsize=(4.6 * len(storages), 3.8), layout="constrained")
    panels = []
    for axes, storage in zip(figure.subplots(1, len(storages), sharey=True, squeeze=False)[0], storages, strict=True):
        mine, peers = of(ours, storage=storage), of(theirs, storage=storage)
        logarithmic(axes, values(mine, "concurrency"))
        axes.set_title(storage)
        axes.set_xlabel("executions at a time")
        drawn = [("floor", mine), (US, mine), *((who, peers) for who in values(peers, "who") if who != US)]
        panels.append((axes, [line(of(rows, who=who), who, "concurrency", RATE) for who, rows in drawn]))
    panels[0][0].set_ylabel("durable executions a second")
    draw(figure, panels)
    return figure


def batches(results: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw the time of a batch, its first result and its memory against its size, a line a storage."""
    rows = results["growth"]
    sizes = values(rows, "sources")
    titles = {"seconds": "whole batch, seconds", "first result ms": "first result, ms", "peak MiB": "peak memory, MiB"}
    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    panels = []
    for axes, (up, title) in zip(figure.subplots(1, len(titles)), titles.items(), strict=True):
        if up == "peak MiB":
            axes.set_xscale("log")
            named_across(axes, sizes)
        else:
            logarithmic(axes, sizes)
        axes.set_xlabel("sources")
        axes.set_ylabel(title)
        panels.append((axes, [line(of(rows, storage=name), name, "sources", up) for name in values(rows, "storage")]))
    draw(figure, panels)
    return figure


PLOTS = {"throughput": ("ratios", throughput), "batches": ("growth", batches)}


def draw_all(results: Path, folder: Path) -> None:
    """Draw what there are results for."""
    told = {file.stem: json.loads(file.read_text())["rows"] for file in sorted(results.glob("*.json"))}
    folder.mkdir(parents=True, exist_ok=True)
    for name, (needed, plot) in PLOTS.items():
        if needed in told:
            plot(told).savefig(folder / f"{name}.svg", metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    there = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results"
    draw_all(there, Path(sys.argv[2]) if len(sys.argv) > 2 else HERE.parent / "docs" / "plots")
