"""Executions of which workers have died: claimed, taken up as the suspects that they are, and not ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from statechain import Engine, Repository
from statechain.storage.repository import TakeUpExecution
from statechain.testing.contract.samples import bury

__all__ = ["die_of", "suspected"]


async def die_of(
    repository: Repository, worker: str = "doomed", *, deaths: int = 0, later: int, backoff: float = 0.0
) -> None:
    """Claim the one execution that has so many deaths, take it up with as many as it has ``later``, and die.

    It is not to be claimed for ``backoff`` seconds from then on.
    """
    await repository.renew_lease(worker, timedelta(hours=1))
    (claim,) = await repository.claim(worker, page=1, suspects=range(deaths, deaths + 1) if deaths else None)
    assert claim.claims == deaths
    if later:
        id_, pause = claim.execution.id, timedelta(seconds=backoff)
        await repository.commit([TakeUpExecution(execution_id=id_, epoch=claim.epoch, claims=later, backoff=pause)])
    await bury(repository, worker)


async def suspected(repository: Repository, definition: dict[str, Any], *, deaths: int, backoff: float = 0.0) -> str:
    """Submit an execution, and have so many workers die of it; return its id."""
    async with Engine(repository, role="client") as client:
        created = await client.create_state_machine("suspected", definition)
        id_ = (await created.start_execution(1)).id
    await die_of(repository, later=deaths, backoff=backoff)
    return id_
