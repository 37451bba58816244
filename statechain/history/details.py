"""The details objects of history events: what a visit was given, and what it made of it, asked of the plan again.

An event of the index knows the visit that it belongs to and one of the functions below. The function is called when
the event is read, with a `Scene`: the visit with its payloads, and a frame that is where the visit began.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, cast

import attrs

from statechain.asl.effort import TakesLong, need_time, serving_loop
from statechain.asl.outcome import CallTask, FanOut
from statechain.codec import encode_plain
from statechain.errors import StateError
from statechain.history.events import LONGEST_LOCATION, WHOLE, Event, Service, fault_details
from statechain.records.details import MomentKind

if TYPE_CHECKING:
    from statechain.asl.outcome import Branch, Outcome
    from statechain.asl.plan.plan import State
    from statechain.execution.frame import Frame
    from statechain.payload import Payload
    from statechain.records.details import Moment, VisitDetail
    from statechain.records.executions import Visit

__all__ = [
    "Details",
    "Scene",
    "branch_of",
    "effect_of",
    "entered",
    "evaluation_failed",
    "exited",
    "failed",
    "iterations",
    "map_run_failed",
    "map_run_started",
    "scheduled",
    "submitted",
    "succeeded",
]

HIDDEN_TOKEN = "…"  # noqa: S105 -- what is shown in place of a task token


@attrs.frozen(eq=False)
class Scene:
    """A visit as it was: its last row, the detail of all its rows, and the frame that is where it began."""

    frame: Frame
    state: State
    visit: Visit
    detail: VisitDetail

    def whole(self, moment: Moment) -> Moment:
        """Return a moment with its payloads, which the index leaves out."""
        return next((each for each in self.detail.moments if each.event == moment.event), moment)


Details: TypeAlias = "Event | Callable[[Scene], Event | None] | None"


def entered(scene: Scene) -> Event:
    """Return the details of a state's entry."""
    return {"name": scene.state.name, "input": _text_of(scene.frame.input), "inputDetails": WHOLE}


def exited(scene: Scene) -> Event:
    """Return the details of a state's exit."""
    details: Event = {"name": scene.state.name, "output": scene.visit.output, "outputDetails": WHOLE}
    assigned = scene.detail.assigned
    if assigned:
        details["assignedVariables"] = {name: encode_plain(assigned[name]) for name in sorted(assigned)}
        details["assignedVariablesDetails"] = WHOLE
    return details


def evaluation_failed(moment: Moment, scene: Scene) -> Event:
    """Return the details of an expression that could not be evaluated."""
    error, cause, location = scene.whole(moment).facts
    details = {**fault_details(error, cause), "state": scene.state.name}
    if location:
        details["location"] = str(location)[:LONGEST_LOCATION]
    return details


# Tasks


def scheduled(service: Service, attempt: int, scene: Scene) -> Event:
    """Return the details of an attempt of a Task: what it was given."""
    frame = scene.frame
    # The context object shows how often this attempt had been retried.
    frame.retries = [attempt]
    frame.retry()
    # The token was stored nowhere, and is a secret.
    frame.token = HIDDEN_TOKEN
    try:
        effect = _entered(frame, scene.state)
    except StateError:
        effect = None
    if not isinstance(effect, CallTask):
        return service.scheduled(_text_of(frame.input), None)
    # Not checked: an input that was refused, since it nests too deep, say, is shown as it was made.
    return service.scheduled(encode_plain(effect.input), effect)


def submitted(service: Service, moment: Moment, scene: Scene) -> Event:
    """Return the details of what a service answered at once."""
    return service.produced(cast("str", scene.whole(moment).facts[0]))


def succeeded(service: Service, scene: Scene) -> Event:
    """Return the details of an attempt that succeeded."""
    result = scene.detail.result
    return service.produced(scene.visit.output if result is None else _text_of(result))


def failed(service: Service, moment: Moment, scene: Scene) -> Event:
    """Return the details of an attempt that failed."""
    return service.failed(scene.whole(moment))


def _entered(frame: Frame, state: State) -> Outcome:
    """Return what a state made of its input, by the same draws as when it was performed.

    What was evaluated in a thread then, for it took long, had been begun before: it drew anew. Raises TakesLong where
    this thread has an event loop, which it would hold.
    """
    try:
        with serving_loop():
            return state.enter(frame.input.value, frame)
    except TakesLong:
        need_time()
        frame.draw_anew()
        return state.enter(frame.input.value, frame)


def _text_of(payload: Payload) -> str:
    """Return a payload's text; what expressions have made, and what was bounded when it was made, has none yet."""
    return encode_plain(payload.value) if payload.text is None else payload.text


# Parallel and Map


def effect_of(frame: Frame, state: State, attempt: int) -> FanOut | None:
    """Return what a Parallel or Map makes of its input in an attempt, from 0; None where that fails."""
    frame.retries = [attempt]
    frame.retry()
    try:
        effect = _entered(frame, state)
    except StateError:
        return None
    return effect if isinstance(effect, FanOut) else None


def branch_of(effect: FanOut | None, index: int) -> Branch | None:
    """Return a branch or an item; None where it is not known any more, as when items were read from a file."""
    if effect is None or effect.branches is None or index >= len(effect.branches):
        return None
    try:
        return effect.branches[index]
    except StateError:
        return None


def iterations(attempt: int, scene: Scene) -> Event:
    """Return the details of a Map's start: how many items there are."""
    effect = effect_of(scene.frame, scene.state, attempt)
    return {"length": len(effect.branches) if effect is not None and effect.branches is not None else 0}


def map_run_failed(moment: Moment, scene: Scene) -> Event:
    """Return the details of a Map Run that failed."""
    return fault_details(*scene.whole(moment).facts)


def map_run_started(moment: Moment, scene: Scene) -> Event | None:
    """Return the details of a Map Run that starts or is redriven."""
    facts = scene.whole(moment).facts
    names = ("mapRunArn", "redriveCount") if moment.kind is MomentKind.RUN_REDRIVEN else ("mapRunArn",)
    # A Map Run with shared items has one fact more than its event shows.
    return dict(zip(names, facts, strict=False)) if facts else None
