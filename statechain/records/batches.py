"""Batches as storage keeps them, as immutable values: a batch, its items and how many have each status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

import attrs

from statechain.codec import JSONValue, encode, same_json
from statechain.records.executions import ExecutionStatus

__all__ = ["DISTRIBUTED", "NAME_TAKEN", "Batch", "BatchItem", "BatchStatus", "ItemCounts"]


DISTRIBUTED: Final = "DISTRIBUTED"
"""The ``mode`` among the options of a batch that workers share, in shards."""

NAME_TAKEN = "ExecutionAlreadyExists"
"""The error of an item whose name belongs to an execution with another input: it represents no execution."""


class BatchStatus(StrEnum):
    """The status of a batch, in the terms of AWS's Map Run."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"


@attrs.frozen(kw_only=True)
class ItemCounts:
    """How many items of a batch are where, in the terms of AWS's Map Run.

    Attributes:
        pending: Not started yet; or their executions were deleted.

        running: Their executions run.

        succeeded: Their executions SUCCEEDED.

        failed: Their executions FAILED, or none could be started.

        timed_out: Their executions are TIMED_OUT.

        aborted: Their executions are ABORTED.

        total: All items.
    """

    pending: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    aborted: int = 0
    total: int = 0


@attrs.frozen(kw_only=True, repr=False)
class Batch:
    """A stored batch: what was asked, and how far it has come.

    Attributes:
        id: Unique everywhere, ordered by time.

        name_prefix: The prefix of its executions' names.

        state_machine_id: The target machine.

        state_machine_revision: The revision that its executions run.

        source_state_name: The state whose outputs are chained, or None for the final outputs.

        filter: The filter as a JSON-shaped mapping, as it was when the batch started; empty where the batch was given
            inputs, which are stored.

        options: The options as a JSON-shaped mapping; callbacks cannot be stored.

        status: RUNNING until every item has ended or the batch was stopped.

        start_time: When its set of sources was frozen.

        end_time: When it ended, or None.

        item_counts: Counted from the executions themselves whenever the batch is read, but for those of shards that
            none was begun of, or that are over and of whose executions none was redriven since. These are counted as
            they ended, also where they are deleted later.

        parent_execution_id: The execution whose distributed Map the batch is the Map Run of; None for any other batch.
    """

    id: str
    name_prefix: str
    state_machine_id: str
    state_machine_revision: int
    source_state_name: str | None
    filter: Mapping[str, JSONValue]
    options: Mapping[str, JSONValue]
    status: BatchStatus
    start_time: datetime
    end_time: datetime | None = None
    item_counts: ItemCounts = ItemCounts()
    parent_execution_id: str | None = None

    @property
    def target(self) -> str:
        """The id of the target machine."""
        return self.state_machine_id

    @property
    def is_distributed(self) -> bool:
        """Whether all workers of the storage share it, in shards."""
        return self.options.get("mode") == DISTRIBUTED

    def does_the_same(self, other: Batch) -> bool:
        """Return whether another batch chains the same sources to the same names of the same machine, the same way.

        Arguments:
            other: The other batch.

        Returns:
            True where only its id, times and status differ: `CreateBatch` joins it.
        """
        # Its id, its times and its status play no part.
        return (
            (self.name_prefix, self.source_state_name) == (other.name_prefix, other.source_state_name)
            and self.state_machine_id == other.state_machine_id
            and self.state_machine_revision == other.state_machine_revision
            and self.parent_execution_id == other.parent_execution_id
            # By value: what was stored by another process may be written with other numbers (see `codec.encoding`).
            and same_json(encode(dict(self.filter)), encode(dict(other.filter)))
            and same_json(encode(dict(self.options)), encode(dict(other.options)))
        )

    def __repr__(self) -> str:
        return f"<Batch {self.name_prefix} {self.status} {self.item_counts.total} items>"


@attrs.frozen(kw_only=True)
class BatchItem:
    """One item of a batch, with what its execution's input is made of: a source, or an input that is stored.

    Attributes:
        index: Its place in the batch, from 0, without gaps.

        source_execution_id: The source; None where the batch was given inputs.

        name: The name of its execution.

        source_status: The source's status now, or None where the source was deleted meanwhile.

        source_output: The output to chain from, as JSON text: the source's, or that of its last completed visit
            of the batch's state; None where there is none.

        error: The error name, where the item failed before an execution could be started; else None.

        cause: The cause beside it.

        input_text: The input as JSON text, where the batch was given inputs; None where that one was refused.
    """

    index: int
    source_execution_id: str | None
    name: str
    source_status: ExecutionStatus | None = None
    source_output: str | None = attrs.field(default=None, repr=False)
    error: str | None = None
    cause: str | None = None
    input_text: str | None = attrs.field(default=None, repr=False)

    @property
    def passed_text(self) -> str | None:
        """The stored text that is the input where nothing maps it; None where the item has none to pass on."""
        if self.source_execution_id is None:
            return self.input_text
        is_finished = self.source_status is not None and self.source_status.is_terminal
        return self.source_output if is_finished else None
