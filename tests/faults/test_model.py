"""The engine against a dictionary: in any order of calls, on any storage, they agree.

The model knows an execution's status, input and output, what it was chained from, and nothing else; crashes and orderly
leaves come in between, and must not be seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from statechain import (
    BatchExecutionOptions,
    Engine,
    Execution,
    ExecutionAlreadyExists,
    ExecutionFilter,
    ExecutionStatus,
    Limits,
    Repository,
    SourceNotFinished,
    TaskRegistry,
    open_repository,
)
from support.faults.one_task import ONE_TASK
from support.faulty_repository import FaultyRepository, as_repository
from support.statuses import ABORTED, FAILED, RUNNING, SUCCEEDED

pytestmark = pytest.mark.timeout(7200)

STEPS = {"memory": (30, 30), "sqlite": (12, 30), "postgresql": (8, 30)}
"""How many examples, of how many steps, when little is tried."""

MOST_DEATHS, MOST_SUSPECTS = 2, 8
"""How often a worker dies with an execution at most, and with how many (see ``docs/guarantees.md``)."""

T = TypeVar("T")


@attrs.define
class Known:
    """What the model knows of an execution."""

    id: str
    name: str
    machine: str
    start_time: Any
    input: dict[str, Any]
    status: ExecutionStatus
    source: str | None = None
    deaths: int = 0

    @property
    def output(self) -> Any:
        return {"n": self.input["n"] + 1, "how": "well"} if self.status is SUCCEEDED else None


class EngineModel(RuleBasedStateMachine):
    """An engine, its model, and what may be done to both."""

    fresh: ClassVar[Callable[[], str]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.known: dict[str, Known] = {}
        self.released: set[str] = set()
        self.mended = False
        self.run(self._begin())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    # The engine, and its handler

    async def _begin(self) -> None:
        self.repository: Repository = open_repository(type(self).fresh())
        await self.repository.__aenter__()
        await self._open()

    async def _open(self) -> None:
        self.faulty = FaultyRepository(self.repository)
        tasks = TaskRegistry()
        tasks.add("Work", self._work)
        self.engine = Engine(
            as_repository(self.faulty),
            tasks=tasks,
            lease=timedelta(seconds=0.1),
            limits=Limits(claims=1000, suspect_backoff_seconds=0.01),  # no execution is ended for the crashes here
        )
        await self.engine.__aenter__()
        self.work = await self.engine.create_state_machine("work", ONE_TASK)
        self.chained = await self.engine.create_state_machine("chained", ONE_TASK)

    async def _work(self, value: dict[str, Any], context: Any) -> dict[str, Any]:
        while value.get("how") == "slow" and context.execution_id not in self.released:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        if value.get("how") == "badly" and not self.mended:
            raise ValueError("it went badly")
        return {"n": value["n"] + 1, "how": "well"}

    async def _leave(self) -> None:
        fault = RuntimeError("left")
        await self.engine.__aexit__(type(fault), fault, None)

    async def _recover(self) -> None:
        """Wait until what was running runs here: with the engine's opening, or once the lease is over."""
        missing = {known.id for known in self.of(RUNNING)} - self.engine.worker.running()
        async with asyncio.timeout(20):
            while missing:
                await asyncio.sleep(0.02)
                missing -= {*await self.engine.recover(), *self.engine.worker.running()}

    def of(self, *statuses: ExecutionStatus) -> list[Known]:
        return [known for known in self.known.values() if known.status in statuses]

    def chosen(self, data: st.DataObject, *statuses: ExecutionStatus) -> Known:
        return data.draw(st.sampled_from(self.of(*(statuses or ExecutionStatus))))

    def learn(self, execution: Execution, machine: str, status: ExecutionStatus, source: str | None = None) -> Known:
        value: Any = execution.input
        found = Known(execution.id, execution.name, machine, execution.start_time, value, status, source)
        self.known[found.id] = found
        return found

    def named(self, machine: str, name: str) -> Known | None:
        return next((each for each in self.known.values() if (each.machine, each.name) == (machine, name)), None)

    # Starting

    @rule(n=st.integers(0, 2), name=st.sampled_from("abc%_"), how=st.sampled_from(["well", "badly", "slow"]))
    def start(self, n: int, name: str, how: str) -> None:
        self.run(self._start({"n": n, "how": how}, f"{name}-{n}-{how[0]}"))

    async def _start(self, value: dict[str, Any], name: str) -> None:
        holder = self.named("work", name)
        handle = await self.work.start_execution(value, name=name)
        if holder is not None:
            assert handle.id == holder.id
            return
        status = {"well": SUCCEEDED, "slow": RUNNING, "badly": SUCCEEDED if self.mended else FAILED}[value["how"]]
        execution = await (self.engine.get_execution(handle.id) if status is RUNNING else handle.wait())
        assert execution.status is status
        self.learn(execution, "work", status)

    @precondition(lambda self: self.of(*ExecutionStatus))
    @rule(data=st.data())
    def start_a_name_with_another_input(self, data: st.DataObject) -> None:
        holder = self.chosen(data)
        if holder.machine == "work":
            with pytest.raises(ExecutionAlreadyExists):
                self.run(self.work.execute({"n": -1}, name=holder.name))

    @precondition(lambda self: self.of(*ExecutionStatus))
    @rule(data=st.data())
    def chain(self, data: st.DataObject) -> None:
        source = self.chosen(data)
        self.run(self._chain(source))

    async def _chain(self, source: Known) -> None:
        if source.status is not SUCCEEDED:
            with pytest.raises(SourceNotFinished):
                await self.chained.execute(source=source.id)
            return
        execution = await self.chained.execute(source=source.id)
        assert execution.input == source.output
        self.learn(execution, "chained", SUCCEEDED, source.id)

    @rule(prefix=st.sampled_from(["x", "y"]), limit=st.none() | st.integers(0, 3), concurrency=st.integers(0, 3))
    def batch(self, prefix: str, limit: int | None, concurrency: int) -> None:
        self.run(self._batch(prefix, limit, concurrency))

    async def _batch(self, prefix: str, limit: int | None, concurrency: int) -> None:
        select = ExecutionFilter(state_machine_id=self.work.id, status="SUCCEEDED", order="oldest_first", limit=limit)
        options = BatchExecutionOptions(name_prefix=prefix, concurrent_batches=concurrency, page_size=2)
        results = await self.chained.execute_batch(select, options=options)
        wanted = [known for known in self.in_order() if known.machine == "work" and known.status is SUCCEEDED][:limit]
        assert [result.source_execution_id for result in results] == [known.id for known in wanted]
        for source, result in zip(wanted, results, strict=True):
            assert result.execution is not None
            assert result.execution.name == f"{prefix}-{source.id}"
            holder = self.named("chained", result.execution.name)
            if holder is None:
                self.learn(result.execution, "chained", SUCCEEDED, source.id)
            else:
                assert (result.execution.id, result.execution.status) == (holder.id, holder.status)

    @rule()
    def resume_a_batch(self) -> None:
        self.run(self._resume())

    async def _resume(self) -> None:
        batches = await self.engine.list_batches()
        if batches:
            resumed = await self.engine.resume_batch(batches[0].id)
            assert resumed.item_counts.running == resumed.item_counts.pending == 0
            for link in await self.engine.list_linked_executions(target_state_machine_id=self.chained.id):
                if link.target_execution_id not in self.known:  # its execution had been deleted, and was missing
                    execution = await self.engine.get_execution(link.target_execution_id)
                    self.learn(execution, "chained", SUCCEEDED, link.source_execution_id)

    # Ending

    @precondition(lambda self: self.of(RUNNING))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        known = self.chosen(data, RUNNING)
        self.released.add(known.id)
        handle = self.run(self.engine.get_handle(known.id))
        ended = self.run(handle.wait())
        known.status = SUCCEEDED
        assert (ended.status, ended.output) == (SUCCEEDED, known.output)

    @precondition(lambda self: self.of(*ExecutionStatus))
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        known = self.chosen(data)
        stopped = self.run(self.engine.stop_execution(known.id))
        known.status = ABORTED if known.status is RUNNING else known.status
        assert stopped.status is known.status

    @precondition(lambda self: self.of(*ExecutionStatus))
    @rule(data=st.data(), mended=st.booleans())
    def redrive(self, data: st.DataObject, *, mended: bool) -> None:
        self.mended = mended
        self.run(self._redrive(self.chosen(data)))

    async def _redrive(self, known: Known) -> None:
        if known.status in {RUNNING, SUCCEEDED}:
            with pytest.raises(ValueError, match=known.status):
                await self.engine.redrive_execution(known.id)
            return
        handle = await self.engine.redrive_execution(known.id)
        known.deaths = 0
        if known.input["how"] == "slow" and known.id not in self.released:
            known.status = RUNNING
            return
        known.status = FAILED if known.input["how"] == "badly" and not self.mended else SUCCEEDED
        assert (await handle.wait()).status is known.status

    @rule(status=st.sampled_from(list(ExecutionStatus)), limit=st.none() | st.integers(0, 3))
    def delete(self, status: ExecutionStatus, limit: int | None) -> None:
        newest = [known for known in reversed(self.in_order()) if known.status is status]
        gone = [] if status is RUNNING else newest[:limit]
        select = ExecutionFilter(status=status, limit=limit)
        assert self.run(self.engine.delete_executions(select)) == len(gone)
        for known in gone:
            del self.known[known.id]

    # Leaving

    @rule()
    def leave_and_reopen(self) -> None:
        self.run(self._reopen(crashes=False))

    @precondition(lambda self: self.may_crash())
    @rule()
    def crash_and_reopen(self) -> None:
        for known in self.of(RUNNING):
            known.deaths += 1
        self.run(self._reopen(crashes=True))

    def may_crash(self) -> bool:
        """Return whether all that runs would be tried again at once: after two deaths eight are, after more fewer."""
        running = self.of(RUNNING)
        return len(running) <= MOST_SUSPECTS and all(known.deaths < MOST_DEATHS for known in running)

    async def _reopen(self, *, crashes: bool) -> None:
        if crashes:
            self.faulty.crash()
        await self._leave()
        await self._open()
        await self._recover()

    # Looking

    def in_order(self) -> list[Known]:
        return sorted(self.known.values(), key=lambda known: (known.start_time, known.id))

    @rule(
        statuses=st.none() | st.sets(st.sampled_from(list(ExecutionStatus))),
        name=st.none() | st.sampled_from(["a", "%", "_", "-1", "x-", ""]),
        order=st.sampled_from(["newest_first", "oldest_first"]),
        limit=st.none() | st.integers(0, 4),
        offset=st.integers(0, 3),
        unchained=st.booleans(),
    )
    def list_by_filter(
        self, statuses: Any, name: str | None, order: Any, limit: Any, offset: int, *, unchained: bool
    ) -> None:
        select = ExecutionFilter(
            status=statuses, name=name, order=order, limit=limit, offset=offset,
            unchained_to=self.chained if unchained else None,
        )  # fmt: skip
        done = {known.source for known in self.of(RUNNING, SUCCEEDED)}
        wanted = [
            known.id
            for known in self.in_order()
            if (statuses is None or known.status in statuses)
            and (name is None or name in known.name)
            and not (unchained and known.id in done)
        ]
        wanted = (wanted[::-1] if order == "newest_first" else wanted)[offset:]
        wanted = wanted if limit is None else wanted[:limit]
        assert self.run(self.engine.list_execution_ids(select)) == wanted
        assert self.run(self.engine.count_executions(select)) == len(wanted)

    @invariant()
    def they_agree(self) -> None:
        stored = self.run(self.engine.list_executions())
        assert {each.id: (each.status, each.output) for each in stored} == {
            known.id: (known.status, known.output) for known in self.known.values()
        }

    def teardown(self) -> None:
        try:
            self.run(self._end())
        finally:
            self.runner.close()

    async def _end(self) -> None:
        await self._leave()
        await self.repository.__aexit__(None, None, None)


def test_the_engine_agrees_with_a_dictionary(fresh: Callable[[], str], kind: str, *, full: bool) -> None:
    class Bound(EngineModel):
        pass

    Bound.fresh = staticmethod(fresh)
    examples, steps = (150, 50) if full else STEPS[kind]
    health = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=health, database=None
        ),
    )
