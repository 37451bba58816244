"""The events of an execution's history as their readers' type checkers see them: AWS's HistoryEvent."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NotRequired, TypedDict

__all__ = ["HistoryEvent"]


class HistoryEvent(TypedDict):
    """An event of an execution's history; one details object is there at most, named after the event's type."""

    timestamp: datetime
    type: str
    id: int
    previousEventId: int

    activityFailedEventDetails: NotRequired[dict[str, Any]]
    activityScheduleFailedEventDetails: NotRequired[dict[str, Any]]
    activityScheduledEventDetails: NotRequired[dict[str, Any]]
    activityStartedEventDetails: NotRequired[dict[str, Any]]
    activitySucceededEventDetails: NotRequired[dict[str, Any]]
    activityTimedOutEventDetails: NotRequired[dict[str, Any]]
    evaluationFailedEventDetails: NotRequired[dict[str, Any]]
    executionAbortedEventDetails: NotRequired[dict[str, Any]]
    executionFailedEventDetails: NotRequired[dict[str, Any]]
    executionRedrivenEventDetails: NotRequired[dict[str, Any]]
    executionStartedEventDetails: NotRequired[dict[str, Any]]
    executionSucceededEventDetails: NotRequired[dict[str, Any]]
    executionTimedOutEventDetails: NotRequired[dict[str, Any]]
    lambdaFunctionFailedEventDetails: NotRequired[dict[str, Any]]
    lambdaFunctionScheduleFailedEventDetails: NotRequired[dict[str, Any]]
    lambdaFunctionScheduledEventDetails: NotRequired[dict[str, Any]]
    lambdaFunctionStartFailedEventDetails: NotRequired[dict[str, Any]]
    lambdaFunctionSucceededEventDetails: NotRequired[dict[str, Any]]
    lambdaFunctionTimedOutEventDetails: NotRequired[dict[str, Any]]
    mapIterationAbortedEventDetails: NotRequired[dict[str, Any]]
    mapIterationFailedEventDetails: NotRequired[dict[str, Any]]
    mapIterationStartedEventDetails: NotRequired[dict[str, Any]]
    mapIterationSucceededEventDetails: NotRequired[dict[str, Any]]
    mapRunFailedEventDetails: NotRequired[dict[str, Any]]
    mapRunRedrivenEventDetails: NotRequired[dict[str, Any]]
    mapRunStartedEventDetails: NotRequired[dict[str, Any]]
    mapStateStartedEventDetails: NotRequired[dict[str, Any]]
    stateEnteredEventDetails: NotRequired[dict[str, Any]]
    stateExitedEventDetails: NotRequired[dict[str, Any]]
    taskFailedEventDetails: NotRequired[dict[str, Any]]
    taskScheduledEventDetails: NotRequired[dict[str, Any]]
    taskStartFailedEventDetails: NotRequired[dict[str, Any]]
    taskStartedEventDetails: NotRequired[dict[str, Any]]
    taskSubmitFailedEventDetails: NotRequired[dict[str, Any]]
    taskSubmittedEventDetails: NotRequired[dict[str, Any]]
    taskSucceededEventDetails: NotRequired[dict[str, Any]]
    taskTimedOutEventDetails: NotRequired[dict[str, Any]]
