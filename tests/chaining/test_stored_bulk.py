"""Inputs that are stored for workers: in pages, all of them or none, each item under its own name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from statechain import BatchExecutionOptions, Engine, InvalidPayload, Limits, MemoryRepository, StateMachine
from statechain.chaining import bulk
from statechain.storage.repository import AddBatchItems, DropBatchItems
from support.faulty_repository import FaultyRepository, as_repository

PASS = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
SHARED = BatchExecutionOptions(mode="DISTRIBUTED", name_prefix="bulk")
LIMITS = Limits(payload_depth=8)


@pytest.fixture
async def storage() -> AsyncIterator[FaultyRepository]:
    """Return a storage in memory that remembers what was committed."""
    async with MemoryRepository() as repository:
        yield FaultyRepository(repository, remembers=True)


@pytest.fixture
async def client(storage: FaultyRepository) -> AsyncIterator[Engine]:
    """Return an engine that stores, and runs nothing."""
    async with Engine(as_repository(storage), role="client", limits=LIMITS) as engine:
        yield engine


@pytest.fixture
async def machine(client: Engine) -> StateMachine:
    return await client.create_state_machine("target", PASS)


def pages(storage: FaultyRepository) -> list[int]:
    """Return how many items each write had."""
    return [len(write.items) for group in storage.groups for write in group if isinstance(write, AddBatchItems)]


def dropped(storage: FaultyRepository) -> list[tuple[int, int]]:
    """Return the first and the last item of each deletion."""
    writes = [write for group in storage.groups for write in group]
    added = {write.batch_id for write in writes if isinstance(write, AddBatchItems)}
    drops = [write for write in writes if isinstance(write, DropBatchItems)]
    assert {write.batch_id for write in drops} <= added
    return [(write.first, write.last) for write in drops]


async def test_a_page_has_no_more_inputs_than_its_bound(storage: FaultyRepository, machine: StateMachine) -> None:
    await machine.start_bulk(range(2 * bulk.PAGE_ITEMS + 1), options=SHARED)
    assert pages(storage) == [bulk.PAGE_ITEMS, bulk.PAGE_ITEMS, 1]


async def test_a_page_is_stored_once_its_inputs_are_large(storage: FaultyRepository, machine: StateMachine) -> None:
    quarter = "x" * (bulk.PAGE_CHARACTERS // 4 - len('""'))
    await machine.start_bulk([quarter] * 9, options=SHARED)
    assert pages(storage) == [4, 4, 1]


@pytest.mark.parametrize(
    ("count", "ranges"), [(5, [(3, 4), (1, 2), (0, 0)]), (4, [(2, 3), (0, 1)]), (1, [(0, 0)]), (0, [])]
)
async def test_what_was_stored_of_inputs_that_raise_is_deleted_from_the_last_on(
    storage: FaultyRepository,
    machine: StateMachine,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    ranges: list[tuple[int, int]],
) -> None:
    monkeypatch.setattr(bulk, "PAGE_ITEMS", 1)
    monkeypatch.setattr(bulk, "DROPPED_AT_ONCE", 2)

    def inputs() -> Iterator[int]:
        yield from range(count)
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        await machine.start_bulk(inputs(), options=SHARED)
    assert sum(pages(storage)) == count
    assert dropped(storage) == ranges


class Numbers:
    """An asynchronous iterable that is no generator, and has nothing to be closed."""

    def __init__(self, count: int) -> None:
        self.numbers = iter(range(count))

    def __aiter__(self) -> Numbers:
        return self

    async def __anext__(self) -> int:
        try:
            return next(self.numbers)
        except StopIteration:
            raise StopAsyncIteration from None


async def test_inputs_may_be_any_asynchronous_iterable(client: Engine, machine: StateMachine) -> None:
    handle = await machine.start_bulk(Numbers(3), options=SHARED)
    assert (await client.get_batch(handle.id)).item_counts.total == 3


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


async def test_an_item_whose_input_is_refused_keeps_its_name(client: Engine, machine: StateMachine) -> None:
    too_large = "x" * LIMITS.payload_bytes
    handle = await machine.start_bulk([{1, 2}, too_large, nested(10), 3], options=SHARED)
    listed = await client.list_batch_results(handle.id)
    assert [(each.name, each.error) for each in listed] == [
        ("bulk-0", "InvalidPayload"),
        ("bulk-1", "InvalidPayload"),
        ("bulk-2", "InvalidPayload"),
        ("bulk-3", None),
    ]
    assert [str(each.cause).partition(":")[0] for each in listed[:3]] == ["item 0", "item 1", "item 2"]


@pytest.mark.parametrize("mode", ["INLINE", "DISTRIBUTED"])
async def test_an_input_that_is_nested_too_deep_is_an_item_that_failed(mode: Any) -> None:
    async with Engine("memory://", limits=LIMITS) as engine:
        machine = await engine.create_state_machine("target", PASS)
        options = BatchExecutionOptions(mode=mode)
        inputs: list[Any] = [nested(8), nested(10)]
        results = await machine.execute_bulk(inputs, options=options)
    assert [type(result.error) for result in results] == [type(None), InvalidPayload]
