"""The part of a repository that keeps a state machine's limits over all processes.

A machine with limits has a queue. Its executions are started and redriven without an owner, for workers to claim. A
claim locks the queue, counts the executions that are owned, and takes no more than the limits allow (see
`LeaseStorage.claim`). Nothing else keeps the limits: no process remembers how many it may run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from statechain.errors import StatechainError
from statechain.records.queues import LimitName, LimitWait, MachineLimits, Queue

__all__ = ["MachineLimited", "QueueStorage", "limit_reached"]


class MachineLimited(StatechainError):
    """A start or a redrive with an owner was refused: the machine has limits, so that its executions are claimed."""

    def __init__(self, state_machine_id: str) -> None:
        super().__init__(f"the state machine {state_machine_id} has limits: its executions are claimed by workers")
        self.state_machine_id = state_machine_id


class QueueStorage(Protocol):
    """The limits of a `Repository`."""

    async def machine_limits(self, state_machine_id: str) -> MachineLimits:
        """Return the limits of a state machine; one that has none, or is not known, has `MachineLimits` without any."""

    async def queues(self) -> Sequence[Queue]:
        """Return the queues of the machines that have limits, or under whose former limits executions wait, by id."""

    async def limit_wait(self, execution_id: str) -> LimitWait | None:
        """Return why an execution has not been claimed; None where it is owned, not RUNNING, or has no queue."""


def limit_reached(queue: Queue, *, running_of_key: int | None, has_token: bool) -> LimitName | None:
    """Return the limit that keeps an execution from being claimed, the widest first; None where there is none.

    ``running_of_key`` counts the executions with its key that are owned; None without a key.
    """
    limits = queue.limits
    if limits.max_concurrency is not None and queue.running >= limits.max_concurrency:
        return "max_concurrency"
    if not has_token:
        return "rate"
    most = limits.max_concurrency_per_key
    if most is not None and running_of_key is not None and running_of_key >= most:
        return "max_concurrency_per_key"
    return None
