"""Results as plots: results/*.json → docs/plots/*.svg, the same bytes for the same results.

Each panel is a picture of its own, so that a page sets them side by side or one below the other. Its ground is
transparent and its colours are CSS variables, dark where the viewer is.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from measuring.rounds import HERE, RATE, US
from tables import of, values

# Light and dark. The lines have Okabe and Ito's hues, which can be distinguished without colour vision.
PALETTE = {
    "ink": ("#1b1f24", "#e7eaf0"),
    "grid": ("#d9dee5", "#343b46"),
    "grey": ("#555555", "#a3acba"),
    "blue": ("#0072b2", "#56b4e9"),
    "orange": ("#b85000", "#f0944d"),
    "green": ("#00795a", "#34c79a"),
    "pink": ("#a3527f", "#dd8fbb"),
}
LIGHT = {name: light for name, (light, _) in PALETTE.items()}
DARK = {name: dark for name, (_, dark) in PALETTE.items()}
COLOURS = {
    US: LIGHT["blue"],
    "floor": LIGHT["grey"],
    "dbos": LIGHT["orange"],
    "langgraph": LIGHT["green"],
    "absurd": LIGHT["pink"],
    "SQLite": LIGHT["orange"],
    "PostgreSQL": LIGHT["blue"],
}
NAMES = {"floor": "bare floor", "dbos": "DBOS", "langgraph": "LangGraph"}
LABEL_POINTS = 12

mpl.rcParams.update(
    {
        "svg.hashsalt": "statechain",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "grid.color": LIGHT["grid"],
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.8,
        "lines.markersize": 4.5,
        "savefig.transparent": True,
        "text.color": LIGHT["ink"],
        "axes.edgecolor": LIGHT["ink"],
        "axes.labelcolor": LIGHT["ink"],
        "xtick.color": LIGHT["ink"],
        "ytick.color": LIGHT["ink"],
    }
)

Row = Mapping[str, Any]
Line = tuple[str, Sequence[float], Sequence[float]]


def draw(figure: Figure, axes: Axes, lines: Sequence[Line], seen: Sequence[float]) -> None:
    """Draw lines on a scale for all values of ``seen``, and then, where that has settled, their names at their ends."""
    for who, across, up in lines:
        style = "--" if who == "floor" else "-"
        axes.plot(across, up, style, marker="o", color=COLOURS[who], zorder=3 if who == US else 2)
    axes.margins(x=0.04)
    low, high = min(seen), max(seen)
    if axes.get_yscale() == "linear":
        axes.set_ylim(0, 1.25 * high)
    else:
        room = max((high / low) ** 0.1, (10 * low / high) ** 0.5)  # less than a decade would make a hill of a ripple
        axes.set_ylim(low / room, high * room)
        axes.yaxis.set_major_locator(LogLocator(10, subs=(1,) if high / low > 50 else (1, 2, 5)))
    figure.draw_without_rendering()
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


def panel(title: str, across: str, up: str = "", *, inches: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return a picture of one panel, so many inches wide and high, and its axes."""
    figure = Figure(figsize=inches, layout="constrained")
    return figure, figure.subplots(subplot_kw={"title": title, "xlabel": across, "ylabel": up})


def throughput(results: Mapping[str, Sequence[Row]]) -> Iterator[tuple[str, Figure]]:
    """Draw executions a second against concurrency: ours, the floor, the peers, a panel a storage, all on one scale."""
    ours, theirs = of(results["ratios"], what="executions"), of(results.get("side_by_side", []), what="executions")
    lines: dict[str, list[Line]] = {}
    for storage in values(ours, "storage"):
        mine, peers = of(ours, storage=storage), of(theirs, storage=storage)
        drawn = [("floor", mine), (US, mine), *((who, peers) for who in values(peers, "who") if who != US)]
        lines[storage] = [line(of(rows, who=who), who, "concurrency", RATE) for who, rows in drawn]
    seen = [rate for each in lines.values() for _, _, up in each for rate in up]
    for storage, each in lines.items():
        figure, axes = panel(storage, "executions at a time", "durable executions a second", inches=(3.75, 3.3))
        logarithmic(axes, values(of(ours, storage=storage), "concurrency"))
        draw(figure, axes, each, seen)
        yield storage.lower(), figure


def batches(results: Mapping[str, Sequence[Row]]) -> Iterator[tuple[str, Figure]]:
    """Draw the time of a batch, its first result and its memory against its size, a line a storage."""
    rows = results["growth"]
    titles = {"seconds": "whole batch, seconds", "first result ms": "first result, ms", "peak MiB": "peak memory, MiB"}
    for up, title in titles.items():
        figure, axes = panel(title, "sources", inches=(2.5, 2.5))
        if up == "peak MiB":
            axes.set_xscale("log")
            named_across(axes, values(rows, "sources"))
        else:
            logarithmic(axes, values(rows, "sources"))
        lines = [line(of(rows, storage=name), name, "sources", up) for name in values(rows, "storage")]
        draw(figure, axes, lines, [row[up] for row in rows])
        yield title.split(",")[0].replace(" ", "-"), figure


def svg(figure: Figure) -> str:
    """Return a picture whose colours are CSS variables, which follow the viewer's colour scheme."""
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = text.getvalue()
    for name, light in LIGHT.items():
        drawn = drawn.replace(light, f"var(--{name})")
    light, dark = (";".join(f"--{name}:{colour}" for name, colour in each.items()) for each in (LIGHT, DARK))
    rules = f"<style>svg{{{light}}}@media (prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    return drawn.replace("<defs>", f"{rules}\n <defs>", 1)


PLOTS = {"throughput": ("ratios", throughput), "batches": ("growth", batches)}


def draw_all(results: Path, folder: Path) -> None:
    """Draw what there are results for."""
    told = {file.stem: json.loads(file.read_text())["rows"] for file in sorted(results.glob("*.json"))}
    folder.mkdir(parents=True, exist_ok=True)
    for name, (needed, plot) in PLOTS.items():
        if needed in told:
            for part, figure in plot(told):
                (folder / f"{name}-{part}.svg").write_text(svg(figure), encoding="utf-8")


if __name__ == "__main__":
    there = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results"
    draw_all(there, Path(sys.argv[2]) if len(sys.argv) > 2 else HERE.parent / "docs" / "plots")
