"""The arguments of methods that start from stored executions: filters, options, sources, transformers."""

from __future__ import annotations

from statechain.arguments import Argument, instance_of
from statechain.chaining.options import BatchExecutionOptions
from statechain.records.executions import Execution, Source
from statechain.records.filters import ExecutionFilter

__all__ = ["FILTER", "OPTIONS", "SOURCE", "STATE_NAME", "TRANSFORMER"]

FILTER = instance_of(ExecutionFilter, meant="an ExecutionFilter")
OPTIONS = instance_of(BatchExecutionOptions, meant="BatchExecutionOptions").or_none()
SOURCE = instance_of(str, Execution, Source, meant="an execution, its id, or a Source").or_none()
TRANSFORMER = Argument(
    "a function, or the name of one that is registered by TaskRegistry.transformer",
    lambda value: callable(value) or isinstance(value, str),
).or_none()
STATE_NAME = Argument("the name of a state", lambda value: isinstance(value, str), is_text=True).or_none()
