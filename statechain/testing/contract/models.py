"""The contract as properties: random executions and random filters against the model in Python."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statechain.records.executions import Execution, ExecutionStatus, Source
from statechain.records.filters import Chained, ExecutionFilter
from statechain.storage.repository import Repository, StopExecution
from statechain.testing.contract.finding import all_pages, model
from statechain.testing.contract.samples import commit, deleting, ending, execution, ids, moment, seed

__all__ = ["ModelContract"]

# The repository is one for all examples, and each example clears it; a subclass per backend is the point.
quick = settings(
    deadline=None,
    suppress_health_check=[
        HealthCheck.differing_executors,
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],
)

MACHINES = ("machine-a", "machine-b", "Machine-a")
STATES = (None, "Price", "price", "Prüfung")
# LIKE's wildcards and escape, quotes, both cases, and an accent as a letter and as a combining mark.
TEXTS = st.text(st.sampled_from("aAbé%_\\'\" 🦀\u0301-"), max_size=4)
# Ties, and neighbours a microsecond apart.
TIMES = st.sampled_from([moment() + timedelta(microseconds=tick) for tick in (0, 1, 2, 3, 1_000_000)])


@st.composite
def populations(draw: st.DrawFn) -> list[Execution]:
    """Return executions that share machines, states, times and parts of names; some are chained from others."""
    made: list[Execution] = []
    names = draw(st.lists(TEXTS, max_size=9, unique=True))
    for name in names:
        status = draw(st.sampled_from(ExecutionStatus))
        source = None
        is_chained = draw(st.booleans())
        if made and is_chained:
            source = Source(draw(st.sampled_from(made)).id, draw(st.sampled_from(STATES)))
        one = execution(
            name=name,
            status=status,
            state_machine_id=draw(st.sampled_from(MACHINES)),
            current_state=draw(st.sampled_from(STATES)),
            start_time=draw(TIMES),
            end_time=moment(9) if status.is_terminal else None,
            source=source,
        )
        made.append(one)
    return made


@st.composite
def filters(draw: st.DrawFn) -> ExecutionFilter:
    """Return a legal filter about what `populations` makes."""
    after, before = sorted([draw(TIMES), draw(TIMES)])
    chained = st.builds(Chained, st.sampled_from(MACHINES), st.sampled_from(STATES))
    fields: dict[str, Any] = {
        "status": draw(st.none() | st.frozensets(st.sampled_from(ExecutionStatus))),
        "state_machine_id": draw(st.none() | st.sampled_from(MACHINES)),
        "name": draw(st.none() | TEXTS),
        "current_state": draw(st.sampled_from(STATES)),
        "start_after": draw(st.sampled_from([None, after])),
        "start_before": draw(st.sampled_from([None, before])),
        "limit": draw(st.none() | st.integers(0, 5)),
        "offset": draw(st.integers(0, 5)),
        "order": draw(st.sampled_from(["newest_first", "oldest_first"])),
        "unchained_to": draw(st.none() | chained),
    }
    if after == before:
        fields["start_before"] = None
    return ExecutionFilter(**fields)


async def clear(repository: Repository, made: list[Execution]) -> None:
    """Leave nothing of an example."""
    # Only what has ended can be deleted.
    stop = ending(ExecutionStatus.ABORTED)
    await repository.commit([StopExecution(execution_id=each.id, end=stop) for each in made])
    await commit(repository, deleting(*made))
    assert await repository.count_executions(ExecutionFilter()) == 0


class ModelContract:
    """What holds of any executions and any filter."""

    @quick
    @given(made=populations(), wanted=st.lists(filters(), min_size=1, max_size=3), page=st.integers(1, 4))
    async def test_filters_mean_what_the_model_means(
        self, repository: Repository, made: list[Execution], wanted: list[ExecutionFilter], page: int
    ) -> None:
        await seed(repository, *made)
        for filter_ in wanted:
            expected = model(made, filter_)
            whole = await repository.executions(filter_, after=None, page=99)
            assert list(whole) == expected[filter_.offset :]
            assert await all_pages(repository, attrs.evolve(filter_, offset=0), page) == expected
            assert await repository.count_executions(filter_) == len(expected)
        await clear(repository, made)

    @quick
    @given(made=populations(), named=st.sets(st.integers(0, 8)))
    async def test_deletions_take_the_ended_that_are_named(
        self, repository: Repository, made: list[Execution], named: set[int]
    ) -> None:
        await seed(repository, *made)
        write = deleting(*(each for index, each in enumerate(made) if index in named))
        gone = [each.id for index, each in enumerate(made) if index in named and each.status.is_terminal]
        assert list(await repository.commit([write])) == list(await repository.commit([write])) == [len(gone)]
        left = await repository.executions(ExecutionFilter(), after=None, page=99)
        assert sorted(ids(left)) == sorted(each.id for each in made if each.id not in gone)
        linked = [each for each in made if each.source and not {each.id, each.source.execution_id} & set(gone)]
        assert sorted(link.target_execution_id for link in await repository.links(page=99)) == sorted(ids(linked))
        await clear(repository, made)
