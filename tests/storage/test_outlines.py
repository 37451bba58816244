"""Outlines of an execution's visits: all of them, in order, a page in memory at a time."""

from __future__ import annotations

import pytest

from statechain import MemoryRepository
from statechain.storage import outlines
from statechain.storage.outlines import outline, read_outlines
from statechain.testing.contract.samples import advance, commit, start, visit
from support.faulty_repository import Fault, FaultyRepository, as_repository

PAGE = 3


@pytest.mark.parametrize(("rows", "reads"), [(0, 1), (2, 1), (3, 2), (7, 3)])
async def test_all_are_read_page_by_page(rows: int, reads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlines, "PAGE", PAGE)
    async with MemoryRepository() as storage:
        made = await start(storage)
        visits = [visit(made, number) for number in range(rows)]
        await commit(storage, advance(made, *visits))
        counting = FaultyRepository(storage)
        found = [each async for each in read_outlines(as_repository(counting), made.id)]
    assert found == [outline(each, place) for place, each in enumerate(visits, 1)]
    assert counting.calls == reads


async def test_an_outage_between_two_pages_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlines, "PAGE", PAGE)
    async with MemoryRepository() as storage:
        made = await start(storage)
        await commit(storage, advance(made, *(visit(made, number) for number in range(5))))
        faulty = as_repository(FaultyRepository(storage, {2: Fault.BEFORE}))
        assert [each.place async for each in read_outlines(faulty, made.id)] == [1, 2, 3, 4, 5]
