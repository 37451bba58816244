"""Group commit, seen from outside: what reaches a repository together, and what each waiter hears."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from statechain import Engine, ExecutionFilter, TaskRegistry
from statechain.errors import ExecutionNotFound, LeaseLost, RepositoryError, RepositoryUnavailable
from statechain.records.executions import Claim
from statechain.storage.journal.journal import Journal
from statechain.storage.journal.ledger import ExecutionWrites
from statechain.storage.repository import Advance, CreateBatch
from statechain.testing.contract.samples import batch, ending, execution, start, visit
from support.faulty_repository import FaultyRepository
from support.storage.journals import RecordingObserver, each, held, running, starting, stopping, turns, write_all

# Groups


async def test_a_write_alone_is_committed_at_once(storage: FaultyRepository, journal: Journal) -> None:
    made = execution()
    assert await journal.write(starting(made)) == made
    assert storage.sizes == [1]


async def test_while_one_commit_is_in_flight_the_next_one_fills(storage: FaultyRepository, journal: Journal) -> None:
    async with asyncio.TaskGroup() as tasks:
        first = await held(storage, journal, tasks)
        rest = tasks.create_task(write_all(journal, each(25)))
        for _ in range(10):
            await asyncio.sleep(0)
        assert storage.sizes == [1]
        assert not first.done()
        storage.gate.set()
    assert storage.sizes == [1, 25]
    assert len(rest.result()) == 25


async def test_those_who_come_all_at_once_are_committed_in_halves(storage: FaultyRepository, journal: Journal) -> None:
    await write_all(journal, each(40))
    assert storage.sizes == [20, 20]


async def test_what_is_expected_shares_the_commit(storage: FaultyRepository, journal: Journal) -> None:
    first, second = each(2)

    async def follow() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await journal.write(second)

    async with asyncio.TaskGroup() as tasks:
        journal.expect()
        tasks.create_task(journal.write(first))
        tasks.create_task(follow())
    assert storage.sizes == [2]


async def test_what_is_expected_and_does_not_come_holds_up_nothing(storage: FaultyRepository, journal: Journal) -> None:
    async with asyncio.TaskGroup() as tasks:
        journal.expect()
        tasks.create_task(journal.write(starting()))
        await turns()
        assert storage.sizes == [1]


async def test_a_storage_of_this_process_is_given_all_at_once(storage: FaultyRepository) -> None:
    assert storage.commits_in_process is True
    async with running(storage, in_halves=False) as journal:
        await write_all(journal, each(40))
    assert storage.sizes == [40]


async def test_each_waiter_hears_its_own_outcome(storage: FaultyRepository, journal: Journal) -> None:
    holder = await start(storage, name="order")
    fresh, unknown = execution(), stopping("nowhere")
    stale = Advance(execution_id=holder.id, epoch=9, seq=0, visits=[], current_state=None)
    taken = starting(execution(name="order"))
    outcomes = await write_all(journal, [starting(fresh), unknown, stale, taken])
    assert [outcomes[0], outcomes[3]] == [fresh, holder]
    assert isinstance(outcomes[1], ExecutionNotFound)
    assert isinstance(outcomes[2], LeaseLost)
    assert storage.sizes[-1] == 4


async def test_writes_with_one_key_never_share_a_commit_and_keep_their_order(
    storage: FaultyRepository, journal: Journal
) -> None:
    writes = [starting(execution(name="order")) for _ in range(4)] + each(3)
    outcomes = await write_all(journal, writes)
    assert [outcome.id for outcome in outcomes[:4]] == [writes[0].execution.id] * 4
    assert all(len({write.key for write in group}) == len(group) for group in storage.groups)
    seen = [write for group in storage.groups for write in group if write in writes[:4]]
    assert seen == writes[:4]
    assert len(storage.groups) == 4


async def test_a_group_has_a_bound(storage: FaultyRepository) -> None:
    writes = each(35)
    async with running(storage, flush_size=10) as journal:
        assert await write_all(journal, writes) == [write.execution for write in writes]
    assert storage.sizes == [10, 10, 10, 5]


async def test_what_waits_has_a_bound(storage: FaultyRepository) -> None:
    writes = each(21)
    async with running(storage, capacity=4) as journal, asyncio.TaskGroup() as tasks:
        await held(storage, journal, tasks)
        written = tasks.create_task(write_all(journal, writes))
        for _ in range(10):
            await asyncio.sleep(0)
        storage.gate.set()
    assert written.result() == [write.execution for write in writes]
    assert max(storage.sizes) <= 4
    assert sum(storage.sizes) == 22


async def test_what_executions_record_has_a_bound_too(storage: FaultyRepository) -> None:
    made = [await start(storage) for _ in range(9)]
    ledgers = [ExecutionWrites(Claim(execution=one, epoch=1, seq=0)) for one in made]
    for one, ledger in zip(made, ledgers, strict=True):
        ledger.add(visit(one))
    async with running(storage, capacity=4) as journal, asyncio.TaskGroup() as tasks:
        await held(storage, journal, tasks)
        for ledger in ledgers:
            tasks.create_task(journal.record(ledger))
        for _ in range(10):
            await asyncio.sleep(0)
        storage.gate.set()
    assert [ledger.seq for ledger in ledgers] == [1] * 9
    assert max(storage.sizes) <= 4


async def test_who_is_cancelled_while_there_is_no_room_has_written_nothing(storage: FaultyRepository) -> None:
    async with running(storage, capacity=1) as journal, asyncio.TaskGroup() as tasks:
        await held(storage, journal, tasks)
        waits = tasks.create_task(journal.write(starting()))
        late = execution()
        blocked = tasks.create_task(journal.write(starting(late)))
        for _ in range(10):
            await asyncio.sleep(0)
        blocked.cancel()
        await asyncio.wait([blocked])
        assert blocked.cancelled()
        storage.gate.set()
    assert waits.result()
    assert await storage.execution(late.id) is None


async def test_observers_hear_of_each_commit(storage: FaultyRepository) -> None:
    ear = RecordingObserver()
    async with running(storage, ear) as journal:
        await write_all(journal, each(7))
        await journal.write(starting())
    assert [flush.writes for flush in ear.flushes] == [7, 1]
    assert all(flush.seconds >= 0 for flush in ear.flushes)


async def test_observers_hear_of_a_batch_that_is_frozen_beside_the_groups(storage: FaultyRepository) -> None:
    ear = RecordingObserver()
    async with running(storage, ear) as journal, asyncio.TaskGroup() as tasks:
        await held(storage, journal, tasks)
        batches = [CreateBatch(batch=batch(), filter_=ExecutionFilter()) for _ in range(2)]
        tasks.create_task(write_all(journal, batches))
        await storage.asked(3)
        storage.gate.set()
    assert [(flush.writes, flush.pending) for flush in ear.flushes] == [(1, 0)] * 3
    assert all(flush.seconds >= 0 for flush in ear.flushes)


# Outages and refusals


async def test_an_outage_is_waited_out_with_the_same_writes(storage: FaultyRepository, journal: Journal) -> None:
    outage = iter([RepositoryUnavailable("away"), RepositoryUnavailable("still away")])
    storage.before = lambda _: next(outage, None)
    writes = each(3)
    assert await write_all(journal, writes) == [write.execution for write in writes]
    assert storage.groups == [writes] * 3


async def test_a_lost_reply_is_resolved_by_the_same_write(storage: FaultyRepository, journal: Journal) -> None:
    made = await start(storage)
    lost = iter([RepositoryUnavailable("the reply was lost")])
    storage.after = lambda _: next(lost, None)
    fresh = execution()
    ledger = ExecutionWrites(Claim(execution=made, epoch=1, seq=0))
    ledger.add(visit(made))
    recorded, outcome = await asyncio.gather(journal.record(ledger, ending()), journal.write(starting(fresh)))
    assert (recorded, outcome) == (None, fresh)
    assert list(await storage.visits(made.id)) == [visit(made)]
    assert storage.sizes == [1, 2, 2]


@pytest.mark.parametrize("bad", [[0], [6], [3, 4], [0, 12], list(range(13))])
async def test_a_refused_group_is_split_to_find_the_culprits(
    storage: FaultyRepository, journal: Journal, bad: list[int]
) -> None:
    writes = each(13)
    culprits = [writes[index] for index in bad]
    storage.before = lambda group: RepositoryError("no") if any(each in culprits for each in group) else None
    outcomes = await write_all(journal, writes)
    for index, (write, outcome) in enumerate(zip(writes, outcomes, strict=True)):
        if index in bad:
            assert isinstance(outcome, RepositoryError)
            assert await storage.execution(write.execution.id) is None
        else:
            assert outcome == write.execution
    assert len(storage.groups) <= 2 * len(writes)


async def test_an_outage_while_a_group_is_split_is_waited_out(storage: FaultyRepository, journal: Journal) -> None:
    writes = each(4)
    answers = iter([RepositoryError("no"), RepositoryUnavailable("away"), None])
    storage.before = lambda _: next(answers, None)
    assert await write_all(journal, writes) == [write.execution for write in writes]
    assert storage.sizes == [4, 2, 2, 2]


async def test_a_fault_in_the_repository_fails_its_write_alone(storage: FaultyRepository, journal: Journal) -> None:
    writes, fault = each(4), ZeroDivisionError("a bug")
    storage.before = lambda group: fault if writes[2] in group else None
    outcomes = await write_all(journal, writes)
    assert isinstance(outcomes[2], RepositoryError)
    assert not isinstance(outcomes[2], RepositoryUnavailable)
    assert outcomes[2].__cause__ is fault
    assert [outcomes[index] for index in (0, 1, 3)] == [writes[index].execution for index in (0, 1, 3)]


async def test_after_a_refusal_the_journal_goes_on(storage: FaultyRepository, journal: Journal) -> None:
    refusal = iter([RepositoryError("no")])
    storage.before = lambda _: next(refusal, None)
    with pytest.raises(RepositoryError):
        await journal.write(starting())
    assert await journal.write(starting())


# Cancellation


@pytest.mark.parametrize("times", [1, 3])
async def test_a_cancelled_caller_does_not_cut_its_commit(
    storage: FaultyRepository, journal: Journal, times: int
) -> None:
    async with asyncio.TaskGroup() as tasks:
        caller = await held(storage, journal, tasks)
        for _ in range(times):
            caller.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            assert not caller.done()
        storage.gate.set()
    assert caller.cancelled()
    write: Any = storage.groups[0][0]
    assert await storage.execution(write.execution.id) is not None


async def test_what_a_cancelled_caller_had_handed_over_is_written(storage: FaultyRepository, journal: Journal) -> None:
    made = execution()
    async with asyncio.TaskGroup() as tasks:
        await held(storage, journal, tasks)
        caller = tasks.create_task(journal.write(starting(made)))
        await asyncio.sleep(0)
        caller.cancel()
        storage.gate.set()
    assert caller.cancelled()
    assert await storage.execution(made.id) == made


async def test_a_cancelled_caller_of_a_refused_write_is_cancelled(storage: FaultyRepository, journal: Journal) -> None:
    storage.before = lambda _: RepositoryError("no")
    async with asyncio.TaskGroup() as tasks:
        caller = await held(storage, journal, tasks)
        caller.cancel()
        storage.gate.set()
    assert caller.cancelled()


async def test_a_cancelled_caller_leaves_its_neighbours_alone(storage: FaultyRepository, journal: Journal) -> None:
    made = execution()
    async with asyncio.TaskGroup() as tasks:
        await held(storage, journal, tasks)
        cancelled = tasks.create_task(journal.write(starting()))
        neighbour = tasks.create_task(journal.write(starting(made)))
        await asyncio.sleep(0)
        cancelled.cancel()
        storage.gate.set()
    assert neighbour.result() == made


# The gauges: how many commits an execution of five tasks costs


async def count_commits(make_engine: Callable[..., Engine], executions: int, *, at_once: bool) -> float:
    """Return the commits for each execution of five tasks, one after the other or all at once."""
    names = [f"Task{number}" for number in range(5)]
    states = {
        name: {"Type": "Task", "Resource": "step", "Next": following}
        for name, following in zip(names, [*names[1:], "Done"], strict=True)
    }
    tasks, ear = TaskRegistry(), RecordingObserver()

    @tasks.register("step")
    async def step(value: int) -> int:
        return value + 1

    async with make_engine(tasks=tasks, observers=[ear]) as engine:
        definition = {"StartAt": "Task0", "States": {**states, "Done": {"Type": "Succeed"}}}
        machine = await engine.create_state_machine("five", definition)
        before = len(ear.flushes)
        if at_once:
            ended = await asyncio.gather(*(machine.execute(0) for _ in range(executions)))
        else:
            ended = [await machine.execute(0) for _ in range(executions)]
        assert [each.output for each in ended] == [5] * executions
        return (len(ear.flushes) - before) / executions


async def test_one_at_a_time_five_tasks_cost_at_most_six_commits(engine_factory: Callable[..., Engine]) -> None:
    assert await count_commits(engine_factory, 10, at_once=False) <= 6


async def test_a_hundred_at_once_cost_at_most_three_tenths_of_a_commit_each(
    engine_factory: Callable[..., Engine],
) -> None:
    assert await count_commits(engine_factory, 100, at_once=True) <= 0.3
