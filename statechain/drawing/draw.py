"""A definition drawn, an execution drawn on its definition, or as a timeline: each in any of the formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from statechain.drawing.dot import to_dot
from statechain.drawing.graph import Graph, graph_of
from statechain.drawing.mermaid import to_mermaid
from statechain.drawing.picture import Trace, trace_of
from statechain.drawing.svg import to_svg
from statechain.drawing.timeline import timeline_svg
from statechain.records.executions import Execution, Visit

if TYPE_CHECKING:
    from statechain.asl.model import StateMachine

__all__ = ["DrawingFormat", "GraphFormat", "draw_definition", "draw_execution"]

GraphFormat: TypeAlias = Literal["svg", "mermaid", "dot"]
DrawingFormat: TypeAlias = Literal[GraphFormat, "timeline"]

GRAPHS: dict[str, Callable[[Graph, Trace | None], str]] = {"svg": to_svg, "mermaid": to_mermaid, "dot": to_dot}


def draw_definition(machine: StateMachine, format: GraphFormat) -> str:  # noqa: A002
    """Return a picture of a definition."""
    return GRAPHS[format](graph_of(machine), None)


def draw_execution(
    execution: Execution,
    machine: StateMachine,
    visits: Sequence[Visit],
    now: datetime,
    format: DrawingFormat,  # noqa: A002
) -> str:
    """Return a picture of what an execution did by now; ``visits`` are its rows as stored."""
    if format == "timeline":
        return timeline_svg(execution, visits, now)
    if format not in GRAPHS:
        raise ValueError(f"format is {format!r}: it must be 'timeline' or one of {', '.join(map(repr, GRAPHS))}")
    return GRAPHS[format](graph_of(machine), trace_of(execution, visits, now))
