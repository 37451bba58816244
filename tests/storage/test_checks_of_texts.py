"""A check repairs rows whose keys hold what no database can, such as the name of a state with a lone surrogate."""

from __future__ import annotations

import pytest

from statechain import Repository
from statechain.records.callbacks import CallbackStatus
from statechain.storage.findings import Checkable, Finding
from statechain.testing.contract.samples import advance, callback, commit, start
from support.storage.damage import Damage

pytestmark = pytest.mark.slow  # a damaged database for each check

MANY = 120
"""More callbacks than a page of a check."""


async def found(repository: Repository, *, repair: bool = False) -> list[Finding]:
    assert isinstance(repository, Checkable)
    return [finding async for finding in repository.check(repair=repair)]


async def store(repository: Repository) -> list[str]:
    """Store an execution whose tasks wait in a state with such a name; return the tasks' ids."""
    made = await start(repository)
    opened = [callback(made, f"State\ud800{number:03}") for number in range(MANY)]
    await commit(repository, advance(made, opened=opened))
    return [each.id for each in opened]


async def test_rows_that_lead_to_nothing_are_all_found_and_deleted(repository: Repository, damage: Damage) -> None:
    ids = await store(repository)
    for table in ("runs", "executions"):
        await damage(f"DELETE FROM {table}")
    assert [finding.key for finding in await found(repository)] == [(id_,) for id_ in ids]
    repaired = await found(repository, repair=True)
    assert [finding.is_repaired for finding in repaired] == [True] * MANY
    assert await repository.callbacks(ids) == []


async def test_values_that_cannot_be_read_are_all_replaced(repository: Repository, damage: Damage) -> None:
    ids = await store(repository)
    await damage("UPDATE callbacks SET status = 'LOST'")
    repaired = await found(repository, repair=True)
    assert [(finding.key, finding.is_repaired) for finding in repaired] == [((id_,), True) for id_ in ids]
    assert {each.status for each in await repository.callbacks(ids)} == {CallbackStatus.CLOSED}
    assert await found(repository) == []
