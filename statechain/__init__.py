"""Durable Amazon States Language state machines on asyncio, chained in batches."""

from typing import TYPE_CHECKING

from statechain.chaining.options import BatchExecutionOptions
from statechain.chaining.source import InputTransformer
from statechain.clock import Clock, SystemClock
from statechain.codec import JSONInput, JSONValue
from statechain.engine.engine import Engine
from statechain.engine.handle import ExecutionHandle
from statechain.engine.machine import StateMachine
from statechain.errors import (
    BatchNotFound,
    DamagedRow,
    DefinitionError,
    Diagnostic,
    EngineNotUsable,
    ExecutionAlreadyExists,
    ExecutionNotFound,
    InputTransformerError,
    InvalidArgument,
    InvalidPayload,
    InvalidToken,
    LeaseLost,
    RepositoryError,
    RepositoryUnavailable,
    SourceNotFinished,
    SourceStateNotFound,
    StatechainError,
    StateError,
    StateMachineNotFound,
    TaskError,
    TaskTimedOut,
)
from statechain.lazy import importer
from statechain.limits import Limits
from statechain.records.batches import Batch, BatchStatus, ItemCounts
from statechain.records.events import HistoryEvent
from statechain.records.executions import DurationStatistics, Execution, ExecutionStatus, Link, Source
from statechain.records.filters import Chained, ExecutionFilter
from statechain.records.results import BatchExecutionResult, BatchStopped, ExecutionFailed
from statechain.storage.open import open_repository
from statechain.tasks.dependencies import Depends
from statechain.tasks.registry import TaskContext, TaskRegistry

if TYPE_CHECKING:
    from statechain.chaining.distributed import BatchHandle as BatchHandle
    from statechain.launcher import ResultStream as ResultStream
    from statechain.observers import Observer as Observer
    from statechain.storage.repository import Repository as Repository
    from statechain.tasks.callbacks import ActivityTask as ActivityTask
    from statechain.version import __version__ as __version__
    from statechain_backends import MemoryRepository as MemoryRepository
    from statechain_backends import PostgresRepository as PostgresRepository
    from statechain_backends import SQLiteRepository as SQLiteRepository
else:
    # A backend brings its driver; the others bring what runs executions, and all that storage is asked.
    __getattr__ = importer(
        __name__,
        {
            "ActivityTask": "statechain.tasks.callbacks",
            "BatchHandle": "statechain.chaining.distributed",
            "MemoryRepository": "statechain_backends",
            "Observer": "statechain.observers",
            "PostgresRepository": "statechain_backends",
            "Repository": "statechain.storage.repository",
            "ResultStream": "statechain.launcher",
            "SQLiteRepository": "statechain_backends",
            "__version__": "statechain.version",
        },
    )


__all__ = [
    "ActivityTask",
    "Batch",
    "BatchExecutionOptions",
    "BatchExecutionResult",
    "BatchHandle",
    "BatchNotFound",
    "BatchStatus",
    "BatchStopped",
    "Chained",
    "Clock",
    "DamagedRow",
    "DefinitionError",
    "Depends",
    "Diagnostic",
    "DurationStatistics",
    "Engine",
    "EngineNotUsable",
    "Execution",
    "ExecutionAlreadyExists",
    "ExecutionFailed",
    "ExecutionFilter",
    "ExecutionHandle",
    "ExecutionNotFound",
    "ExecutionStatus",
    "HistoryEvent",
    "InputTransformer",
    "InputTransformerError",
    "InvalidArgument",
    "InvalidPayload",
    "InvalidToken",
    "ItemCounts",
    "JSONInput",
    "JSONValue",
    "LeaseLost",
    "Limits",
    "Link",
    "MemoryRepository",
    "Observer",
    "PostgresRepository",
    "Repository",
    "RepositoryError",
    "RepositoryUnavailable",
    "ResultStream",
    "SQLiteRepository",
    "Source",
    "SourceNotFinished",
    "SourceStateNotFound",
    "StateError",
    "StateMachine",
    "StateMachineNotFound",
    "StatechainError",
    "SystemClock",
    "TaskContext",
    "TaskError",
    "TaskRegistry",
    "TaskTimedOut",
    "open_repository",
]
