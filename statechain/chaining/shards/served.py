"""Which batches a worker runs shards of: all, or those that callers here have started, take part in, or await."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from statechain.chaining.runner import Target

if TYPE_CHECKING:
    from statechain.chaining.shards.looks import Looks
    from statechain.chaining.source import InputTransformer

__all__ = ["Part", "ServedBatches"]


@attrs.frozen(eq=False)
class Part:
    """That a caller here takes part in a batch: with this machine, and this transformer."""

    target: Target
    transformer: InputTransformer | None


class ServedBatches:
    """The batches that one worker runs shards of, and whether it still does.

    Arguments:
        looks: Is notified of each change.

        serves_all: Whether batches that were started elsewhere are among them.
    """

    def __init__(self, looks: Looks, *, serves_all: bool) -> None:
        self._looks = looks
        self._serves_all = serves_all
        self._started_here: dict[str, object] = {}
        self._awaited: Counter[str] = Counter()
        self._parts: defaultdict[str, list[Part]] = defaultdict(list)
        self.is_draining = False

    # What callers say

    def add_started(self, batch_id: str) -> None:
        """Serve a batch that was started here, until it is over."""
        if not self._serves_all:
            self._started_here[batch_id] = object()

    @contextmanager
    def joined(self, batch_id: str, target: Target, transformer: InputTransformer | None) -> Iterator[None]:
        """Run a batch's shards here, in any mode and beyond the slots, as its caller does who takes part in it."""
        part = Part(target, transformer)
        self._parts[batch_id].append(part)
        try:
            yield
        finally:
            self._looks.is_outdated = True
            self._parts[batch_id].remove(part)
            if not self._parts[batch_id]:
                del self._parts[batch_id]

    @contextmanager
    def awaiting(self, batch_id: str) -> Iterator[None]:
        """Run a batch's shards also while the engine is being left: a caller here waits for its end."""
        self._awaited[batch_id] += 1
        try:
            yield
        finally:
            self._awaited[batch_id] -= 1
            if self._awaited[batch_id] <= 0:
                del self._awaited[batch_id]
            self._looks.read_again()

    def drain(self, *, leaves_awaited: bool = False) -> None:
        """Serve no batch any more, but those that a caller here awaits."""
        self.is_draining = True
        if leaves_awaited:
            self._awaited.clear()
        self._looks.read_again()

    # What is served

    @property
    def is_over(self) -> bool:
        """Whether nothing is served any more."""
        return self.is_draining and all(count <= 0 for count in self._awaited.values())

    @property
    def has_parts(self) -> bool:
        """Whether a caller here takes part in any batch."""
        return bool(self._parts)

    def part_in(self, batch_id: str) -> Part | None:
        """Return how a caller here takes part in a batch: the last one, since all of them resumed the same batch."""
        parts = self._parts.get(batch_id)
        return parts[-1] if parts else None

    def serves(self, batch_id: str) -> bool:
        """Return whether shards of a batch are claimed here without a ticket."""
        is_served = self._serves_all or batch_id in self._started_here or batch_id in self._parts
        return is_served and not self.drains(batch_id)

    def drains(self, batch_id: str) -> bool:
        """Return whether nothing more of a batch is to be started here."""
        return self.is_draining and self._awaited[batch_id] <= 0

    def started(self) -> Mapping[str, object]:
        """Return the batches that were started here, each with a token of that start."""
        return dict(self._started_here)

    def forget_ended(self, started: Mapping[str, object], running: Collection[str]) -> None:
        """Forget which of the ``started`` batches are over, unless one was started again since."""
        for batch_id in started.keys() - running:
            if self._started_here.get(batch_id) is started[batch_id]:
                del self._started_here[batch_id]
