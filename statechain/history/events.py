"""How AWS's history names what happened: event types and the details objects of Tasks, iterations and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

from statechain.asl.outcome import CallTask
from statechain.codec import JSONValue
from statechain.records.details import Moment, MomentKind
from statechain.tasks.registry import function_name
from statechain.tasks.services import activity_name

__all__ = ["ENDS", "MOMENTS", "WHOLE", "Event", "Service", "details_key", "fault_details"]

Event: TypeAlias = dict[str, Any]

ENDS = {
    "SUCCEEDED": "ExecutionSucceeded",
    "FAILED": "ExecutionFailed",
    "TIMED_OUT": "ExecutionTimedOut",
    "ABORTED": "ExecutionAborted",
}
MOMENTS = {
    MomentKind.SCHEDULED: "Scheduled",
    MomentKind.STARTED: "Started",
    MomentKind.SUBMITTED: "Submitted",
    MomentKind.SUCCEEDED: "Succeeded",
    MomentKind.FAILED: "Failed",
    MomentKind.TIMED_OUT: "TimedOut",
    MomentKind.ABORTED: "Aborted",
    MomentKind.ITERATION_STARTED: "MapIterationStarted",
    MomentKind.ITERATION_FAILED: "MapIterationFailed",
    MomentKind.ITERATION_ABORTED: "MapIterationAborted",
    MomentKind.RUN_STARTED: "MapRunStarted",
    MomentKind.RUN_REDRIVEN: "MapRunRedriven",
    MomentKind.RUN_SUCCEEDED: "MapRunSucceeded",
    MomentKind.RUN_FAILED: "MapRunFailed",
    MomentKind.RUN_ABORTED: "MapRunAborted",
}
"""How the types of the events of moments end; those of Map Runs and iterations are whole."""
WHOLE = {"truncated": False}

# How many characters the service's model allows: longer ones are cut off in events.
LONGEST_ERROR, LONGEST_CAUSE, LONGEST_LOCATION = 256, 32_768, 256
LONGEST_RESOURCE, LONGEST_ARN = 80, 256


def details_key(type_: str) -> str:
    """Return the name of an event's details object."""
    return f"{type_[0].lower()}{type_[1:]}EventDetails"


def fault_details(error: JSONValue, cause: JSONValue) -> Event:
    """Return the details of a failure, as far as they are there and as long as they may be."""
    bounds = (("error", error, LONGEST_ERROR), ("cause", cause, LONGEST_CAUSE))
    return {key: str(value)[:longest] for key, value, longest in bounds if value is not None}


@attrs.frozen
class Service:
    """How the history says of a Resource: the prefix of the events' types, and what their details have in common."""

    prefix: str
    resource: str
    base: Mapping[str, str]

    @classmethod
    def of(cls, resource: str) -> Service:
        """Return what a Resource's events are called."""
        if function_name(resource) is not None:
            return cls("LambdaFunction", resource[:LONGEST_ARN], {})
        if activity_name(resource) is not None:
            return cls("Activity", resource[:LONGEST_ARN], {})
        parts = resource.split(":")
        if len(parts) >= 7 and parts[0] == "arn" and parts[2] == "states":
            # `arn:aws:states:::aws-sdk:service:action`: the type has two parts.
            place = 7 if parts[5] == "aws-sdk" else 6
            kind, name = ":".join(parts[5:place]), ":".join(parts[place:])
            base = {"resourceType": kind[:LONGEST_RESOURCE], "resource": name[:LONGEST_RESOURCE]}
            return cls("Task", resource, base)
        return cls("Task", resource, {"resourceType": "task", "resource": resource[:LONGEST_RESOURCE]})

    def scheduled(self, text: str, effect: CallTask | None) -> Event:
        """Return the details of the scheduling of an attempt that was given a JSON text."""
        details: Event = {"resource": self.resource, "input": text, "inputDetails": WHOLE}
        if self.prefix == "Task":
            details = {**self.base, "region": "local", "parameters": text}
        if effect is not None and effect.timeout is not None:
            details["timeoutInSeconds"] = effect.timeout
        # AWS's LambdaFunctionScheduled has no heartbeatInSeconds.
        if effect is not None and effect.heartbeat is not None and self.prefix != "LambdaFunction":
            details["heartbeatInSeconds"] = effect.heartbeat
        return details

    def started(self) -> Event | None:
        """Return the details of an attempt that began; a Lambda function's beginning has none."""
        return None if self.prefix == "LambdaFunction" else dict(self.base)

    def produced(self, text: str | None) -> Event:
        """Return the details of an attempt that put out a JSON text."""
        return {**self.base, "output": text, "outputDetails": WHOLE}

    def failed(self, moment: Moment) -> Event:
        """Return the details of an attempt that failed."""
        return {**self.base, **fault_details(*moment.facts[:2])}
