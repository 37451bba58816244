"""Recorded AWS executions → outcomes of this engine, in virtual time, held against the recording.

A case is served its own task results; what conforms is decided by the `compare.py` beside the cases.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from statechain import DefinitionError, Engine, Execution, TaskError, TaskRegistry
from statechain.clock import Clock
from statechain.tasks.registry import Task
from statechain.testing.clock import VirtualClock

__all__ = ["Case", "Folder", "outcome_of"]

Case = Mapping[str, Any]
Outcome = dict[str, Any]
NOTHING: Mapping[str, Sequence[str]] = {}
PATIENCE = 10.0
"""Seconds of real time for one case; it takes a hundredth of one."""


@attrs.frozen
class Folder:
    """The recorded cases and their measure."""

    cases: list[Case]
    compare: ModuleType
    _outcomes: dict[str, Outcome] = attrs.field(factory=dict, init=False, repr=False)

    @classmethod
    def open(cls, path: Path, masked: Mapping[str, Sequence[str]] = NOTHING) -> Folder:
        """Read the cases, and mask the texts that match some patterns in some; load the measure."""
        spec = importlib.util.spec_from_file_location("statechain_conformance_compare", path / "compare.py")
        assert spec is not None
        assert spec.loader is not None
        compare = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(compare)
        lines = (path / "cases.jsonl").read_text().splitlines()
        cases = [json.loads(line) for line in lines if line.strip()]
        return cls([_masked(case, masked.get(case["id"], ())) for case in cases], compare)

    def outcome(self, case: Case) -> Outcome:
        """Return the outcome of a case, which is run once."""
        if case["id"] not in self._outcomes:
            self._outcomes[case["id"]] = asyncio.run(outcome_of(case, self.compare.same))
        return self._outcomes[case["id"]]

    def differences(self, case: Case) -> list[str]:
        """Return how the outcome of a case differs from the recording."""
        found: list[str] = self.compare.differences(case, self.outcome(case))
        return found


def _masked(case: Case, patterns: Sequence[str]) -> Case:
    """Return a case whose recording has a mask wherever a pattern matches."""
    if not patterns:
        return case
    pattern = re.compile("|".join(patterns))
    return {**case, **{part: _replaced(case[part], pattern) for part in ("expected", "expected_events")}}


def _replaced(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, pattern) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, pattern) for item in value]
    return pattern.sub("<masked>", value) if isinstance(value, str) else value


class RecordedTasks(TaskRegistry):
    """A registry in which every Lambda function is known, and answers what it answered when it was recorded."""

    def __init__(self, case: Case, clock: Clock, same: Callable[[Any, Any], bool]) -> None:
        super().__init__()
        self._left = list(case["tasks"] or [])
        self._clock = clock
        self._same = same

    def find(self, resource: str) -> Task | None:
        """Return the one handler for what is not an integration that the engine itself serves."""
        if resource.startswith("arn:aws:states:::lambda:invoke") or ":activity:" in resource:
            return None
        return Task(resource, self._answer, "at_least_once", takes_context=False, is_async=True)

    async def _answer(self, value: Any) -> Any:
        entry = next((entry for entry in self._left if self._same(entry["input"], value)), None)
        entry = entry or (self._left[0] if self._left else None)
        if entry is None:  # a distributed Map's items have separate histories, which were not recorded:
            return value  # the functions that they called gave back what they were given
        self._left.remove(entry)
        if entry.get("times_out"):
            await self._clock.sleep_until(self._clock.now() + timedelta(days=365))
        if "error" in entry:
            cause = entry.get("cause")
            raise TaskError(entry["error"], cause if cause is None or isinstance(cause, str) else _text(entry))
        return entry["result"]


async def outcome_of(case: Case, same: Callable[[Any, Any], bool]) -> Outcome:
    """Run a case in memory and in virtual time."""
    clock = VirtualClock()
    async with Engine("memory://", tasks=RecordedTasks(case, clock, same), clock=clock) as engine:
        try:
            machine = await engine.create_state_machine("recorded", case["definition"], type=case["type"])
        except DefinitionError as fault:
            return {"status": "REFUSED", "error": "DefinitionError", "cause": str(fault), "events": None}
        handle = await machine.start_execution(case["input"])
        try:
            execution = await asyncio.wait_for(handle.wait(), PATIENCE)
        except TimeoutError:
            return {"status": "HANGING", "error": None, "cause": None, "events": None}
        history = await engine.get_execution_history(handle.id)
        return {**_end(execution), "events": [_flat(event) for event in history], "history": history}


def _end(execution: Execution) -> Outcome:
    return {
        "status": str(execution.status),
        "output": execution.output,
        "error": execution.error,
        "cause": execution.cause,
    }


def _flat(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event with its details beside its type and its payloads decoded, as the recordings have it."""
    flat: dict[str, Any] = {}
    for key, value in event.items():
        flat |= value if key.endswith("EventDetails") else {key: value}
    return flat | {key: json.loads(flat[key]) for key in ("input", "output") if key in flat}


def _text(entry: Mapping[str, Any]) -> str:
    """Return a recorded JSON cause as the text that it was: each way to call Lambda spaces it in its own manner."""
    separators = (", ", ": ") if entry["style"] == "function" else (",", ":")
    return json.dumps(entry["cause"], separators=separators)
