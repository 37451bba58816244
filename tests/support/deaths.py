"""Executions of which workers have died: claimed, taken up as the suspects that they are, and not ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from statechain import Engine, Repository
from statechain.storage.repository import TakeUpExecution
from statechain.testing.contract.samples import bury

__all__ = ["die_of", "suspected"]


async def die_of(repository: Repository, worker: str = "doomed", *, deaths: int = 0, later: int) -> None:
    """Claim the one execution that has so many deaths, take it up with as many as it has ``later``, and die."""
    await repository.renew_lease(worker, timedelta(hours=1))
    (claim,) = await repository.claim(worker, page=1, suspects=range(deaths, deaths + 1) if deaths else None)
    assert claim.claims == deaths
    if later:
        id_, backoff = claim.execution.id, timedelta(0)
        await repository.commit([TakeUpExecution(execution_id=id_, epoch=claim.epoch, claims=later, backoff=backoff)])
    await bury(repository, worker)


async def suspected(repository: Repository, definition: dict[str, Any], *, deaths: int) -> str:
    """Submit an execution, and have so many workers die of it; return its id."""
    async with Engine(repository, role="client") as client:
        created = await client.create_state_machine("suspected", definition)
        id_ = (await created.start_execution(1)).id
    await die_of(repository, later=deaths)
    return id_
