"""Activity over time → charts as SVG: executions by status as stacked bars, durations as lines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from statechain.drawing.picture import Standing, spoken
from statechain.drawing.style import paint
from statechain.drawing.svg import document, element, text_at
from statechain.records.executions import ExecutionStatus

if TYPE_CHECKING:
    from statechain.reports import Activity

__all__ = ["duration_chart", "throughput_chart"]

WIDTH, HEIGHT = 720.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 12.0, 14.0, 26.0
STANDINGS: dict[ExecutionStatus, Standing] = {
    ExecutionStatus.SUCCEEDED: "succeeded",
    ExecutionStatus.RUNNING: "running",
    ExecutionStatus.ABORTED: "stopped",
    ExecutionStatus.TIMED_OUT: "caught",
    ExecutionStatus.FAILED: "failed",
}
"""The statuses from the bottom of a bar to its top, and the colours that they have."""


def throughput_chart(activity: Sequence[Activity]) -> str:
    """Return how many executions were started in each interval, by their status now."""
    most = max((each.total for each in activity), default=0)
    top = _round_up(most)
    body = [*_grid([(value, f"{value:g}") for value in _levels(top)], top), *_times(activity)]
    wide = _plot() / max(1, len(activity))
    for place, each in enumerate(activity):
        y = HEIGHT - BOTTOM
        for status, standing in STANDINGS.items():
            tall = (HEIGHT - TOP - BOTTOM) * each.counts[status] / top
            if tall:
                y -= tall
                x = LEFT + place * wide
                title = f"<title>{each.counts[status]} {status}, {_time(each)}</title>"
                bar = paint(fill=standing, also="bar")
                body.append(element("rect", title, x=x + wide * 0.1, y=y, width=wide * 0.8, height=tall, **bar))
    return document(WIDTH, HEIGHT, "\n".join(body), title="Executions started, by status", is_inline=True)


def duration_chart(activity: Sequence[Activity]) -> str:
    """Return the 50th and 95th percentile of durations in each interval, on a logarithmic scale."""
    # Without zeros, which have no logarithm.
    known = [value for each in activity for value in (each.durations.p50, each.durations.p95) if value]
    least = math.floor(math.log10(max(1e-3, min(known, default=0.1))))
    most = max(least + 1, math.ceil(math.log10(max(1e-3, *known, 0.001)))) if known else least + 1

    def y(seconds: float) -> float:
        part = (math.log10(max(10.0**least, seconds)) - least) / (most - least)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part

    body = [*_lines([(y(10.0**power), spoken(10.0**power)) for power in range(least, most + 1)]), *_times(activity)]
    for name, colour in (("p95", "caught"), ("p50", "running")):
        body += _curve([getattr(each.durations, name) for each in activity], y, colour, name)
    return document(WIDTH, HEIGHT, "\n".join(body), title="Durations, 50th and 95th percentile", is_inline=True)


def _curve(values: Sequence[float | None], y: object, colour: str, name: str) -> Iterator[str]:
    """Yield the pieces of a line; where nothing ended there is a gap, and a value between two gaps is a dot."""
    place_of = y if callable(y) else float
    wide = _plot() / max(1, len(values))
    piece: list[str] = []
    # A None at the end, so that the last piece is drawn as well.
    for place, value in enumerate([*values, None]):
        if value is not None:
            piece.append(f"{LEFT + (place + 0.5) * wide:.1f},{place_of(value):.1f}")
            x, at = piece[-1].split(",")
            title = f"<title>{name} {spoken(value)}</title>"
            yield element("circle", title, cx=x, cy=at, r=2.5, **paint(fill=colour))
            continue
        if len(piece) > 1:
            yield element("polyline", points=" ".join(piece), fill="none", stroke_width=2, **paint(stroke=colour))
        piece = []


def _plot() -> float:
    return WIDTH - LEFT - RIGHT


def _round_up(value: float) -> float:
    """Return the least of 1, 2, 3, 4, 5, 6 or 8 times a power of ten that is not below a value."""
    if value <= 1:
        return 1
    power = 10.0 ** math.floor(math.log10(value))
    return next(base * power for base in (1, 2, 3, 4, 5, 6, 8, 10) if base * power >= value)


def _levels(top: float) -> list[float]:
    return [0, top / 2, top] if top > 1 else [0, top]


def _grid(levels: Sequence[tuple[float, str]], top: float) -> Iterator[str]:
    yield from _lines([(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top, label) for value, label in levels])


def _lines(places: Sequence[tuple[float, str]]) -> Iterator[str]:
    for y, label in places:
        yield element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, stroke_width=0.8, **paint(stroke="pale"))
        yield text_at(LEFT - 6, y + 3.5, label, 10, fill="grey", anchor="end")


def _times(activity: Sequence[Activity]) -> Iterator[str]:
    """Yield about six times below the chart."""
    step = max(1, math.ceil(len(activity) / 6))
    wide = _plot() / max(1, len(activity))
    for place in range(0, len(activity), step):
        x = LEFT + place * wide
        yield text_at(x, HEIGHT - 8, _time(activity[place], activity), 10, fill="grey")


def _time(each: Activity, activity: Sequence[Activity] = ()) -> str:
    is_long = bool(activity) and (activity[-1].end - activity[0].begin).days >= 2
    return each.begin.strftime("%d %b" if is_long else "%H:%M")
