"""Which handler a Resource means, and a function that `lambda:invoke` names."""

from __future__ import annotations

from typing import Any

import pytest

from support.engine_harness import EngineHarness, machine, task

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:Echo"


async def echo(value: Any) -> Any:
    """Return the input."""
    return value


@pytest.mark.parametrize("resource", ["Echo", FUNCTION, f"{FUNCTION}:prod", f"{FUNCTION}:7"])
async def test_a_function_is_meant_by_its_name_or_its_arn(quick: EngineHarness, resource: str) -> None:
    quick.tasks.add("Echo", echo)
    assert (await quick.run(machine(Echo=task(resource)), {"n": 1})).output == {"n": 1}


async def test_the_exact_name_wins(quick: EngineHarness) -> None:
    async def exactly(_: Any) -> str:
        return "exactly"

    quick.tasks.add("Echo", echo)
    quick.tasks.add(f"{FUNCTION}:prod", exactly)
    assert (await quick.run(machine(Echo=task(f"{FUNCTION}:prod")), {})).output == "exactly"


PARTIAL = "123456789012:function:Echo"


@pytest.mark.parametrize("name", ["Echo", "Echo:prod", FUNCTION, f"{FUNCTION}:7", PARTIAL, f"{PARTIAL}:7"])
async def test_lambda_invoke_finds_its_function_as_lambda_does(quick: EngineHarness, name: str) -> None:
    quick.tasks.add("Echo", echo)
    invoke = task("arn:aws:states:::lambda:invoke", Parameters={"FunctionName": name, "Payload.$": "$"})
    ended = await quick.run(machine(Echo=invoke), {"n": 1})
    assert ended.output == {"ExecutedVersion": "$LATEST", "Payload": {"n": 1}, "StatusCode": 200}


async def test_lambda_invoke_names_the_function_that_nobody_registered(quick: EngineHarness) -> None:
    quick.tasks.add("Echo", echo)
    invoke = task("arn:aws:states:::lambda:invoke", Parameters={"FunctionName": "Nobody", "Payload": {}})
    ended = await quick.run(machine(Echo=invoke), {})
    assert (ended.error, ended.cause) == ("States.TaskFailed", "no handler is registered for the function 'Nobody'")
