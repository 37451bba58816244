"""The contract of state machines: revisions, ids and names."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import asyncio

import attrs

from statechain.records.executions import new_id
from statechain.storage.repository import CreateStateMachine, Repository
from statechain.testing.contract.samples import commit, machine, moment

__all__ = ["StateMachineContract"]

OTHER = '{"StartAt":"Bill"}'


class StateMachineContract:
    """Creating, revising and finding state machines."""

    async def test_a_new_machine_is_stored_as_its_first_revision(self, repository: Repository) -> None:
        made = machine(definition='{"Comment":"\\u00e9"}', type="EXPRESS", created=moment(0.000001))
        assert await commit(repository, CreateStateMachine(machine=made)) == made
        assert await repository.state_machine("orders") == made

    async def test_the_repository_counts_the_revisions(self, repository: Repository) -> None:
        stored = await commit(repository, CreateStateMachine(machine=machine(revision=7)))
        assert stored.revision == 1

    async def test_it_is_found_by_its_name_and_by_its_id(self, repository: Repository) -> None:
        made = await commit(repository, CreateStateMachine(machine=machine()))
        assert await repository.state_machine(made.id) == made
        assert await repository.state_machine(made.name) == made

    async def test_an_unknown_machine_is_none(self, repository: Repository) -> None:
        assert await repository.state_machine("orders") is None
        assert await repository.state_machines() == []

    async def test_the_same_definition_is_the_same_revision(self, repository: Repository) -> None:
        first = await commit(repository, CreateStateMachine(machine=machine()))
        # The time of its creation plays no part in the comparison.
        again = await commit(repository, CreateStateMachine(machine=machine(created=moment(60))))
        assert again == first
        assert await repository.state_machine(again.id, 2) is None

    async def test_another_definition_is_the_next_revision_under_the_same_id(self, repository: Repository) -> None:
        first = await commit(repository, CreateStateMachine(machine=machine()))
        made = machine(definition=OTHER, created=moment(60))
        second = await commit(repository, CreateStateMachine(machine=made))
        assert second == attrs.evolve(made, id=first.id, revision=2)
        assert await repository.state_machine(made.id) is None

    async def test_another_type_is_the_next_revision(self, repository: Repository) -> None:
        await commit(repository, CreateStateMachine(machine=machine()))
        second = await commit(repository, CreateStateMachine(machine=machine(type="EXPRESS")))
        assert (second.revision, second.type) == (2, "EXPRESS")

    async def test_an_earlier_definition_again_is_a_revision_of_its_own(self, repository: Repository) -> None:
        for definition in (OTHER, "{}", OTHER):
            await commit(repository, CreateStateMachine(machine=machine(definition=definition)))
        newest = await repository.state_machine("orders")
        assert newest is not None
        assert (newest.revision, newest.definition) == (3, OTHER)

    async def test_definitions_are_compared_as_texts(self, repository: Repository) -> None:
        await commit(repository, CreateStateMachine(machine=machine(definition='{"a":1,"b":2}')))
        second = await commit(repository, CreateStateMachine(machine=machine(definition='{"b":2,"a":1}')))
        assert second.revision == 2

    async def test_any_revision_is_found_by_its_number(self, repository: Repository) -> None:
        stored = [
            await commit(repository, CreateStateMachine(machine=machine(definition=f'{{"Comment":"{number}"}}')))
            for number in range(3)
        ]
        for record in stored:
            assert await repository.state_machine("orders", record.revision) == record
            assert await repository.state_machine(record.id, record.revision) == record
        assert await repository.state_machine("orders") == stored[-1]
        assert await repository.state_machine("orders", 4) is None

    async def test_an_id_wins_over_a_name(self, repository: Repository) -> None:
        first = await commit(repository, CreateStateMachine(machine=machine("first")))
        impostor = await commit(repository, CreateStateMachine(machine=machine(first.id, definition=OTHER)))
        await commit(repository, CreateStateMachine(machine=machine(first.id, definition="{}")))
        assert await repository.state_machine(first.id) == first
        assert await repository.state_machine(impostor.id, 1) == impostor

    async def test_the_listing_has_the_newest_revisions_by_name_bytewise(self, repository: Repository) -> None:
        # The last two change places where UTF-16 units are compared.
        names = ["b", "a", "B", "ä", "a b", "Z", "z\u0301", "\U0001f980", "\uff5e"]
        for name in names:
            await commit(repository, CreateStateMachine(machine=machine(name)))
            await commit(repository, CreateStateMachine(machine=machine(name, definition=OTHER)))
        listed = await repository.state_machines()
        assert [each.name for each in listed] == sorted(names, key=str.encode)
        assert {each.revision for each in listed} == {2}

    async def test_names_that_differ_in_a_byte_are_different_machines(self, repository: Repository) -> None:
        names = ["orders", "Orders", "orders ", "órders", "o\u0301rders"]
        made = [await commit(repository, CreateStateMachine(machine=machine(name))) for name in names]
        assert len({each.id for each in made}) == len(names)
        assert [await repository.state_machine(name) for name in names] == made

    async def test_creating_twice_changes_nothing(self, repository: Repository) -> None:
        write = CreateStateMachine(machine=machine())
        first = await commit(repository, write)
        # The second time as after a lost reply.
        assert await commit(repository, write) == first
        assert await repository.state_machines() == [first]

    async def test_revising_twice_changes_nothing(self, repository: Repository) -> None:
        await commit(repository, CreateStateMachine(machine=machine()))
        write = CreateStateMachine(machine=machine(definition=OTHER))
        assert await commit(repository, write) == await commit(repository, write)
        assert await repository.state_machine("orders", 3) is None

    async def test_many_machines_in_one_commit(self, repository: Repository) -> None:
        made = [machine(f"machine-{number:02}") for number in range(20)]
        assert list(await repository.commit([CreateStateMachine(machine=each) for each in made])) == made
        assert list(await repository.state_machines()) == made

    async def test_two_at_once_make_one_machine(self, repository: Repository, other: Repository) -> None:
        wanted = [machine(id=new_id(), definition=f'{{"Comment":"{number}"}}') for number in range(6)]
        stored = await asyncio.gather(
            *(
                commit(repository if index % 2 else other, CreateStateMachine(machine=each))
                for index, each in enumerate(wanted)
            )
        )
        # Each definition differs: every commit makes another revision, and none is lost.
        assert len({each.id for each in stored}) == 1
        assert sorted(each.revision for each in stored) == [1, 2, 3, 4, 5, 6]
