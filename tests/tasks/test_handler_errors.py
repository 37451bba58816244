"""What a handler raises: logged once with its traceback, kept as the cause of what is raised where it is awaited."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from statechain import Engine, ExecutionFailed, ExecutionStatus, TaskError, TaskRegistry
from statechain.telemetry import OpenTelemetryObserver
from support.engine_harness import EngineHarness, machine, task


def plain(_value: Any) -> Any:
    return {}["b"]


async def asynchronous(_value: Any) -> Any:
    return {}["b"]


async def with_context(_value: Any, _context: Any) -> Any:
    return {}["b"]


HANDLERS = {"plain": plain, "asynchronous": asynchronous, "with_context": with_context}


def records_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "statechain.handlers"]


@pytest.mark.parametrize("type_", ["STANDARD", "EXPRESS"])
@pytest.mark.parametrize("name", HANDLERS)
async def test_an_exception_is_logged_once_with_its_traceback(
    harness: EngineHarness, name: str, type_: Any, caplog: pytest.LogCaptureFixture
) -> None:
    harness.tasks.add(name, HANDLERS[name])
    ended = await harness.run(machine(Work=task(name)), type=type_)
    assert (ended.status, ended.error, ended.cause) == (ExecutionStatus.FAILED, "KeyError", "'b'")
    (record,) = records_of(caplog)
    assert record.levelno == logging.WARNING
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)
    assert 'return {}["b"]' in caplog.text
    tags = record.statechain  # type: ignore[attr-defined]
    assert (tags["execution"], tags["state"]) == (ended.id, "Work")


async def test_each_attempt_that_raises_is_logged(quick: EngineHarness, caplog: pytest.LogCaptureFixture) -> None:
    quick.tasks.add("work", asynchronous)
    await quick.run(machine(Work=task("work", Retry=[{"ErrorEquals": ["KeyError"], "MaxAttempts": 2}])))
    assert [record.statechain["attempt"] for record in records_of(caplog)] == [1, 2, 3]  # type: ignore[attr-defined]


async def test_a_task_error_is_an_answer_and_logged_at_debug_alone(
    quick: EngineHarness, caplog: pytest.LogCaptureFixture
) -> None:
    async def decline(_value: Any) -> None:
        raise TaskError("Declined", "card 42")

    quick.tasks.add("work", decline)
    await quick.run(machine(Work=task("work")))
    assert records_of(caplog) == []
    caplog.set_level(logging.DEBUG, "statechain.handlers")
    await quick.run(machine(Work=task("work")))
    (record,) = records_of(caplog)
    assert record.exc_info is not None


async def test_the_loggers_level_is_the_switch(quick: EngineHarness, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "statechain.handlers")
    quick.tasks.add("work", asynchronous)
    await quick.run(machine(Work=task("work")))
    assert records_of(caplog) == []


@pytest.mark.parametrize("type_", ["STANDARD", "EXPRESS"])
@pytest.mark.parametrize("name", HANDLERS)
async def test_an_exception_is_the_cause_of_execution_failed(harness: EngineHarness, name: str, type_: Any) -> None:
    harness.tasks.add(name, HANDLERS[name])
    definitions = {"alone": machine(Work=task(name))}
    definitions["in a branch"] = machine(Both={"Type": "Parallel", "Branches": [machine(Work=task(name))]})
    definitions["in an iteration"] = machine(
        Each={"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": machine(Work=task(name))}
    )
    definitions["retried"] = machine(Work=task(name, Retry=[{"ErrorEquals": ["States.ALL"], "MaxAttempts": 1}]))
    for key, definition in definitions.items():
        created = await harness.engine.create_state_machine(key, definition, type=type_)
        with pytest.raises(ExecutionFailed) as failed:
            await created.execute({"items": [1]})
        assert isinstance(failed.value.__cause__, KeyError), key
        handle = await created.start_execution({"items": [1]})
        with pytest.raises(ExecutionFailed) as failed:
            await handle.result()
        assert isinstance(failed.value.__cause__, KeyError), key
        assert isinstance(handle.exception, KeyError), key
        (result,) = await created.execute_bulk([{"items": [1]}])
        assert result.error is not None
        assert isinstance(result.error.__cause__, KeyError), key


async def test_what_a_handler_raises_on_purpose_is_the_cause_as_it_was_raised(quick: EngineHarness) -> None:
    raised = TaskError("Declined", "card 42")

    async def decline(_value: Any) -> None:
        raise raised

    quick.tasks.add("work", decline)
    created = await quick.engine.create_state_machine("declining", machine(Work=task("work")))
    with pytest.raises(ExecutionFailed) as failed:
        await created.execute()
    assert failed.value.__cause__ is raised


@pytest.mark.parametrize(("given", "wrong"), [(("Declined", KeyError("x")), "cause"), ((KeyError("x"),), "error")])
async def test_a_task_error_is_made_of_strings(quick: EngineHarness, given: Any, wrong: str) -> None:
    async def decline(_value: Any) -> Any:
        raise TaskError(*given)

    quick.tasks.add("decline", decline)
    ended = await quick.run(machine(Work=task("decline")))
    assert ended.error == "InvalidArgument"
    assert str(ended.cause).startswith(f"{wrong} must be ")


async def test_a_failure_without_an_exception_has_no_cause(quick: EngineHarness) -> None:
    created = await quick.engine.create_state_machine("failing", machine(Stop={"Type": "Fail", "Error": "Stopped"}))
    with pytest.raises(ExecutionFailed) as failed:
        await created.execute()
    assert failed.value.__cause__ is None


async def test_an_exception_is_an_event_of_its_attempts_span() -> None:
    tasks, exporter, provider = TaskRegistry(), InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tasks.add("work", plain)
    async with Engine(tasks=tasks, observers=[OpenTelemetryObserver(provider)]) as engine:
        created = await engine.create_state_machine("failing", machine(Work=task("work")))
        await (await created.start_execution()).wait()
    events = {span.name: [event.name for event in span.events] for span in exporter.get_finished_spans()}
    assert events == {"Work attempt 1": ["exception"], "Work": [], "execution failing": []}
    (span,) = [span for span in exporter.get_finished_spans() if span.events]
    attributes = span.events[0].attributes
    assert attributes is not None
    assert attributes["exception.type"] == "KeyError"
    assert 'return {}["b"]' in str(attributes["exception.stacktrace"])
