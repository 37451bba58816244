"""The revisions of state machines that a process has read: each with the limits of the engine that reads it."""

from __future__ import annotations

from statechain import Engine, Limits, MemoryRepository

SEARCH = {"StartAt": "A", "States": {"A": {"Type": "Pass", "Parameters": {"all.$": "$..*"}, "End": True}}}


async def test_what_another_engine_stored_is_run_under_the_limits_of_the_one_that_runs_it() -> None:
    rows = {"rows": [[1] * 10] * 10}
    async with MemoryRepository() as repository:
        async with Engine(repository) as generous:
            created = await generous.create_state_machine("search", SEARCH)
            assert (await (await created.start_execution(rows)).wait()).status == "SUCCEEDED"
        async with Engine(repository, limits=Limits(path_nodes=20)) as strict:
            read = await strict.get_state_machine("search")
            ended = await (await read.start_execution(rows)).wait()
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")


async def test_older_revisions_keep_their_definitions_where_the_machine_has_a_newer_one() -> None:
    async with MemoryRepository() as repository:
        async with Engine(repository, role="client") as client:
            older = await client.create_state_machine("m", SEARCH)
            handle = await older.start_execution({"a": 1})
            newer = {"StartAt": "B", "States": {"B": {"Type": "Pass", "Result": "newer", "End": True}}}
            await client.create_state_machine("m", newer)
        async with Engine(repository) as engine:
            assert (await (await engine.get_handle(handle.id)).wait()).output == {"all": [1]}
            assert (await (await (await engine.get_state_machine("m")).start_execution({})).wait()).output == "newer"
