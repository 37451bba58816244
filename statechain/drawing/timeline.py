"""An execution's visits → a timeline (Gantt chart) as SVG: one row a visit, branches and iterations indented."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from statechain.drawing.layers import MARGIN, TEXT_SIZE, text_width
from statechain.drawing.picture import COLOURS, Standing, folded, seconds_of, shortened, spoken, standing_of
from statechain.drawing.svg import GREY, INK, PALE, document, element, text_at
from statechain.records import Execution, Visit

__all__ = ["tick_text", "ticks", "timeline_svg"]

ROW, BAR = 22.0, 13.0
WIDTH = 640.0
INDENT = 14.0
MOST_ROWS = 400
MOST_NAME = 40
NOTE_SIZE, NOTE_SPACE = 10.0, 5.0
LEAST_ROOM = 90.0
"""To the right of the axis, where the notes of the last bars are."""


def timeline_svg(execution: Execution, rows: Iterable[Visit], now: datetime, *, most: int = MOST_ROWS) -> str:
    """Return the timeline of an execution; past ``most`` visits it says how many are left out."""
    visits = _nested(folded(rows))
    shown = visits[:most]
    whole = max(((execution.end_time or now) - execution.start_time).total_seconds(), 1e-6)
    labels = [(_label(visit), visit.frame.count("[") * INDENT) for visit in shown]
    left = max((text_width(label, TEXT_SIZE) + indent for label, indent in labels), default=60.0) + 2 * MARGIN
    room = max((text_width(_note(visit, execution, now), NOTE_SIZE) for visit in shown), default=0.0)
    height = ROW * (len(shown) + 2 + (len(visits) > most))
    body = [*_axis(whole, left, ROW * (len(shown) + 1))]
    for place, (visit, (label, indent)) in enumerate(zip(shown, labels, strict=True)):
        y = ROW * (place + 1)
        body.append(text_at(MARGIN + indent, y + 15, label, TEXT_SIZE))
        body += _bar(visit, execution, now, whole, left, y)
    if len(visits) > most:
        body.append(text_at(MARGIN, height - ROW + 8, f"… and {len(visits) - most} more visits", TEXT_SIZE, fill=GREY))
    took = spoken(0.0 if not visits and execution.end_time is None else whole)
    title = f"{execution.name} · {execution.status} · {took}"
    return document(left + WIDTH + NOTE_SPACE + max(LEAST_ROOM, room) + MARGIN, height, "\n".join(body), title=title)


def _nested(visits: Sequence[Visit]) -> list[Visit]:
    """Return the visits with those of branches and iterations below the state that holds them, branch by branch."""
    inside: dict[str, dict[str, list[Visit]]] = {}
    for visit in visits:
        if visit.frame:
            holder = visit.frame[: visit.frame.rindex("[")]
            inside.setdefault(holder, {}).setdefault(visit.frame, []).append(visit)
    ordered: list[Visit] = []
    pending = [visit for visit in reversed(visits) if not visit.frame]
    while pending:
        visit = pending.pop()
        ordered.append(visit)
        name = visit.state.replace("~", "~0").replace("/", "~1")
        # A state that is visited again holds them all at its first visit: later rounds follow there in their order.
        branches = inside.pop(f"{visit.frame}{'/' if visit.frame else ''}{name}", {})
        pending += [inner for branch in reversed(branches.values()) for inner in reversed(branch)]
    # What a running Parallel or Map has done, before the visit that holds it is itself stored, stands at the end.
    return ordered + [visit for branches in inside.values() for branch in branches.values() for visit in branch]


def _label(visit: Visit) -> str:
    index = visit.frame[visit.frame.rindex("[") + 1 : -1] + ": " if visit.frame else ""
    return index + shortened(visit.state, MOST_NAME)


def _axis(whole: float, left: float, bottom: float) -> Iterator[str]:
    for seconds in ticks(whole):
        x = left + WIDTH * seconds / whole
        yield element("line", x1=x, y1=ROW - 4, x2=x, y2=bottom, stroke=PALE, stroke_width=0.8)
        yield text_at(x, ROW - 9, tick_text(seconds), 10, fill=GREY, anchor="middle")


def tick_text(seconds: float) -> str:
    """Return a tick's moment exactly: rounding would show two ticks alike."""
    if 0 < seconds < 1:
        thousandths = f"{seconds * 1000:.3f}".rstrip("0").rstrip(".")
        return f"{thousandths} ms"
    return spoken(seconds) if seconds else "0"


def ticks(whole: float) -> list[float]:
    """Return four to nine round moments from 0 to the end: steps of 1, 2 or 5 times a power of ten, or of minutes."""
    steps = [base * 10.0**power for power in range(-6, 2) for base in (1, 2, 5)]
    steps = [step for step in steps if step <= 20] + [30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 43200]
    step = next((step for step in steps if whole / step <= 8), None) or 86_400 * (1 + whole // (8 * 86_400))
    return [number * step for number in range(int(whole / step) + 1)]


def _bar(visit: Visit, execution: Execution, now: datetime, whole: float, left: float, y: float) -> Iterator[str]:
    standing: Standing = standing_of(visit, execution)
    seconds = seconds_of(visit, execution, now)
    x = left + WIDTH * max(0.0, (visit.entered - execution.start_time).total_seconds()) / whole
    width = max(2.0, WIDTH * seconds / whole)
    fill, line = COLOURS[standing]
    is_waiting = visit.type == "Wait"
    yield element(
        "rect",
        x=x,
        y=y + (ROW - BAR) / 2,
        width=width,
        height=BAR,
        rx=3,
        fill=fill if is_waiting else line,
        stroke=line,
        stroke_dasharray="3 2" if is_waiting else None,
        fill_opacity=0.45 if visit.type in {"Parallel", "Map"} else None,
    )
    note, at = _note(visit, execution, now), x + width + NOTE_SPACE
    # The lines of the axis run behind the bars: a note covers them.
    yield element("rect", x=at - 2, y=y + 4, width=text_width(note, NOTE_SIZE) + 4, height=ROW - 8, fill="#ffffff")
    yield text_at(at, y + 15, note, NOTE_SIZE, fill=line if visit.error is not None else INK)


def _note(visit: Visit, execution: Execution, now: datetime) -> str:
    """Return what is written beside a bar: how long the visit took, its retries and its error."""
    parts = [spoken(seconds_of(visit, execution, now))]
    if visit.retries:
        parts.append(f"{visit.retries} {'retry' if visit.retries == 1 else 'retries'}")
    if visit.error is not None:
        parts.append(shortened(visit.error, 24))
    return " · ".join(parts)
