"""How a batch runs, and how each of its items ended: what users give and get."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias, TypeVar

import attrs

from statechain.arguments import FLAG, FUNCTION, Argument, count_from, one_of
from statechain.codec import JSONInput
from statechain.errors import InvalidArgument
from statechain.records.batches import DISTRIBUTED, Batch
from statechain.records.queues import KEY, PRIORITY

__all__ = ["DISTRIBUTED", "SHARD_OPTIONS", "STORED_OPTIONS", "BatchExecutionOptions", "stored_arguments"]

T = TypeVar("T")

STORED_OPTIONS = (
    "concurrent_batches",
    "key",
    "page_size",
    "priority",
    "redrive_failed",
    "stop_on_error",
    "tolerated_failure_count",
    "tolerated_failure_percentage",
)
"""The options that a batch is stored with: those that are no functions, and not its name."""

SHARD_OPTIONS = ("mode", "shard_concurrency", "shard_size")
"""What a DISTRIBUTED batch is stored with besides."""

MAX_CONCURRENCY = count_from(0).or_none()

KEY_OR_FUNCTION = Argument(
    "a string of 1 to 80 printable characters, or a function of the input",
    lambda value: callable(value) or KEY.accepts(value),
    is_setting=True,
).or_none()

KeyFunction: TypeAlias = Callable[[Any], "str | None"]
OnStart: TypeAlias = Callable[[Any, int], "Awaitable[None] | None"]
OnComplete: TypeAlias = Callable[[Any, int, "Exception | None"], "Awaitable[None] | None"]


def _is_percentage(_instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise ValueError(f"{attribute.name} must be a number from 0 to 100, not {value!r}")


def _is_prefix(_instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or not value or not value.isprintable():
        shown = repr(value) if isinstance(value, str) else type(value).__name__
        raise InvalidArgument(f"{attribute.name} must be a string of printable characters, not {shown}")


@attrs.frozen(kw_only=True, init=False)
class BatchExecutionOptions:
    """How a batch runs.

    Attributes:
        name_prefix: Executions are named ``f"{name_prefix}-{source_execution_id}"`` (in bulk, ``-{index}``). The same
            batch, run again, then finishes what is missing and runs nothing twice. A DISTRIBUTED batch that runs
            already, with the same filter and options, is joined. Unique by default.

        concurrent_batches: How many executions run at once, started in order; 0 and 1 run one after the other.
            ``max_concurrency``, AWS's term, is another name for it.

        stop_on_error: Stop at the first failure.

        tolerated_failure_count: Stop once more than this many items failed.

        tolerated_failure_percentage: Stop once more than this percentage of all items failed, from 0 to 100.

        redrive_failed: Whether an execution of an earlier run that ended without success is redriven instead of
            returned. One that fails again is redriven once more where another worker takes its shard over meanwhile.

        on_execution_start: Called with (source execution id, index) before each item starts; sync or async. In bulk,
            the id is None.

        on_execution_complete: Called with (source execution id, index, error or None) after each item has ended.

        page_size: How many items are read from storage at a time.

        mode: ``"INLINE"`` runs the batch in this process. ``"DISTRIBUTED"`` divides it into shards for all workers of
            the storage; ``concurrent_batches`` then limits all of them together. Results and callbacks arrive within a
            second of each item's end.

        shard_concurrency: How many items of a shard run at once; about the square root of ``concurrent_batches`` by
            default.

        shard_size: How many items a shard has; by default few enough that the workers finish at about the same time.

        key: The ``key`` of the executions (see `StateMachine.start_execution`), for a machine with limits. INLINE, also
            a function that returns the key of an item from its input.

        priority: The ``priority`` of the executions, likewise.
    """

    name_prefix: str | None = attrs.field(default=None, validator=attrs.validators.optional(_is_prefix))
    concurrent_batches: int = attrs.field(default=1, validator=count_from(0))
    stop_on_error: bool = attrs.field(default=False, validator=FLAG)
    tolerated_failure_count: int | None = attrs.field(default=None, validator=attrs.validators.optional(count_from(0)))
    tolerated_failure_percentage: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(_is_percentage)
    )
    redrive_failed: bool = attrs.field(default=False, validator=FLAG)
    on_execution_start: OnStart | None = attrs.field(default=None, validator=FUNCTION.or_none())
    on_execution_complete: OnComplete | None = attrs.field(default=None, validator=FUNCTION.or_none())
    page_size: int = attrs.field(default=100, validator=count_from(1))
    mode: Literal["INLINE", "DISTRIBUTED"] = attrs.field(default="INLINE", validator=one_of("INLINE", DISTRIBUTED))
    shard_concurrency: int | None = attrs.field(default=None, validator=attrs.validators.optional(count_from(1)))
    shard_size: int | None = attrs.field(default=None, validator=attrs.validators.optional(count_from(1)))
    key: str | KeyFunction | None = attrs.field(default=None, validator=KEY_OR_FUNCTION)
    priority: int = attrs.field(default=0, validator=PRIORITY)

    def __init__(  # attrs has one name for each field; `max_concurrency` is a second one
        self,
        *,
        name_prefix: str | None = None,
        concurrent_batches: int = 1,
        max_concurrency: int | None = None,
        stop_on_error: bool = False,
        tolerated_failure_count: int | None = None,
        tolerated_failure_percentage: float | None = None,
        redrive_failed: bool = False,
        on_execution_start: OnStart | None = None,
        on_execution_complete: OnComplete | None = None,
        page_size: int = 100,
        mode: Literal["INLINE", "DISTRIBUTED"] = "INLINE",
        shard_concurrency: int | None = None,
        shard_size: int | None = None,
        key: str | KeyFunction | None = None,
        priority: int = 0,
    ) -> None:
        MAX_CONCURRENCY.check("max_concurrency", max_concurrency)
        # 1 is the default: it may not have been given at all.
        if max_concurrency is not None and concurrent_batches not in (1, max_concurrency):
            raise ValueError("give concurrent_batches or max_concurrency, not both: they are the same")
        if mode == DISTRIBUTED and callable(key):
            raise ValueError("a DISTRIBUTED batch takes a key that is a string, since other processes run it")
        self.__attrs_init__(
            name_prefix=name_prefix,
            concurrent_batches=concurrent_batches if max_concurrency is None else max_concurrency,
            stop_on_error=stop_on_error,
            tolerated_failure_count=tolerated_failure_count,
            tolerated_failure_percentage=tolerated_failure_percentage,
            redrive_failed=redrive_failed,
            on_execution_start=on_execution_start,
            on_execution_complete=on_execution_complete,
            page_size=page_size,
            mode=mode,
            shard_concurrency=shard_concurrency,
            shard_size=shard_size,
            key=key,
            priority=priority,
        )

    @property
    def max_concurrency(self) -> int:
        """How many executions run at once; `concurrent_batches` is the same."""
        return self.concurrent_batches

    def key_of(self, value: JSONInput) -> str | None:
        """Return the key of an item with this input. Raises InvalidArgument where a function returns none."""
        if self.key is None or isinstance(self.key, str):
            return self.key
        key = self.key(value)
        KEY.or_none().check("what key returns", key)
        return key

    @classmethod
    def of(cls, batch: Batch) -> BatchExecutionOptions:
        """Return the options that a batch was stored with; change them with `attrs.evolve`.

        Callbacks are not stored. The ``name_prefix`` is left out, since a resumed batch keeps its own.

        Arguments:
            batch: The batch, as it was read.

        Returns:
            Its options, as `Engine.resume_batch` takes them.
        """
        return cls(**stored_arguments(batch))


def stored_arguments(batch: Batch) -> dict[str, Any]:
    """Return the arguments that made the options of a stored batch."""
    return {name: value for name, value in batch.options.items() if name in (*STORED_OPTIONS, *SHARD_OPTIONS)}
