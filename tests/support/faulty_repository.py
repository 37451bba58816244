"""The one double of storage: a repository whose calls fail, wait or are lost on demand, over a real one."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import attrs

from statechain import RepositoryError, RepositoryUnavailable, open_repository

if TYPE_CHECKING:
    from statechain import Repository
    from statechain.storage.repository import LeaseRenewer, Write

__all__ = ["Fault", "FaultyRepository", "as_repository", "opened_twice"]


PATIENCE = 60.0


class Fault(Enum):
    """How a call goes wrong."""

    BEFORE = "fails before anything is done"
    AFTER = "is done, but its reply is lost"
    LATE = "is done late"


class FaultyRepository:
    """Wraps a repository: calls fail by plan, by chance, or all from some moment on; commits wait at a gate.

    All calls are counted from 1.

    Attributes:
        gate: Commits wait while it is not set: all, or those that `hold` chose.

        held: Is set once a commit waits at the gate.

        groups: What was committed, or refused, in order; only where it ``remembers``.

        before: The error of a commit that fails before anything is done, or None.

        after: The error of a commit that was done.

    Arguments:
        inner: The repository, open; it is the caller's to close.

        faults: What goes wrong at which call.

        rate: The part of all other calls that go wrong in some way, drawn from ``seed``.

        seed: Where the chances come from.

        delay: The seconds by which a call is late.

        remembers: Whether `groups` is filled.
    """

    def __init__(
        self,
        inner: Repository,
        faults: Mapping[int, Fault] | None = None,
        *,
        rate: float = 0.0,
        seed: int = 0,
        delay: float = 0.02,
        remembers: bool = False,
    ) -> None:
        self._inner = inner
        self._faults = faults or {}
        self._rate = rate
        self._chance = random.Random(seed)
        self._delay = delay
        self.calls = 0
        self.failed = 0
        self.refused = Counter[str]()
        self.is_dead = False
        self.is_silent = False
        self.is_cut_off = False
        self.is_deaf = False
        self.is_out = False
        self._lost: set[str] | None = None
        self._commits_left: int | None = None
        self._keeps_last = False
        self._remembers = remembers
        self._holds: Callable[[Write[Any]], bool] = lambda _: True
        self.gate = asyncio.Event()
        self.gate.set()
        self.held = asyncio.Event()
        self.groups: list[list[Write[Any]]] = []
        self.before: Callable[[Sequence[Write[Any]]], Exception | None] = lambda _: None
        self.after: Callable[[Sequence[Write[Any]]], Exception | None] = lambda _: None

    def __repr__(self) -> str:
        return f"<Faulty {self._inner!r}>"

    def crash(self) -> None:
        """From now on no call does anything: for the storage, the process is gone."""
        self.is_dead = True

    def crash_at_commit(self, commits: int, *, keeps_last: bool) -> None:
        """Crash at one of the next commits: before it is done or (``keeps_last``) after it."""
        self._commits_left, self._keeps_last = commits, keeps_last

    def hold(self, which: Callable[[Write[Any]], bool]) -> None:
        """Have commits with such a write wait until ``gate`` is set."""
        self._holds = which
        self.gate.clear()

    @property
    def sizes(self) -> list[int]:
        """How many writes each commit had."""
        return [len(group) for group in self.groups]

    async def asked(self, times: int) -> None:
        """Return once this many commits were asked for."""
        async with asyncio.timeout(PATIENCE):
            while len(self.groups) < times:  # noqa: ASYNC110 -- a turn of the loop is all that is awaited
                await asyncio.sleep(0)

    async def commit(self, writes: Sequence[Write[Any]]) -> Sequence[Any]:
        if self._remembers:
            self.groups.append(list(writes))
        if not self.gate.is_set() and any(map(self._holds, writes)):
            self.held.set()
            await self.gate.wait()
        if error := self.before(writes):
            raise error
        is_last = self._is_last()
        if is_last and not self._keeps_last:
            self.crash()
        outcomes = await self._call(lambda: self._inner.commit(writes), "commit")
        if is_last:
            self.crash()
            self.check_alive()
        if error := self.after(writes):
            raise error
        return cast("Sequence[Any]", outcomes)

    def _is_last(self) -> bool:
        if self._commits_left is None:
            return False
        self._commits_left -= 1
        return self._commits_left == 0

    def fall_silent(self, *, deaf: bool = False) -> None:
        """From now on the lease is not renewed any more, although its worker runs and does not know.

        One that is deaf, too, does not learn from its renewals either what it has lost, as one that is stopped.
        """
        self.is_silent = True
        self.is_deaf = deaf

    def cut_off(self, *, whether: bool = True) -> None:
        """From now on the lease cannot be renewed, nor what it lost be learnt (or can again); its worker knows it."""
        self.is_cut_off = self.is_deaf = whether

    def fail_all(self, *, whether: bool = True) -> None:
        """From now on every call fails before anything is done (or none does any more), the lease's own apart."""
        self.is_out = whether

    def lose_replies(self, *, whether: bool = True) -> None:
        """From now on the reply to a call is lost, and comes when it is made again (or none is lost any more)."""
        self._lost = set() if whether else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Leave the inner repository open."""

    def lease_renewer(self, worker_id: str, lease: timedelta) -> LeaseRenewer:
        return _FaultyLeaseRenewer(self, self._inner.lease_renewer(worker_id, lease))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            return await self._call(lambda: found(*arguments, **named), name)

        return call

    async def _call(self, act: Callable[[], Awaitable[Any]], name: str) -> Any:
        self.check_alive()
        self.calls += 1
        fault = self._faults.get(self.calls) or self._draw() or self._lose(name)
        self.failed += fault is not None
        if fault is Fault.BEFORE or self.is_out or (self.is_deaf and name == "epochs"):
            self.refused[name] += 1
            raise RepositoryUnavailable(f"call {self.calls} ({name}) {Fault.BEFORE.value}")
        if fault is Fault.LATE:
            await asyncio.sleep(self._delay)
        answer = await act()
        self.check_alive()
        if fault is Fault.AFTER:
            raise RepositoryUnavailable(f"call {self.calls} ({name}) {fault.value}")
        return answer

    def _draw(self) -> Fault | None:
        return self._chance.choice(list(Fault)) if self._chance.random() < self._rate else None

    def _lose(self, name: str) -> Fault | None:
        if self._lost is None:
            return None
        self._lost ^= {name}
        return Fault.AFTER if name in self._lost else None

    def check_alive(self) -> None:
        if self.is_dead:
            raise RepositoryError("the process is gone")


@attrs.frozen
class _FaultyLeaseRenewer:
    """A renewer that stops with its process."""

    repository: FaultyRepository
    inner: LeaseRenewer

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.inner.__aexit__(exc_type, exc, traceback)

    async def renew(self) -> bool:
        self.repository.check_alive()
        if self.repository.is_cut_off:
            raise RepositoryUnavailable("the lease cannot be renewed")
        return self.repository.is_silent or await self.inner.renew()


def as_repository(faulty: FaultyRepository) -> Repository:
    """Return it as the protocol that it keeps by delegation."""
    return cast("Repository", faulty)


@asynccontextmanager
async def opened_twice(url: str) -> AsyncIterator[tuple[Repository, Repository]]:
    """Yield two repositories on one storage, as two processes have them; one twice, where it is in memory."""
    async with open_repository(url) as one:
        if url == "memory://":
            yield one, one
        else:
            async with open_repository(url) as other:
                yield one, other
