"""An execution drawn on its definition, or as a timeline, in any of the formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

from statechain.asl.definition import Definition
from statechain.asl.graph import Graph
from statechain.asl.picture import Trace, trace_of
from statechain.asl.picture_dot import to_dot
from statechain.asl.picture_mermaid import to_mermaid
from statechain.asl.picture_svg import to_svg
from statechain.asl.picture_timeline import timeline_svg
from statechain.records import Execution, Visit

__all__ = ["DrawingFormat", "draw_execution"]

DrawingFormat: TypeAlias = Literal["svg", "mermaid", "dot", "timeline"]

GRAPHS: dict[str, Callable[[Graph, Trace], str]] = {"svg": to_svg, "mermaid": to_mermaid, "dot": to_dot}


def draw_execution(
    execution: Execution, definition: Definition, visits: Sequence[Visit], now: datetime, format: DrawingFormat  # noqa: A002
) -> str:
    """Return a picture of what an execution did by now; ``visits`` are its rows as stored."""
    if format == "timeline":
        return timeline_svg(execution, visits, now)
    if format not in GRAPHS:
        raise ValueError(f"format is {format!r}: it must be 'timeline' or one of {', '.join(map(repr, GRAPHS))}")
    return GRAPHS[format](definition.graph, trace_of(execution, visits, now))
