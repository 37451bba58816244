"""An argument of the wrong type, or one that means nothing that exists, is an error that says which and what is meant.

Every parameter of every public method is tried with a value of no use: a new one without a check fails here.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from statechain import (
    BatchExecutionOptions,
    Chained,
    Engine,
    ExecutionFilter,
    ExecutionHandle,
    ExecutionNotFound,
    Limits,
    Source,
    StatechainError,
    StateMachine,
    StateMachineNotFound,
    TaskRegistry,
    console,
    open_repository,
)
from statechain.errors import InvalidArgument
from statechain.logs import LogObserver
from statechain.progress import batch_progress
from statechain.storage.existing import why_nothing_matches
from statechain.telemetry import OpenTelemetryObserver, backlog_metrics
from statechain.testing import ScriptedTasks, Throw, VirtualClock

if TYPE_CHECKING:
    from support.engine_harness import EngineFactory

PASS = {"StartAt": "Done", "States": {"Done": {"Type": "Pass", "End": True}}}
FAIL = {"StartAt": "Done", "States": {"Done": {"Type": "Fail", "Error": "No"}}}

HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


class Useless:
    """A value that no parameter takes."""

    __slots__ = ()


PAYLOADS = {"input", "output"}
"""What takes any JSON value; encoding it says what is wrong with another one."""

GIVEN: dict[str, Any] = {
    "id": "some-id",
    "name": "some-name",
    "name_or_id": "some-name",
    "definition": PASS,
    "filter": ExecutionFilter(),
    "state_machine_id": "some-id",
    "token": "some-token",
    "output": 1,
    "activity": "some-activity",
    "inputs": [],
    "execution_id": "some-id",
    "task_id": "some-task",
    "executions": [],
    "to": "some-id",
    "handler": len,
    "begin": datetime(2026, 1, 1, tzinfo=UTC),
    "end": datetime(2026, 1, 2, tzinfo=UTC),
    "other": TaskRegistry(),
    "id_or_name": "some-id",
}


def parameters(function: Callable[..., object]) -> Iterator[str]:
    for name, parameter in inspect.signature(function).parameters.items():
        if name != "self" and parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}:
            yield name


def methods(owner: type) -> Iterator[tuple[str, Callable[..., object]]]:
    for name, member in inspect.getmembers(owner, inspect.isfunction):
        if not name.startswith("_") and name not in INSIDE:
            yield name, member


INSIDE = {
    "try_redrive",
    "begin_chained",
    "start_child",
    "for_state",
    "find",
    "find_transformer",
    "with_dependencies",
    "wanted",
}
"""What the library calls itself."""

CALLS = [
    pytest.param(owner, method, parameter, id=f"{owner.__name__}.{method}-{parameter}")
    for owner in (Engine, StateMachine, ExecutionHandle, TaskRegistry)
    for method, function in methods(owner)
    for parameter in parameters(function)
    if parameter not in PAYLOADS
]
CONSTRUCTIONS = [
    pytest.param(owner, parameter, id=f"{owner.__name__}-{parameter}")
    for owner in (Engine, ExecutionFilter, BatchExecutionOptions, Chained, Source)
    for parameter in parameters(owner)
]


async def outcome(called: Any) -> Any:
    """Await, or iterate over, what a method returned."""
    if inspect.isawaitable(called):
        return await called
    return [each async for each in called] if hasattr(called, "__aiter__") else called


@pytest.mark.parametrize(("owner", "method", "wrong"), CALLS)
async def test_a_wrong_argument_of_a_method_is_named(owner: type, method: str, wrong: str) -> None:
    async with Engine("memory://") as engine:
        machine = await engine.create_state_machine("pass", PASS)
        on = {
            Engine: engine,
            StateMachine: machine,
            ExecutionHandle: await machine.start_execution(),
            TaskRegistry: TaskRegistry(),
        }[owner]
        function = getattr(on, method)
        positional, named = [], {}
        for name, parameter in inspect.signature(function).parameters.items():
            if name != wrong and parameter.default is not parameter.empty:
                continue
            value = Useless() if name == wrong else GIVEN[name]
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(value)
            else:
                named[name] = value
        with pytest.raises((TypeError, ValueError), match=rf"\b{wrong}\b.*Useless"):
            await outcome(function(*positional, **named))


@pytest.mark.parametrize(("owner", "wrong"), CONSTRUCTIONS)
def test_a_wrong_argument_of_a_class_is_named(owner: type, wrong: str) -> None:
    required = [name for name, each in inspect.signature(owner).parameters.items() if each.default is each.empty]
    arguments = {name: GIVEN[name] for name in required} | {wrong: Useless()}
    with pytest.raises((TypeError, ValueError), match=rf"\b{wrong}\b.*Useless"):
        owner(**arguments)


def test_an_error_about_an_argument_can_be_caught_in_three_ways() -> None:
    for kind in (TypeError, ValueError, StatechainError):
        with pytest.raises(kind, match="tasks must be a TaskRegistry, or None, not dict"):
            Engine(tasks={})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"lease": 1e30}, "lease must be .* 36500 days at most, not 1e[+]30"),
        ({"lease": timedelta.max}, "lease must be .* 36500 days at most, not 999999999 days"),
        ({"connect_timeout": 10**400}, "connect_timeout must be .* not a number of 1329 bits"),
        ({"worker_id": "a\0b"}, r"worker_id must be .* printable characters.* not 'a\\x00b'"),
        ({"worker_id": "\ud800"}, "worker_id must be"),
        ({"slots": 2**31}, "slots must be .* below 2[*][*]31, not 2147483648"),
        ({"dependencies": {"pool": object()}}, "dependencies must be a mapping from types"),
    ],
)
def test_what_an_engine_cannot_work_with_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        Engine(**wrong)


async def test_what_no_database_can_count_is_refused_on_every_storage_alike(engine: Engine) -> None:
    for call in (
        lambda: engine.create_state_machine("pass", PASS, max_concurrency=2**31),
        lambda: engine.create_state_machine("pass", PASS, rate=(10**30, 1)),
        lambda: engine.create_state_machine("pass", PASS, rate=(1, timedelta.max)),
        lambda: engine.iterate_executions(page_size=10**30),
        lambda: engine.list_suspects(limit=10**30),
        lambda: engine.execution_activity(HOUR_AGO, datetime.now(UTC), intervals=1001),
        lambda: engine.list_batch_results("some-id", after=10**30),
        lambda: engine.get_activity_task("pack", patience=1e300),
    ):
        with pytest.raises(InvalidArgument):
            await outcome(call())
    for option in ("page_size", "concurrent_batches", "shard_size", "tolerated_failure_count"):
        with pytest.raises(InvalidArgument, match=option):
            BatchExecutionOptions(**{option: 10**30})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"key": ""}, "key must be .* not an empty string"),
        ({"key": "k" * 200}, "key must be .* not 'k{99}…"),
        ({"key": "a\0"}, r"key must be .* not 'a\\x00'"),
        ({"name": 3}, "name must be .* not 3$"),
        ({"name": "x" * 81}, "an execution's name is 1 to 80 printable characters"),
    ],
)
async def test_a_wrong_setting_is_shown_and_one_given_by_its_name_is_not_guessed_at(
    engine: Engine, wrong: dict[str, Any], said: str
) -> None:
    machine = await engine.create_state_machine("pass", PASS)
    with pytest.raises(InvalidArgument, match=said):
        await machine.execute(1, **wrong)
    with pytest.raises(InvalidArgument, match=r"rate must be .* not bytes"):
        await engine.create_state_machine("pass", PASS, rate=b"ab")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"since_before must be .* not a naive datetime"):
        await engine.list_waiting_tasks(since_before=datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("limit", attrs.fields(Limits), ids=lambda limit: limit.name)
def test_a_limit_that_is_none_is_refused(limit: Any) -> None:
    for wrong in ("1 MB", -1, True, float("nan")):
        with pytest.raises(InvalidArgument, match=rf"\b{limit.name} must be"):
            Limits(**{limit.name: wrong})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: console.app(3), "engine must be an Engine, or a function that returns one for a request, not 3"),
        (lambda: console.app(Engine), "engine must be .* not the class Engine"),
        (lambda: console.app(Engine(), access="write"), "access must be a function of a request .* not str"),
        (lambda: console.app(Engine(), access=console.Grant), "access must be .* not the class Grant"),
        (lambda: open_repository(None), "url must be a storage URL, not None"),
        (lambda: open_repository(Path("/var/shop.db")), "Path: write 'sqlite:////var/shop.db'"),
        (lambda: Engine(Path("shop.db")), "Path: write 'sqlite:///shop.db'"),
        (lambda: VirtualClock("2026"), "start must be a datetime with its timezone, not str"),
        (lambda: VirtualClock(grace=-1), "grace must be seconds, from 0 .* not -1"),
        (lambda: VirtualClock().advance(float("nan")), "by must be seconds or a timedelta.* not nan"),
        (lambda: ScriptedTasks(None), "script must be a mapping from the names of states to answers, not None"),
        (lambda: ScriptedTasks({}, fallback={}), "fallback must be a TaskRegistry, or None, not dict"),
        (lambda: LogObserver("shop"), "logger must be a logger, as logging.getLogger.* not str"),
        (lambda: OpenTelemetryObserver(3), "tracer_provider must be a TracerProvider, or None, not 3"),
        (lambda: OpenTelemetryObserver(meter_provider=3), "meter_provider must be"),
        (lambda: backlog_metrics(Engine(), seconds=0), "seconds must be seconds, above 0, not 0"),
        (lambda: backlog_metrics(3), "engine must be an Engine, not 3"),
        (lambda: batch_progress("many"), "total must be .* not str"),
        (lambda: batch_progress(console=sys.stderr), "console must be a Console of rich, or None, not"),
        (lambda: Throw(ValueError), "error must be the name of an error, not the class ValueError"),
    ],
)
async def test_what_is_beside_an_engine_names_a_wrong_argument_too(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        await outcome(call())


async def test_options_in_the_place_of_a_states_name_are_recognized(engine: Engine) -> None:
    machine = await engine.create_state_machine("pass", PASS)
    with pytest.raises(InvalidArgument, match=r"source_state_name must be .* did you mean options=\?"):
        await machine.execute_batch(ExecutionFilter(), BatchExecutionOptions())  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"filter must be .* did you mean options=\?"):
        await machine.execute_batch(BatchExecutionOptions())  # type: ignore[arg-type]


async def test_an_execution_in_the_place_of_its_id_is_recognized(engine: Engine) -> None:
    execution = await (await engine.create_state_machine("pass", PASS)).execute()
    with pytest.raises(InvalidArgument, match=r"id must be the id of an execution, not Execution: give its \.id"):
        await engine.get_execution(execution)  # type: ignore[arg-type]


# What exists


@pytest.fixture
async def shop(engine_factory: EngineFactory) -> AsyncIterator[Engine]:
    async with engine_factory() as engine:
        orders = await engine.create_state_machine("orders", PASS)
        await engine.create_state_machine("invoices", PASS)
        for number in range(3):
            await orders.execute(number)
        await (await (await engine.create_state_machine("failing", FAIL)).start_execution()).wait()
        yield engine


@pytest.mark.parametrize(
    "using",
    [
        lambda engine, id_: engine.list_executions(ExecutionFilter(state_machine_id=id_)),
        lambda engine, id_: engine.list_execution_ids(ExecutionFilter(state_machine_id=id_)),
        lambda engine, id_: engine.count_executions(ExecutionFilter(state_machine_id=id_)),
        lambda engine, id_: engine.iterate_executions(ExecutionFilter(state_machine_id=id_)),
        lambda engine, id_: engine.delete_executions(ExecutionFilter(state_machine_id=id_)),
        lambda engine, id_: engine.count_executions(ExecutionFilter(unchained_to=id_)),
        lambda engine, id_: engine.list_batches(state_machine_id=id_),
        lambda engine, id_: engine.list_linked_executions(target_state_machine_id=id_),
        lambda engine, id_: engine.iterate_batches(state_machine_id=id_),
        lambda engine, id_: engine.iterate_linked_executions(target_state_machine_id=id_),
        lambda engine, id_: engine.page_executions(ExecutionFilter(state_machine_id=id_)),
        lambda engine, id_: engine.execution_activity(HOUR_AGO, datetime.now(UTC), state_machine_id=id_),
        lambda engine, id_: engine.list_waiting_tasks(state_machine_id=id_),
        lambda engine, id_: engine.start_batch("orders", ExecutionFilter(unchained_to=id_)),
    ],
)
async def test_a_state_machine_that_does_not_exist_is_an_error_and_not_an_empty_answer(
    using: Callable[[Engine, str], Any], shop: Engine
) -> None:
    with pytest.raises(StateMachineNotFound, match="is 'nothing': there is no state machine with this name or id"):
        await outcome(using(shop, "nothing"))


@pytest.mark.parametrize(
    ("using", "argument"),
    [
        (lambda engine: engine.count_executions(ExecutionFilter(state_machine_id="nothing")), "state_machine_id"),
        (lambda engine: engine.count_executions(ExecutionFilter(unchained_to="nothing")), "unchained_to"),
        (lambda engine: engine.list_batches(state_machine_id="nothing"), "state_machine_id"),
        (
            lambda engine: engine.list_linked_executions(target_state_machine_id="nothing"),
            "target_state_machine_id",
        ),
    ],
)
async def test_a_state_machine_that_does_not_exist_is_named_by_its_argument(
    using: Callable[[Engine], Any], argument: str, engine: Engine
) -> None:
    with pytest.raises(StateMachineNotFound, match=f"^{argument} is 'nothing'"):
        await outcome(using(engine))


@pytest.mark.parametrize(
    "using",
    [
        lambda engine, machine: engine.list_executions(ExecutionFilter(state_machine_id=machine)),
        lambda engine, machine: engine.list_execution_ids(ExecutionFilter(state_machine_id=machine)),
        lambda engine, machine: engine.count_executions(ExecutionFilter(state_machine_id=machine)),
        lambda engine, machine: engine.iterate_executions(ExecutionFilter(unchained_to=machine)),
        lambda engine, machine: engine.page_executions(ExecutionFilter(unchained_to=Chained(machine))),
        lambda engine, machine: engine.execution_statistics(machine),
        lambda engine, machine: engine.list_batches(state_machine_id=machine),
        lambda engine, machine: engine.iterate_batches(state_machine_id=machine),
        lambda engine, machine: engine.list_linked_executions(target_state_machine_id=machine),
        lambda engine, machine: engine.iterate_linked_executions(target_state_machine_id=machine),
        lambda engine, machine: engine.list_waiting_tasks(state_machine_id=machine),
        lambda engine, machine: engine.delete_executions(ExecutionFilter(state_machine_id=machine, status="FAILED")),
    ],
)
async def test_a_machine_its_name_and_its_id_mean_the_same(using: Callable[[Engine, Any], Any], shop: Engine) -> None:
    orders, invoices = await shop.get_state_machine("orders"), await shop.get_state_machine("invoices")
    await invoices.execute_batch(ExecutionFilter(state_machine_id="orders", limit=2))
    for machine in (orders, invoices):
        answers = [await outcome(using(shop, given)) for given in (machine, machine.name, machine.id)]
        assert answers[0] == answers[1] == answers[2]


async def test_a_machine_by_name_selects_its_own_executions(shop: Engine) -> None:
    assert await shop.count_executions(ExecutionFilter(state_machine_id="orders")) == 3
    assert {each.count for each in (await shop.execution_statistics("orders")).values()} == {3}
    (activity,) = await shop.execution_activity(HOUR_AGO, datetime.now(UTC), state_machine_id="failing")
    assert activity.total == 1


async def test_a_state_machine_is_found_by_itself_by_name_and_by_id(shop: Engine) -> None:
    orders = await shop.get_state_machine("orders")
    for given in (orders, orders.name, orders.id):
        assert (await shop.get_state_machine(given)).id == orders.id


async def test_a_batch_is_stored_with_the_id_of_a_machine_that_was_named(shop: Engine) -> None:
    invoices = await shop.get_state_machine("invoices")
    chosen = ExecutionFilter(state_machine_id="orders", unchained_to="invoices")
    assert len(await invoices.execute_batch(chosen)) == 3
    assert await invoices.execute_batch(chosen) == []
    stored = (await shop.list_batches(state_machine_id="invoices"))[0].filter
    assert stored["state_machine_id"] == (await shop.get_state_machine("orders")).id
    assert stored["unchained_to"] == {"to": invoices.id, "source_state_name": None}


async def test_a_batch_from_or_for_a_machine_that_does_not_exist_is_an_error(shop: Engine) -> None:
    invoices = await shop.get_state_machine("invoices")
    for wrong in (ExecutionFilter(state_machine_id="nothing"), ExecutionFilter(unchained_to="nothing")):
        with pytest.raises(StateMachineNotFound, match="there is no state machine with this name or id"):
            await invoices.execute_batch(wrong)
    assert await shop.list_batches() == []


async def test_links_of_an_execution_that_does_not_exist_are_an_error(shop: Engine) -> None:
    with pytest.raises(ExecutionNotFound, match="source_execution_id is 'nothing'"):
        await shop.list_linked_executions(source_execution_id="nothing")


# A batch that matches nothing


async def test_a_batch_that_matches_nothing_says_why(shop: Engine, caplog: pytest.LogCaptureFixture) -> None:
    orders, invoices = await shop.get_state_machine("orders"), await shop.get_state_machine("invoices")

    async def why(**fields: Any) -> str:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert await invoices.execute_batch(ExecutionFilter(**fields)) == []
        (record,) = [each for each in caplog.records if "matches no execution" in each.message]
        return record.message.partition(": ")[2]

    other = await why(state_machine_id=orders.id, status={"FAILED", "RUNNING"})
    assert other == "none is FAILED or RUNNING: the filter's other fields leave 3 SUCCEEDED"
    of_no_status = "none is no status at all: the filter's other fields leave 3 SUCCEEDED"
    assert await why(state_machine_id=orders.id, status=set()) == of_no_status
    assert await why(state_machine_id=orders.id, offset=5) == "offset 5 skips all 3 that match"
    assert await why(limit=0) == "limit is 0"
    nothing_named_so = "the storage has 3 SUCCEEDED, 1 FAILED, and none matches state_machine_id and name"
    assert await why(state_machine_id=orders.id, name="x-y") == nothing_named_so
    assert await why(state_machine_id=orders.id, name="x-y", status="FAILED") == nothing_named_so
    await invoices.execute_batch(ExecutionFilter(state_machine_id=orders.id))
    chained = ExecutionFilter(state_machine_id=orders.id, unchained_to=invoices)
    assert "all 3 that match are chained to" in await why(state_machine_id=orders.id, unchained_to=invoices)
    assert await shop.count_executions(chained) == 0


async def test_an_empty_storage_is_a_reason(engine: Engine) -> None:
    soon = ExecutionFilter(start_after=datetime.now(UTC))
    assert await why_nothing_matches(engine.repository, soon) == "there are no executions in this storage"


# URLs


async def test_a_number_sign_is_a_character_of_a_files_name(tmp_path: Path) -> None:
    file = tmp_path / "a#b.db"
    async with open_repository(f"sqlite:///{file}"):
        assert {"a", file.name} & set(os.listdir(tmp_path)) == {file.name}  # noqa: PTH208 -- nothing else runs


def test_a_number_sign_that_would_end_a_postgresql_url_is_refused() -> None:
    with pytest.raises(ValueError, match="%23") as caught:
        open_repository("postgresql://scott:ti#ger@localhost/shop")
    assert "ger" not in str(caught.value)
    with pytest.raises(ValueError, match="%23"):
        open_repository("postgresql://localhost/shop#old")


def test_attrs_sees_every_field_of_the_options() -> None:
    assert {field.name for field in attrs.fields(BatchExecutionOptions)} | {"max_concurrency"} == set(
        parameters(BatchExecutionOptions)
    )


def test_attrs_sees_every_field_of_a_filter() -> None:
    assert {field.name for field in attrs.fields(ExecutionFilter)} | {"name_contains"} == set(
        parameters(ExecutionFilter)
    )


def test_the_other_names_of_fields_mean_the_same() -> None:
    assert BatchExecutionOptions(max_concurrency=3) == BatchExecutionOptions(concurrent_batches=3)
    assert BatchExecutionOptions(concurrent_batches=3).max_concurrency == 3
    assert ExecutionFilter(name_contains="a") == ExecutionFilter(name="a")
    assert attrs.evolve(ExecutionFilter(name="a"), limit=1).name_contains == "a"
    with pytest.raises(ValueError, match="give concurrent_batches or max_concurrency, not both"):
        BatchExecutionOptions(concurrent_batches=2, max_concurrency=3)
    with pytest.raises(ValueError, match="give name or name_contains, not both"):
        ExecutionFilter(name="a", name_contains="b")
