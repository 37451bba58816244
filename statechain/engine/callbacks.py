"""Answers to tasks that wait for one from outside: under a task token, or as the worker of an activity.

AWS calls it the callback pattern (SendTaskSuccess, SendTaskFailure, SendTaskHeartbeat, GetActivityTask).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from statechain.arguments import DURATION, TEXT, TOKEN, checked, text
from statechain.clock import as_duration
from statechain.codec import JSONInput, encode
from statechain.guard import Guard, guarded
from statechain.tasks import services

if TYPE_CHECKING:
    from statechain.limits import Limits
    from statechain.tasks.callbacks import ActivityTask, Callbacks

__all__ = ["EngineCallbacks"]


@guarded()
class EngineCallbacks:
    """The methods of `Engine` that answer a task which waits; it sets the attributes that they need."""

    guard: Guard
    limits: Limits
    _callbacks: Callbacks

    @checked(token=TOKEN)
    async def send_task_success(self, token: str, output: JSONInput) -> None:
        """Answer the task that waits under a token: it succeeded, with an output.

        Arguments:
            token: The token that the task handed out.

            output: The task's result, any JSON value.

        Raises:
            InvalidToken: No task ever waited under the token.

            TaskTimedOut: The task is over.

            InvalidPayload: The output is not JSON, or too large.
        """
        text = encode(output, max_bytes=self.limits.payload_bytes, max_depth=self.limits.payload_depth)
        await self._callbacks.succeed(token, text)

    @checked(token=TOKEN, error=TEXT.or_none(), cause=TEXT.or_none())
    async def send_task_failure(self, token: str, error: str | None = None, cause: str | None = None) -> None:
        """Answer the task that waits under a token: it failed, with an error's name or without one.

        Arguments:
            token: The token that the task handed out.

            error: The name of the error, which Retry and Catch match.

            cause: What happened; one that is too long is truncated.

        Raises:
            InvalidToken: No task ever waited under the token.

            TaskTimedOut: The task is over.
        """
        await self._callbacks.fail(token, error, self.limits.cut_off(cause))

    @checked(token=TOKEN)
    async def send_task_heartbeat(self, token: str) -> None:
        """Report that the task under a token is still worked on: its HeartbeatSeconds count from now.

        Arguments:
            token: The token that the task handed out.

        Raises:
            InvalidToken: No task ever waited under the token.

            TaskTimedOut: The task is over.
        """
        await self._callbacks.heartbeat(token)

    @checked(activity=text("an activity's name or ARN"), patience=DURATION)
    async def get_activity_task(self, activity: str, *, patience: timedelta | float = 60.0) -> ActivityTask | None:
        """Take the oldest task that waits for an activity's workers; answer it under its token.

        A task that was taken for a caller that is cancelled meanwhile goes to the next caller of this engine. Without
        a next one it is lost until its HeartbeatSeconds or TimeoutSeconds are over.

        Arguments:
            activity: The activity's name or its ARN.

            patience: How long to wait for a task, in seconds or as a timedelta.

        Returns:
            The task with its token and its input; None where none came in time.

        Raises:
            InvalidArgument: ``patience`` is not a duration.
        """
        seconds = as_duration(patience).total_seconds()
        return await self._callbacks.take(services.activity_name(activity) or activity, seconds)
