"""One execution chained from another: what it takes, what it refuses, and the link that stays."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from statechain import (
    ExecutionFailed,
    ExecutionNotFound,
    ExecutionStatus,
    InputTransformerError,
    InvalidPayload,
    RepositoryError,
    Source,
    SourceNotFinished,
    SourceStateNotFound,
    open_repository,
)
from support.chaining.harness import ChainingHarness, chaining_harness

ECHO = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
LOOP = {
    "StartAt": "Count",
    "States": {
        "Count": {"Type": "Pass", "Parameters": {"n.$": "States.MathAdd($.n, 1)"}, "Next": "More"},
        "More": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.n", "NumericLessThan": 3, "Next": "Count"}],
            "Default": "Done",
        },
        "Done": {"Type": "Pass", "Result": "over", "End": True},
    },
}
BRANCHES = {
    "StartAt": "Both",
    "States": {
        "Both": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "Left", "States": {"Left": {"Type": "Pass", "Result": "left", "End": True}}},
                {"StartAt": "Right", "States": {"Right": {"Type": "Pass", "Result": "right", "End": True}}},
            ],
            "Next": "Each",
        },
        "Each": {
            "Type": "Map",
            "MaxConcurrency": 1,
            "ItemProcessor": {
                "StartAt": "Item",
                "States": {"Item": {"Type": "Pass", "Parameters": {"seen.$": "$"}, "End": True}},
            },
            "End": True,
        },
    },
}
HALFWAY = {
    "StartAt": "First",
    "States": {
        "First": {"Type": "Pass", "Result": "came this far", "Next": "Break"},
        "Break": {"Type": "Fail", "Error": "Broken"},
    },
}


async def test_the_final_output_becomes_the_input(chaining: ChainingHarness) -> None:
    (source,) = await chaining.finish(7)
    echo = await chaining.engine.create_state_machine("echo", ECHO)
    for given in (source.id, source, Source(source.id), Source(source.id, "")):
        chained = await echo.execute(source=given)
        assert chained.input == chained.output == {"n": 7, "step": "finished"}
        assert chained.source == Source(source.id)


async def test_the_output_of_a_named_state_becomes_the_input(chaining: ChainingHarness) -> None:
    (source,) = await chaining.finish(7)
    echo = await chaining.engine.create_state_machine("echo", ECHO)
    chained = await echo.execute(source=Source(source.id, "Prepare"))
    assert chained.output == {"n": 7, "step": "prepared"}


@pytest.mark.parametrize(
    ("definition", "given", "state", "taken"),
    [
        (LOOP, {"n": 0}, "Count", {"n": 3}),
        (LOOP, {"n": 0}, None, "over"),
        (BRANCHES, None, "Left", "left"),
        (BRANCHES, None, "Right", "right"),
        (BRANCHES, None, "Both", ["left", "right"]),
        (BRANCHES, None, "Item", {"seen": "right"}),
        (BRANCHES, None, "Each", [{"seen": "left"}, {"seen": "right"}]),
    ],
    ids=["loop", "final", "branch", "other-branch", "parallel", "iteration", "map"],
)
async def test_the_last_visit_of_a_state_counts_wherever_it_is(
    chaining: ChainingHarness, definition: dict[str, Any], given: Any, state: str | None, taken: Any
) -> None:
    machine = await chaining.engine.create_state_machine("source", definition)
    source = await machine.execute(given)
    echo = await chaining.engine.create_state_machine("echo", ECHO)
    assert (await echo.execute(source=Source(source.id, state))).output == taken


async def test_the_last_visit_counts_among_hundreds(chaining: ChainingHarness) -> None:
    loop = {**LOOP, "States": {**LOOP["States"]}}  # type: ignore[dict-item]
    more = {"Variable": "$.n", "NumericLessThan": 300, "Next": "Count"}
    loop["States"]["More"] = {"Type": "Choice", "Choices": [more], "Default": "Done"}  # type: ignore[index]
    source = await (await chaining.engine.create_state_machine("loop", loop)).execute({"n": 0})
    echo = await chaining.engine.create_state_machine("echo", ECHO)
    assert (await echo.execute(source=Source(source.id, "Count"))).output == {"n": 300}


async def test_a_failed_source_can_be_chained_from_a_state_that_it_completed(chaining: ChainingHarness) -> None:
    machine = await chaining.engine.create_state_machine("halfway", HALFWAY)
    with pytest.raises(ExecutionFailed) as failed:
        await machine.execute()
    source = failed.value.execution
    echo = await chaining.engine.create_state_machine("echo", ECHO)
    assert (await echo.execute(source=Source(source.id, "First"))).output == "came this far"
    with pytest.raises(SourceNotFinished):
        await echo.execute(source=source)
    with pytest.raises(SourceStateNotFound):
        await echo.execute(source=Source(source.id, "Break"))


async def test_sources_that_cannot_be_chained_from(chaining: ChainingHarness) -> None:
    (source,) = await chaining.finish(1)
    chaining.work.does = chaining.work.hang
    running = await chaining.targets.start_execution({"n": 1})
    echo = await chaining.engine.create_state_machine("echo", ECHO)
    cases: list[tuple[Any, type[Exception]]] = [
        ("no-such-execution", ExecutionNotFound),
        (running.id, SourceNotFinished),
        (Source(running.id, "Work"), SourceNotFinished),
        (Source(source.id, "Nowhere"), SourceStateNotFound),
        (Source(source.id, "prepare"), SourceStateNotFound),
    ]
    for given, error in cases:
        with pytest.raises(error):
            await echo.execute(source=given)
    assert await chaining.engine.list_linked_executions(target_state_machine_id=echo.id) == []
    await running.stop()


async def test_a_transformer_maps_the_output(chaining: ChainingHarness) -> None:
    (source,) = await chaining.finish(2)
    echo = await chaining.engine.create_state_machine("echo", ECHO)

    async def slowly(output: Any) -> Any:
        await asyncio.sleep(0.001)
        return [output["n"]]

    assert (await echo.execute(source=source, input_transformer=lambda output: output["n"] * 10)).output == 20
    assert (await echo.execute(source=source, input_transformer=slowly)).output == [2]
    assert (await echo.execute(source=source, input_transformer=lambda _output: None)).input is None


async def test_a_transformer_that_raises_starts_nothing(chaining: ChainingHarness) -> None:
    (source,) = await chaining.finish(2)
    echo = await chaining.engine.create_state_machine("echo", ECHO)

    async def slowly(output: Any) -> Any:
        await asyncio.sleep(0)
        return output["missing"]

    for transformer in (lambda output: output["missing"], slowly):
        with pytest.raises(InputTransformerError, match="KeyError") as raised:
            await echo.execute(source=source, input_transformer=transformer)
        assert isinstance(raised.value.__cause__, KeyError)
    with pytest.raises(InvalidPayload):
        await echo.execute(source=source, input_transformer=lambda _output: {1, 2})  # type: ignore[arg-type, return-value]
    assert await chaining.engine.list_linked_executions(source_execution_id=source.id) == []


async def test_a_transformer_cannot_change_what_the_source_put_out(chaining: ChainingHarness) -> None:
    (source,) = await chaining.finish(2)

    def spoil(output: Any) -> Any:
        output["n"] = 99
        return output

    await chaining.targets.execute(source=source, input_transformer=spoil)
    assert (await chaining.engine.get_execution(source.id)).output == {"n": 2, "step": "finished"}


async def test_what_a_transformer_returns_and_cannot_be_kept_is_called_so(chaining: ChainingHarness) -> None:
    (source,) = await chaining.finish(7)
    said = "the result of the input_transformer cannot be kept: the value: set is not JSON: give a list"
    echo = await chaining.engine.create_state_machine("echo", ECHO)
    with pytest.raises(InvalidPayload) as refused:
        await echo.execute(source=source, input_transformer=lambda _output: {1})  # type: ignore[arg-type,return-value]
    assert str(refused.value) == said
    (result,) = await chaining.targets.execute_batch(chaining.select(), input_transformer=lambda _output: {1})  # type: ignore[arg-type,return-value]
    assert str(result.error) == said
    (result,) = await chaining.targets.execute_bulk([{1}])  # type: ignore[list-item]
    assert str(result.error) == "the value: set is not JSON: give a list"


async def test_an_input_beside_a_source_and_a_transformer_without_one_are_refused(chaining: ChainingHarness) -> None:
    (source,) = await chaining.finish(2)
    with pytest.raises(ValueError, match="not both"):
        await chaining.targets.execute({"n": 1}, source=source)
    with pytest.raises(ValueError, match="give a source"):
        await chaining.targets.execute({"n": 1}, input_transformer=lambda output: output)


async def test_the_link_is_stored_with_the_execution(chaining: ChainingHarness) -> None:
    (source,) = await chaining.finish(3)
    handle = await chaining.targets.start_execution(source=Source(source.id, "Prepare"))
    (link,) = await chaining.engine.list_linked_executions(source_execution_id=source.id)
    assert (link.source_execution_id, link.source_state_name) == (source.id, "Prepare")
    assert (link.target_execution_id, link.target_state_machine_id) == (handle.id, chaining.targets.id)
    ended = await handle.wait()
    assert ended.source == Source(source.id, "Prepare")
    assert link.created == ended.start_time
    assert await chaining.engine.list_linked_executions(target_execution_id=handle.id) == [link]


async def test_a_name_is_chained_once(chaining: ChainingHarness) -> None:
    (source,) = await chaining.finish(3)
    first = await chaining.targets.execute(name="invoice", source=source)
    again = await chaining.targets.execute(name="invoice", source=source)
    assert again == first
    assert chaining.work.begun == [3]
    assert len(await chaining.engine.list_linked_executions(source_execution_id=source.id)) == 1


async def test_a_start_that_storage_refused_leaves_neither_execution_nor_link() -> None:
    async with open_repository("memory://") as repository, chaining_harness(repository) as chaining:
        (source,) = await chaining.finish(3)
        commit = repository.commit

        async def refuse(_writes: Sequence[Any]) -> Sequence[Any]:
            raise RepositoryError("the disk is full")

        repository.commit = refuse  # type: ignore[method-assign, assignment]
        with pytest.raises(RepositoryError, match="the disk is full"):
            await chaining.targets.execute(source=source)
        repository.commit = commit  # type: ignore[method-assign]
        assert await chaining.engine.list_linked_executions(source_execution_id=source.id) == []
        assert await chaining.made() == []


async def test_chains_of_chains_keep_each_link(chaining: ChainingHarness) -> None:
    echo = await chaining.engine.create_state_machine("echo", ECHO)
    chain = await chaining.finish(1)
    for _ in range(4):
        chain.append(await echo.execute(source=chain[-1]))
    for source, target in itertools.pairwise(chain):
        links = await chaining.engine.list_linked_executions(source_execution_id=source.id)
        assert [link.target_execution_id for link in links] == [target.id]
    assert {execution.status for execution in chain} == {ExecutionStatus.SUCCEEDED}
