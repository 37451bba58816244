"""A group that storage refuses: what is committed of it, what is held up, and how often storage is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from statechain.errors import RepositoryError, RepositoryUnavailable
from statechain.storage.journal.committing import Committer, HeldUp
from statechain.storage.repository import Write
from support.faulty_repository import FaultyRepository, as_repository
from support.storage.journals import PATIENCE, each, refuses


@attrs.define
class Pauses:
    """Takes no time between two tries, and lets storage answer before the last of them."""

    storage: FaultyRepository
    most: int = 10
    taken: int = 0

    async def take(self, _seconds: float) -> None:
        self.taken += 1
        assert self.taken <= self.most, "it is tried again and again"
        if self.taken == self.most:
            self.storage.before = lambda _: None
        await asyncio.sleep(0)


def committer(storage: FaultyRepository, pauses: Pauses) -> Committer:
    return Committer(as_repository(storage), pauses.take, lambda: False, separation=PATIENCE)


@pytest.mark.parametrize(
    ("size", "bad"),
    [(13, [0]), (13, [12]), (13, [0, 1, 2]), (13, [3, 4, 5]), (13, [6, 7, 8, 9]), (2, [0]), (2, [1])],
)
async def test_what_is_held_up_keeps_nothing_else_of_its_group(
    storage: FaultyRepository, size: int, bad: list[int]
) -> None:
    writes = each(size)
    storage.before = refuses([writes[place] for place in bad], timed_out=True)
    outcomes = await committer(storage, pauses := Pauses(storage)).commit(writes)
    assert pauses.taken <= 1
    for place, (write, outcome) in enumerate(zip(writes, outcomes, strict=True)):
        if place in bad:
            assert isinstance(outcome, HeldUp)
            assert str(outcome.error) == "a row is locked"
        else:
            assert outcome == write.execution


@pytest.mark.parametrize(("timed_out", "before"), [(False, [10, 10, 10]), (True, [10])])
async def test_three_writes_speak_for_a_storage_that_is_away(
    storage: FaultyRepository, before: list[int], *, timed_out: bool
) -> None:
    writes = each(10)
    storage.before = refuses(writes, timed_out=timed_out)
    outcomes = await committer(storage, Pauses(storage, most=len(before))).commit(writes)
    assert outcomes == [write.execution for write in writes]
    assert storage.sizes == [*before, 1, 1, 1, 10]


async def test_a_fault_in_the_repository_is_the_outcome_of_the_write_that_met_it(storage: FaultyRepository) -> None:
    writes, fault = each(4), ZeroDivisionError("a bug")

    def before(group: Sequence[Write[Any]]) -> Exception | None:
        if len(group) > 1:
            return RepositoryUnavailable("too slow", timed_out=True)
        return fault if writes[2] in group else None

    storage.before = before
    outcomes = await committer(storage, Pauses(storage)).commit(writes)
    assert [outcomes[place] for place in (0, 1, 3)] == [writes[place].execution for place in (0, 1, 3)]
    refusal = outcomes[2]
    assert isinstance(refusal, RepositoryError)
    assert str(refusal) == "the repository raised ZeroDivisionError"
    assert refusal.__cause__ is fault
