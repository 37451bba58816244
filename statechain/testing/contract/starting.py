"""The contract of starts: names, links, and starts that demand to be the only one chained from a source."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statechain.records.executions import Execution, ExecutionStatus, Link, Source
from statechain.records.filters import ExecutionFilter
from statechain.storage.repository import Repository, StartExecution
from statechain.testing.contract.samples import (
    FAILURES,
    advance,
    chained,
    commit,
    deleting,
    execution,
    finish,
    ids,
    moment,
    redriving,
    start,
    visit,
)

__all__ = ["ChainingContract", "StartContract"]


def starting(made: Execution, *, exclusive: bool = False) -> StartExecution:
    """Return the write that starts an execution for some worker."""
    return StartExecution(execution=made, owner="worker", exclusive=exclusive)


class StartContract:
    """Starting executions under names."""

    async def test_every_field_of_a_start_comes_back(self, repository: Repository) -> None:
        made = execution(
            name="order 1",
            state_machine_revision=3,
            input_text='{"id":1}',
            start_time=moment(0.000001),
            current_state="Price",
            source=Source("elsewhere", "Bill"),
        )
        assert await commit(repository, starting(made)) == made
        assert await repository.execution(made.id) == made
        assert await repository.execution_by_name(made.state_machine_id, "order 1") == made

    async def test_a_start_without_a_state_or_a_source(self, repository: Repository) -> None:
        made = await start(repository, current_state=None, source=None)
        assert await repository.execution(made.id) == made

    async def test_unknown_ids_and_names_are_none(self, repository: Repository) -> None:
        made = await start(repository, name="order")
        assert await repository.execution("nowhere") is None
        assert await repository.execution(made.name) is None
        assert await repository.execution_by_name("machine-a", "orde") is None
        assert await repository.execution_by_name("machine-b", "order") is None

    async def test_a_taken_name_answers_its_holder_and_writes_nothing(self, repository: Repository) -> None:
        first = await start(repository, name="order")
        second = execution(name="order", input_text='{"other":true}')
        assert await commit(repository, starting(second)) == first
        assert await repository.execution(second.id) is None
        assert await repository.count_executions(ExecutionFilter()) == 1

    async def test_the_holder_is_answered_as_it_stands_now(self, repository: Repository) -> None:
        ended = await finish(repository, of=await start(repository, name="order"))
        assert await commit(repository, starting(execution(name="order"))) == ended

    async def test_each_machine_has_names_of_its_own(self, repository: Repository) -> None:
        first = await start(repository, name="order")
        second = await start(repository, name="order", state_machine_id="machine-b")
        assert await repository.execution_by_name("machine-a", "order") == first
        assert await repository.execution_by_name("machine-b", "order") == second

    # Each pair is one name to some case folding, normalisation, collation, padding or LIKE.
    @pytest.mark.parametrize(
        ("one", "other_name"),
        [
            ("order", "Order"),
            ("order", "order "),
            ("é", "e\u0301"),
            ("straße", "strasse"),
            ("İ", "i\u0307"),
            ("ﬁ", "fi"),
            ("ὀ", "ό"),
            ("\U0001f980", "\U0001f981"),
            ("a%", "ab"),
            ("a_", "ab"),
        ],
    )
    async def test_names_compare_bytewise(self, repository: Repository, one: str, other_name: str) -> None:
        first, second = await start(repository, name=one), await start(repository, name=other_name)
        assert await repository.execution_by_name("machine-a", one) == first
        assert await repository.execution_by_name("machine-a", other_name) == second

    async def test_ids_compare_bytewise(self, repository: Repository) -> None:
        lower, upper = await start(repository, id="ab"), await start(repository, id="AB")
        assert await repository.execution("ab") == lower
        assert await repository.execution("AB") == upper
        assert await repository.execution("aB") is None

    async def test_a_deleted_execution_frees_its_name(self, repository: Repository) -> None:
        made = await finish(repository, name="order")
        await commit(repository, deleting(made))
        await start(repository, name="order")

    async def test_many_starts_in_one_commit_answer_in_order(self, repository: Repository) -> None:
        made = [execution() for _ in range(50)]
        assert list(await repository.commit([starting(each) for each in made])) == made
        assert await repository.count_executions(ExecutionFilter()) == 50

    async def test_taken_and_free_names_in_one_commit(self, repository: Repository) -> None:
        holder = await start(repository, name="order")
        free = execution(name="bill")
        assert list(await repository.commit([starting(execution(name="order")), starting(free)])) == [holder, free]

    async def test_starting_twice_changes_nothing(self, repository: Repository) -> None:
        made = execution()
        assert await commit(repository, starting(made)) == made
        # After a lost reply it is its own id that holds the name.
        assert await commit(repository, starting(made)) == made
        assert await repository.count_executions(ExecutionFilter()) == 1
        # The claim of the first commit is still valid: epoch 1, seq 0.
        await commit(repository, advance(made, visit(made)))

    async def test_the_same_commit_of_many_twice_changes_nothing(self, repository: Repository) -> None:
        source = await finish(repository)
        writes = [
            *(starting(execution()) for _ in range(5)),
            *(starting(chained(source), exclusive=each) for each in (False, True)),
        ]
        first = await repository.commit(writes)
        assert list(await repository.commit(writes)) == list(first)

    async def test_at_once_one_start_gets_the_name(self, repository: Repository, other: Repository) -> None:
        # Different inputs, so that an outcome mixed of two starts would be none of them.
        made = [execution(name="order", input_text=str(number)) for number in range(8)]
        outcomes = await asyncio.gather(
            *(commit(other if index % 2 else repository, starting(each)) for index, each in enumerate(made))
        )
        assert len(set(ids(outcomes))) == 1
        assert outcomes[0] in made
        assert await repository.count_executions(ExecutionFilter()) == 1

    async def test_a_commit_of_nothing(self, repository: Repository) -> None:
        assert list(await repository.commit([])) == []


class ChainingContract:
    """Links, and exclusive starts."""

    @pytest.mark.parametrize("state", [None, "Price"])
    async def test_the_link_is_stored_with_the_start(self, repository: Repository, state: str | None) -> None:
        source = await finish(repository)
        target = chained(source, state=state)
        await commit(repository, starting(target))
        assert list(await repository.links(page=10)) == [
            Link(
                source_execution_id=source.id,
                source_state_name=state,
                target_execution_id=target.id,
                target_state_machine_id="machine-b",
                created=target.start_time,
            )
        ]
        assert await repository.execution(target.id) == target

    async def test_no_source_no_link(self, repository: Repository) -> None:
        await start(repository)
        assert list(await repository.links(page=10)) == []

    async def test_a_taken_name_stores_no_link(self, repository: Repository) -> None:
        source = await finish(repository)
        await start(repository, state_machine_id="machine-b", name="invoice")
        await commit(repository, starting(chained(source, name="invoice")))
        assert list(await repository.links(page=10)) == []

    async def test_a_source_may_be_chained_often(self, repository: Repository) -> None:
        source = await finish(repository)
        made = [chained(source) for _ in range(3)]
        await repository.commit([starting(each) for each in made])
        found = await repository.links(source_execution_id=source.id, page=10)
        assert [link.target_execution_id for link in found] == ids(made)

    async def test_twice_stores_one_link(self, repository: Repository) -> None:
        write = starting(chained(await finish(repository)), exclusive=True)
        # When it is committed again, its own execution must not keep it from starting.
        assert await commit(repository, write) == await commit(repository, write)
        assert len(await repository.links(page=10)) == 1

    @pytest.mark.parametrize("state", [None, "Price"])
    async def test_a_second_exclusive_start_joins_the_first(self, repository: Repository, state: str | None) -> None:
        source = await finish(repository)
        first, second = chained(source, state=state), chained(source, state=state)
        assert await commit(repository, starting(first, exclusive=True)) == first
        assert await commit(repository, starting(second, exclusive=True)) == first
        assert await repository.execution(second.id) is None
        assert len(await repository.links(page=10)) == 1

    async def test_it_joins_one_that_succeeded_as_it_stands(self, repository: Repository) -> None:
        source = await finish(repository)
        first = chained(source)
        await commit(repository, starting(first, exclusive=True))
        ended = await finish(repository, of=first)
        assert await commit(repository, starting(chained(source), exclusive=True)) == ended

    @pytest.mark.parametrize("status", FAILURES)
    async def test_one_that_failed_stands_in_no_way(self, repository: Repository, status: ExecutionStatus) -> None:
        source = await finish(repository)
        first, second, third = chained(source), chained(source), chained(source)
        await commit(repository, starting(first, exclusive=True))
        await finish(repository, of=first, status=status)
        assert await commit(repository, starting(second, exclusive=True)) == second
        assert await commit(repository, starting(third, exclusive=True)) == second
        assert len(await repository.links(page=10)) == 2

    async def test_a_plain_start_may_stand_beside_an_exclusive_one(self, repository: Repository) -> None:
        source = await finish(repository)
        first, second = chained(source), chained(source)
        await commit(repository, starting(first, exclusive=True))
        assert await commit(repository, starting(second)) == second

    async def test_a_plain_start_stands_in_the_way_of_an_exclusive_one(self, repository: Repository) -> None:
        source = await finish(repository)
        plain = chained(source)
        await commit(repository, starting(plain))
        assert await commit(repository, starting(chained(source), exclusive=True)) == plain

    async def test_a_plain_start_that_failed_does_not(self, repository: Repository) -> None:
        source = await finish(repository)
        plain, wanted = chained(source), chained(source)
        await commit(repository, starting(plain))
        await finish(repository, of=plain, status=ExecutionStatus.FAILED)
        assert await commit(repository, starting(wanted, exclusive=True)) == wanted

    async def test_other_sources_states_and_machines_are_other_chains(self, repository: Repository) -> None:
        one, two = await finish(repository), await finish(repository)
        made = [
            chained(one),
            chained(two),
            chained(one, state="Price"),
            chained(one, state="price"),
            chained(one, state=" "),
            chained(one, state_machine_id="machine-c"),
        ]
        assert list(await repository.commit([starting(each, exclusive=True) for each in made])) == made

    async def test_a_taken_name_comes_before_the_chain(self, repository: Repository) -> None:
        source = await finish(repository)
        first = chained(source)
        await commit(repository, starting(first, exclusive=True))
        named = await start(repository, state_machine_id="machine-b", name="invoice")
        assert await commit(repository, starting(chained(source, name="invoice"), exclusive=True)) == named

    async def test_two_exclusive_starts_in_one_commit(self, repository: Repository) -> None:
        source = await finish(repository)
        first, second = chained(source), chained(source)
        # Within one transaction the second sees what the first wrote.
        outcomes = await repository.commit([starting(first, exclusive=True), starting(second, exclusive=True)])
        assert list(outcomes) == [first, first]
        assert await repository.execution(second.id) is None

    async def test_at_once_one_exclusive_start_wins(self, repository: Repository, other: Repository) -> None:
        source = await finish(repository)
        made = [chained(source) for _ in range(8)]
        outcomes = await asyncio.gather(
            *(
                commit(other if index % 2 else repository, starting(each, exclusive=True))
                for index, each in enumerate(made)
            )
        )
        assert len(set(ids(outcomes))) == 1
        assert len(await repository.links(source_execution_id=source.id, page=10)) == 1

    async def test_exclusive_without_a_source_is_a_plain_start(self, repository: Repository) -> None:
        made = [execution(), execution()]
        assert list(await repository.commit([starting(each, exclusive=True) for each in made])) == made

    async def test_a_deleted_chain_stands_in_no_way(self, repository: Repository) -> None:
        source = await finish(repository)
        first, second = chained(source), chained(source)
        await commit(repository, starting(first, exclusive=True))
        await finish(repository, of=first)
        await commit(repository, deleting(first))
        assert await commit(repository, starting(second, exclusive=True)) == second

    async def test_the_source_need_not_be_stored(self, repository: Repository) -> None:
        # A link is no foreign key: its source may be deleted, or stored elsewhere.
        made = execution(source=Source("elsewhere"))
        assert await commit(repository, starting(made)) == made
        assert len(await repository.links(source_execution_id="elsewhere", page=10)) == 1

    async def test_links_are_found_by_all_that_is_given(self, repository: Repository) -> None:
        one, two = await finish(repository), await finish(repository)
        made = [chained(one), chained(two), chained(one, state_machine_id="machine-c")]
        await repository.commit([starting(each) for each in made])

        async def targets(**given: Any) -> list[str]:  # noqa: ANN401 -- what `links` takes
            return [link.target_execution_id for link in await repository.links(page=10, **given)]

        assert await targets() == ids(made)
        assert await targets(source_execution_id=one.id) == [made[0].id, made[2].id]
        assert await targets(target_execution_id=made[1].id) == [made[1].id]
        assert await targets(target_state_machine_id="machine-b") == ids(made[:2])
        assert await targets(source_execution_id=one.id, target_state_machine_id="machine-c") == [made[2].id]
        assert await targets(source_execution_id=two.id, target_execution_id=made[0].id) == []
        assert await targets(source_execution_id="nowhere") == []

    @pytest.mark.parametrize("page", [1, 2, 3, 10])
    async def test_links_page_by_creation_then_target(self, repository: Repository, page: int) -> None:
        source = await finish(repository)
        times = [moment(5), moment(5), moment(4.000001), moment(4), moment(6)]
        made = [chained(source, id=f"target-{index}", start_time=at) for index, at in enumerate(times)]
        await repository.commit([starting(each) for each in made])
        paged: list[Link] = []
        while True:
            found = await repository.links(after=paged[-1] if paged else None, page=page)
            assert len(found) <= page
            if not found:
                break
            paged.extend(found)
        expected = sorted(made, key=lambda each: (each.start_time, each.id))
        assert [link.target_execution_id for link in paged] == ids(expected)

    async def test_a_redriven_chain_stands_in_the_way_again(self, repository: Repository) -> None:
        source = await finish(repository)
        first = chained(source)
        await commit(repository, starting(first, exclusive=True))
        await finish(repository, of=first, status=ExecutionStatus.FAILED)
        claim = await commit(repository, redriving(first))
        assert claim is not None
        assert await commit(repository, starting(chained(source), exclusive=True)) == claim.execution
