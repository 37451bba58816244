"""The contract that every storage backend keeps, as one pytest class to inherit.

A backend's test file is a subclass with one fixture::

    class TestMyRepository(RepositoryContract):
        @pytest_asyncio.fixture
        async def repository(self):
            async with MyRepository(...) as repository:
                yield repository

``repository`` is open and empty for each test. Two more fixtures have defaults to override: ``other``, a second
repository that is open on the same storage (by default the same object), and ``reopen``, a coroutine function that
closes the repository and returns one that is open on what was stored (by default it enters the same object again).
The tests need pytest-asyncio, in either mode, and Hypothesis.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from statechain.storage.repository import Repository

CHAPTERS = (
    "machines",
    "starting",
    "running",
    "visits",
    "callbacks",
    "batches",
    "deleting",
    "finding",
    "inputs",
    "reports",
    "models",
    "texts",
    *(f"claims.{name}" for name in ("item_counts", "leases", "limits", "map_runs", "shards", "suspects")),
)
# Before the imports below: pytest cannot rewrite what is loaded already.
pytest.register_assert_rewrite(*(f"statechain.testing.contract.{chapter}" for chapter in (*CHAPTERS, "samples")))

from statechain.testing.contract.batches import BatchContract, FrozenContract  # noqa: E402 -- their asserts are rewritten
from statechain.testing.contract.callbacks import ActivityContract, CallbackContract  # noqa: E402
from statechain.testing.contract.claims.item_counts import ItemCountContract  # noqa: E402
from statechain.testing.contract.claims.leases import EpochContract, LeaseContract, OrphanContract, ReleaseContract  # noqa: E402
from statechain.testing.contract.claims.limits import LimitContract  # noqa: E402
from statechain.testing.contract.claims.map_runs import MapRunContract  # noqa: E402
from statechain.testing.contract.claims.shards import ShardContract  # noqa: E402
from statechain.testing.contract.claims.suspects import SuspectContract  # noqa: E402
from statechain.testing.contract.deleting import DeletionContract  # noqa: E402
from statechain.testing.contract.finding import FilterContract, PagingContract, StatisticsContract  # noqa: E402
from statechain.testing.contract.inputs import InputContract  # noqa: E402
from statechain.testing.contract.machines import StateMachineContract  # noqa: E402
from statechain.testing.contract.models import ModelContract  # noqa: E402
from statechain.testing.contract.reports import ReportContract  # noqa: E402
from statechain.testing.contract.running import AdvanceContract, EndContract  # noqa: E402
from statechain.testing.contract.starting import ChainingContract, StartContract  # noqa: E402
from statechain.testing.contract.texts import DurabilityContract, ExactnessContract  # noqa: E402
from statechain.testing.contract.visits import VisitContract  # noqa: E402

__all__ = ["RepositoryContract"]


def fixture(function: Callable[..., object]) -> Any:  # noqa: ANN401 -- pytest's own type may not be overridden by a subclass
    """Return a fixture of the class that subclasses may override."""
    return pytest.fixture(function)


@pytest.mark.asyncio
class RepositoryContract(
    StateMachineContract,
    StartContract,
    ChainingContract,
    AdvanceContract,
    EndContract,
    VisitContract,
    CallbackContract,
    ActivityContract,
    FrozenContract,
    BatchContract,
    InputContract,
    MapRunContract,
    DeletionContract,
    FilterContract,
    PagingContract,
    StatisticsContract,
    ReportContract,
    ModelContract,
    LeaseContract,
    EpochContract,
    OrphanContract,
    ReleaseContract,
    LimitContract,
    SuspectContract,
    ShardContract,
    ItemCountContract,
    ExactnessContract,
    DurabilityContract,
):
    """Every promise of `statechain.storage.repository`, tested through the protocol alone."""

    @fixture
    def repository(self) -> Repository:
        """The backend's own: an open and empty repository."""
        raise NotImplementedError("a subclass of RepositoryContract has a fixture named repository")

    @fixture
    def other(self, repository: Repository) -> Repository:
        """A second repository, open on the same storage; the same one where a storage cannot be opened twice."""
        return repository

    @fixture
    def reopen(self, repository: Repository) -> Callable[[], Awaitable[Repository]]:
        """What closes the repository, and returns one that is open on what was stored."""

        async def close_and_open() -> Repository:
            # The same object: a backend in memory has no storage outside it to open again.
            await repository.__aexit__(None, None, None)
            return await repository.__aenter__()

        return close_and_open
