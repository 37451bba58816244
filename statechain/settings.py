"""The settings of one engine, which all its parts read: clock, limits, handlers, observers, files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from statechain.clock import Clock
from statechain.limits import Limits
from statechain.tasks.registry import TaskRegistry

if TYPE_CHECKING:
    from statechain.observers import Observer

__all__ = ["Settings"]


@attrs.frozen(kw_only=True, eq=False)
class Settings:
    """What an engine was created with, and what stays the same while it runs.

    Attributes:
        clock: What Wait, Retry and timeouts go by.

        limits: What guards the process.

        tasks: The handlers.

        observers: Called with each fact about executions.

        files: The folder in the place of S3; None where distributed Maps have none.

        shares_map_runs: Whether the items of distributed Maps are executions of their own, for all workers.
    """

    clock: Clock
    limits: Limits
    tasks: TaskRegistry
    observers: Sequence[Observer] = ()
    files: Path | None = None
    shares_map_runs: bool = False
