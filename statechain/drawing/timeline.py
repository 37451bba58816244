"""An execution's visits → a timeline (Gantt chart) as SVG: one row a visit, branches and iterations indented."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from html import escape

from statechain.drawing.axis import Axis, tick_text, ticks
from statechain.drawing.layers import MARGIN, TEXT_SIZE, text_width
from statechain.drawing.picture import AnyVisit, Standing, folded, printable, seconds_of, shortened, spoken, standing_of
from statechain.drawing.style import paint
from statechain.drawing.svg import document, element, text_at
from statechain.records.executions import Execution

__all__ = ["tick_text", "ticks", "timeline_svg"]

ROW, BAR = 22.0, 13.0
WIDTH = 640.0
INDENT = 14.0
MOST_ROWS = 400
MOST_NAME = 40
NOTE_SIZE, NOTE_SPACE = 10.0, 5.0
LEAST_ROOM = 90.0
"""To the right of the axis, where the notes of the last bars are."""


def timeline_svg(
    execution: Execution,
    rows: Iterable[AnyVisit],
    now: datetime,
    *,
    most: int = MOST_ROWS,
    is_inline: bool = False,
) -> str:
    """Return the timeline of an execution; past ``most`` visits it says how many are left out.

    Stretches in which nothing begins or ends are cut where they would leave no room for the rest. With ``is_inline``
    it is part of a page that has `style.stylesheet` itself.
    """
    visits = _nested(folded(rows))
    shown = visits[:most]
    # Never 0: the axis divides by it.
    whole = max(((execution.end_time or now) - execution.start_time).total_seconds(), 1e-6)
    labels = [(_label(visit), visit.frame.count("[") * INDENT) for visit in shown]
    left = max((text_width(label, TEXT_SIZE) + indent for label, indent in labels), default=60.0) + 2 * MARGIN
    room = max((text_width(_note(visit, execution, now), NOTE_SIZE) for visit in shown), default=0.0)
    height = ROW * (len(shown) + 2 + (len(visits) > most))
    axis = Axis.of(_moments(shown, execution), whole, left, WIDTH)
    body = [*_axis(axis, ROW * (len(shown) + 1))]
    for place, (visit, (label, indent)) in enumerate(zip(shown, labels, strict=True)):
        y = ROW * (place + 1)
        row = text_at(MARGIN + indent, y + 15, label, TEXT_SIZE) + "".join(_bar(visit, execution, now, axis, y))
        body.append(row)
    if len(visits) > most:
        more = f"… and {len(visits) - most} more visits"
        body.append(text_at(MARGIN, height - ROW + 8, more, TEXT_SIZE, fill="grey"))
    took = spoken(0.0 if not visits and execution.end_time is None else whole)
    title = f"{execution.name} · {execution.status} · {took}"
    wide = left + WIDTH + NOTE_SPACE + max(LEAST_ROOM, room) + MARGIN
    return document(wide, height, "\n".join(body), title=title, is_inline=is_inline)


def _moments(visits: Sequence[AnyVisit], execution: Execution) -> Iterator[float]:
    """Yield when something begins or ends, in seconds after the start."""
    for visit in visits:
        for moment in (visit.entered, visit.exited):
            if moment is not None:
                yield (moment - execution.start_time).total_seconds()


def _nested(visits: Sequence[AnyVisit]) -> list[AnyVisit]:
    """Return the visits with those of branches and iterations below the state that holds them, branch by branch."""
    inside: dict[str, dict[str, list[AnyVisit]]] = {}
    for visit in visits:
        if visit.frame:
            holder = visit.frame[: visit.frame.rindex("[")]
            inside.setdefault(holder, {}).setdefault(visit.frame, []).append(visit)
    ordered: list[AnyVisit] = []
    pending = [visit for visit in reversed(visits) if not visit.frame]
    while pending:
        visit = pending.pop()
        ordered.append(visit)
        name = visit.state.replace("~", "~0").replace("/", "~1")
        # A state that is visited again holds them all at its first visit: later rounds follow there in their order.
        branches = inside.pop(f"{visit.frame}{'/' if visit.frame else ''}{name}", {})
        pending += [inner for branch in reversed(branches.values()) for inner in reversed(branch)]
    # What a running Parallel or Map has done, before the visit that holds it is itself stored, is at the end.
    return ordered + [visit for branches in inside.values() for branch in branches.values() for visit in branch]


def _label(visit: AnyVisit) -> str:
    index = visit.frame[visit.frame.rindex("[") + 1 : -1] + ": " if visit.frame else ""
    return index + shortened(visit.state, MOST_NAME)


def _axis(axis: Axis, bottom: float) -> Iterator[str]:
    for seconds, x in axis.ticks():
        yield element("line", x1=x, y1=ROW - 4, x2=x, y2=bottom, stroke_width=0.8, **paint(stroke="pale"))
        yield text_at(x, ROW - 9, tick_text(seconds), 10, fill="grey", anchor="middle")
    for stretch in axis.stretches:
        if stretch.is_cut:
            dashed = paint(fill="inside", stroke="pale", also="cut")
            size = {"x": stretch.left, "y": ROW - 4, "width": stretch.width, "height": bottom - ROW + 4}
            yield element("rect", stroke_dasharray="2 3", **size, **dashed)
            duration = spoken(stretch.end - stretch.begin)
            middle = stretch.left + stretch.width / 2
            yield text_at(middle, bottom + 11, f"✂ {duration}", 9, fill="grey", anchor="middle")


def _bar(visit: AnyVisit, execution: Execution, now: datetime, axis: Axis, y: float) -> Iterator[str]:
    standing: Standing = standing_of(visit, execution)
    begin = max(0.0, (visit.entered - execution.start_time).total_seconds())
    x = axis.x(begin)
    # What took no time is visible all the same.
    width = max(2.0, axis.x(begin + seconds_of(visit, execution, now)) - x)
    is_waiting = visit.type == "Wait"
    painted = paint(fill=f"{standing}-fill" if is_waiting else standing, stroke=standing, also="bar")
    yield element(
        "rect",
        f"<title>{escape(printable(visit.state), quote=False)}</title>",
        x=x,
        y=y + (ROW - BAR) / 2,
        width=width,
        height=BAR,
        rx=3,
        stroke_dasharray="3 2" if is_waiting else None,
        fill_opacity=0.45 if visit.type in {"Parallel", "Map"} else None,
        data_state=printable(visit.state),
        data_standing=standing,
        **painted,
    )
    note, at = _note(visit, execution, now), x + width + NOTE_SPACE
    # The lines of the axis run behind the bars: a note covers them.
    ground = paint(fill="ground")
    yield element("rect", x=at - 2, y=y + 4, width=text_width(note, NOTE_SIZE) + 4, height=ROW - 8, **ground)
    yield text_at(at, y + 15, note, NOTE_SIZE, fill=standing if visit.error is not None else "ink")


def _note(visit: AnyVisit, execution: Execution, now: datetime) -> str:
    """Return what is written beside a bar: how long the visit took, its retries and its error."""
    parts = [spoken(seconds_of(visit, execution, now))]
    if visit.retries:
        parts.append(f"{visit.retries} {'retry' if visit.retries == 1 else 'retries'}")
    if visit.error is not None:
        parts.append(shortened(visit.error, 24))
    return " · ".join(parts)
