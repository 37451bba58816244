"""Dependencies of handlers: given by annotation, made once for each engine, closed after it was left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import pytest

from statechain import Depends, Engine, InvalidArgument, TaskContext, TaskRegistry
from statechain.testing import Return, ScriptedTasks, run_state

if TYPE_CHECKING:
    from statechain import TaskContext as CheckedOnly

CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "call", "End": True}}}


class Pool:
    """A resource that knows whether it is open."""

    made = 0

    def __init__(self, url: str = "default") -> None:
        self.url = url
        self.is_open = True
        type(self).made += 1


class Mailer(Protocol):
    def send(self) -> str: ...


closed: list[str] = []


@asynccontextmanager
async def opened_pool() -> AsyncIterator[Pool]:
    pool = Pool("opened")
    try:
        yield pool
    finally:
        pool.is_open = False
        closed.append("pool")


async def yielded_pool() -> AsyncIterator[Pool]:
    yield Pool("yielded")
    closed.append("yielded")


def plain_pool() -> Iterator[Pool]:
    yield Pool("plain")
    closed.append("plain")


@pytest.fixture(autouse=True)
def fresh() -> None:
    closed.clear()
    Pool.made = 0


def registry() -> TaskRegistry:
    tasks = TaskRegistry()

    @tasks.register
    async def call(value: Any, pool: Annotated[Pool, Depends()]) -> str:
        assert pool.is_open
        return f"{value} by {pool.url}"

    return tasks


async def output(engine: Engine, value: Any = "a") -> Any:
    machine = await engine.create_state_machine("call", CALL)
    return (await machine.execute(value)).output


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (Pool("value"), "value"),
        (lambda: Pool("function"), "function"),
        (opened_pool, "opened"),
        (yielded_pool, "yielded"),
        (plain_pool, "plain"),
        (Pool, "default"),
    ],
)
async def test_an_engine_gives_a_value_or_what_a_factory_makes(given: object, url: str) -> None:
    async with Engine(tasks=registry(), dependencies={Pool: given}) as engine:
        assert await output(engine) == f"a by {url}"


async def test_a_coroutine_function_is_a_factory() -> None:
    async def connect() -> Pool:
        await asyncio.sleep(0)
        return Pool("awaited")

    async with Engine(tasks=registry(), dependencies={Pool: connect}) as engine:
        assert await output(engine) == "a by awaited"


async def test_a_value_is_made_once_for_an_engine_and_anew_for_the_next() -> None:
    tasks = registry()
    for engines in (1, 2):
        async with Engine(tasks=tasks, dependencies={Pool: opened_pool}) as engine:
            for _ in range(3):
                await output(engine)
        assert Pool.made == engines
        assert closed == ["pool"] * engines


async def test_it_is_closed_after_the_executions_have_ended() -> None:
    tasks = TaskRegistry()

    @tasks.register
    async def call(_value: Any, pool: Annotated[Pool, Depends(opened_pool)]) -> bool:
        await asyncio.sleep(0.05)
        return pool.is_open

    async with Engine(tasks=tasks) as engine:
        machine = await engine.create_state_machine("call", CALL)
        handle = await machine.start_execution()
        assert closed == []
    assert closed == ["pool"]
    assert handle.execution.status == "RUNNING"


async def test_a_mark_names_a_factory_and_the_engine_overrides_it() -> None:
    tasks = TaskRegistry()

    @tasks.register
    def call(value: Any, pool: Annotated[Pool, Depends(opened_pool)]) -> str:
        return f"{value} by {pool.url}"

    async with Engine(tasks=tasks) as engine:
        assert await output(engine) == "a by opened"
    async with Engine(tasks=tasks, dependencies={Pool: Pool("fake")}) as engine:
        assert await output(engine) == "a by fake"


async def test_a_handler_takes_its_context_beside_dependencies_of_any_kind() -> None:
    tasks = TaskRegistry()

    @tasks.register
    async def call(
        value: str, context: TaskContext, *, pool: Annotated[Pool, Depends], mailer: Annotated[Mailer, Depends()]
    ) -> str:
        return f"{value} {context.state_name} {pool.url} {mailer.send()}"

    class Console:
        def send(self) -> str:
            return "sent"

    given = {Pool: Pool(), Mailer: Console()}
    async with Engine(tasks=tasks, dependencies=given) as engine:
        assert await output(engine) == "a Call default sent"


async def test_a_factory_has_dependencies_of_its_own_which_are_closed_after_it() -> None:
    class Repo:
        def __init__(self, pool: Pool) -> None:
            self.pool = pool

    async def repo(pool: Annotated[Pool, Depends(opened_pool)]) -> AsyncIterator[Repo]:
        yield Repo(pool)
        closed.append("repo")

    tasks = TaskRegistry()

    @tasks.register
    async def call(
        _value: Any, repo: Annotated[Repo, Depends(repo)], pool: Annotated[Pool, Depends(opened_pool)]
    ) -> Any:
        return repo.pool is pool

    async with Engine(tasks=tasks) as engine:
        assert await output(engine) is True
    assert closed == ["repo", "pool"]


async def test_what_no_one_gives_is_refused_when_the_engine_is_entered() -> None:
    with pytest.raises(
        InvalidArgument, match=r"'call' depends on Pool \(parameter 'pool'\).*Engine\(dependencies={Pool"
    ):
        async with Engine(tasks=registry()):
            raise AssertionError


async def test_a_factory_that_needs_itself_is_refused() -> None:
    async def pool_of(pool: Annotated[Pool, Depends()]) -> Pool:
        return pool

    with pytest.raises(InvalidArgument, match="'pool_of' depends on itself"):
        async with Engine(tasks=registry(), dependencies={Pool: pool_of}):
            raise AssertionError


async def test_a_factory_that_needs_what_nothing_gives_is_refused() -> None:
    def pool_of(url: str) -> Pool:
        return Pool(url)

    with pytest.raises(InvalidArgument, match="the factory 'pool_of' needs 'url', and nothing gives it: mark"):
        async with Engine(tasks=registry(), dependencies={Pool: pool_of}):
            raise AssertionError


async def test_a_factory_that_fails_closes_what_was_made_and_its_exception_is_raised() -> None:
    tasks = TaskRegistry()

    def fails() -> int:
        raise OSError("no server")

    @tasks.register
    async def call(
        _value: Any, pool: Annotated[Pool, Depends(opened_pool)], other: Annotated[int, Depends(fails)]
    ) -> None: ...

    engine = Engine(tasks=tasks)
    with pytest.raises(OSError, match="no server"):
        async with engine:
            raise AssertionError
    assert closed == ["pool"]


async def test_a_reader_makes_nothing() -> None:
    async with Engine(tasks=registry(), dependencies={Pool: opened_pool}, role="reader"):
        pass
    assert Pool.made == 0


async def test_a_handler_that_is_registered_later_gets_what_is_there_or_fails_its_task() -> None:
    tasks = registry()
    async with Engine(tasks=tasks, dependencies={Pool: Pool("value")}) as engine:

        async def late(_value: Any, pool: Annotated[Pool, Depends()]) -> str:
            return pool.url

        async def too_late(_value: Any, other: Annotated[list[int], Depends(lambda: [1])]) -> list[int]:
            return other

        tasks.add("late", late)
        tasks.add("too late", too_late)
        machine = await engine.create_state_machine("late", _calls("late"))
        assert (await machine.execute()).output == "value"
        machine = await engine.create_state_machine("too late", _calls("too late"))
        ended = await (await machine.start_execution()).wait()
        assert ended.error == "States.TaskFailed"
        assert "register it before the engine is entered" in (ended.cause or "")


def _calls(resource: str) -> dict[str, Any]:
    return {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": resource, "End": True}}}


def test_what_is_marked_comes_last() -> None:
    tasks = TaskRegistry()

    async def first(pool: Annotated[Pool, Depends()], value: Any) -> None: ...
    async def between(value: Any, pool: Annotated[Pool, Depends()], context: Any = None) -> None: ...
    async def last(value: Any, pool: Annotated[Pool, Depends()], more: Any = None) -> None: ...

    with pytest.raises(TypeError, match=r"'first' takes its value after a parameter that is marked by Depends"):
        tasks.add("first", first)
    with pytest.raises(TypeError, match=r"'between' takes its value and its context after a parameter that is marked"):
        tasks.add("between", between)
    tasks.add("last", last)


def test_a_signature_that_cannot_be_served_is_refused_at_registration() -> None:
    tasks = TaskRegistry()

    async def only(pool: Annotated[Pool, Depends()]) -> None: ...
    async def three(value: Any, context: Any, pool: Pool) -> None: ...
    async def unresolved(value: Any, pool: Annotated[Unknown, Depends()]) -> None: ...  # type: ignore[name-defined]  # noqa: F821
    async def by_position(value: Any, pool: Annotated[Pool, Depends()], /) -> None: ...
    async def fine(value: Any, context: CheckedOnly) -> None: ...
    async def by_default(value: Any, pool: Pool = Depends(opened_pool)) -> None: ...  # type: ignore[assignment]  # noqa: B008
    async def unmarked(value: Any, pool: Pool) -> None: ...
    async def mail(value: Any, mailer: Mailer) -> None: ...

    with pytest.raises(TypeError, match=r"must take \(input\)"):
        tasks.add("only", only)
    with pytest.raises(TypeError, match="mark its other parameters by Depends"):
        tasks.add("three", three)
    with pytest.raises(TypeError, match=r"the parameter 'pool' of the handler 'unresolved' .* cannot be resolved"):
        tasks.add("unresolved", unresolved)
    with pytest.raises(TypeError, match="positional-only"):
        tasks.add("by position", by_position)
    with pytest.raises(
        TypeError, match=r"'by default' has Depends as the default of its parameter 'pool': write it into"
    ):
        tasks.add("by default", by_default)
    with pytest.raises(TypeError, match=r"gets its TaskContext as 'pool', which is annotated with Pool: mark"):
        tasks.add("unmarked", unmarked)
    tasks.add("fine", fine)
    tasks.add("a protocol", mail)
    with pytest.raises(InvalidArgument, match="factory must be a function"):
        Depends("make_pool")  # type: ignore[arg-type]


async def test_scripted_tasks_give_dependencies_to_their_fallback() -> None:
    two = {
        "StartAt": "First",
        "States": {
            "First": {"Type": "Task", "Resource": "call", "Next": "Call"},
            "Call": {"Type": "Task", "Resource": "call", "End": True},
        },
    }
    tasks = ScriptedTasks({"First": Return("scripted")}, fallback=registry())
    async with Engine(tasks=tasks, dependencies={Pool: Pool("value")}) as engine:
        machine = await engine.create_state_machine("two", two)
        assert (await machine.execute()).output == "scripted by value"
    assert [call.state for call in tasks.calls] == ["First"]


async def test_a_single_state_is_run_with_dependencies() -> None:
    state = {"Type": "Task", "Resource": "call", "End": True}
    result = await run_state(state, "a", tasks=registry(), dependencies={Pool: opened_pool})
    assert result.output == "a by opened"
    assert closed == ["pool"]


# Merging registries


async def test_a_registry_includes_another_under_a_prefix() -> None:
    tasks = TaskRegistry()
    tasks.include(registry(), prefix="pay.")
    tasks.include(registry())
    assert list(tasks) == ["pay.call", "call"]
    async with Engine(tasks=tasks, dependencies={Pool: Pool("value")}) as engine:
        machine = await engine.create_state_machine("call", _calls("pay.call"))
        assert (await machine.execute("a")).output == "a by value"


def test_a_name_that_is_taken_includes_nothing() -> None:
    tasks = registry()
    other = registry()
    other.add("more", print)
    with pytest.raises(ValueError, match="'call' is registered already: include the others with a prefix"):
        tasks.include(other)
    assert list(tasks) == ["call"]
    with pytest.raises(InvalidArgument, match="other must be a TaskRegistry"):
        tasks.include({})  # type: ignore[arg-type]


def test_transformers_are_included_and_have_names_of_their_own() -> None:
    other, tasks = TaskRegistry(), TaskRegistry()

    @other.register
    @other.transformer
    def double(value: int) -> int:
        return value * 2

    tasks.include(other, prefix="pay.")
    found = tasks.find_transformer("pay.double")
    assert found is double
    assert tasks.find_transformer("double") is None
    with pytest.raises(ValueError, match=r"a transformer named 'double' is registered already"):
        other.transformer("double")(double)
    taken = TaskRegistry()
    taken.transformer("double")(double)
    with pytest.raises(ValueError, match=r"transformer named 'double' .* include the others with a prefix"):
        taken.include(other)
    assert "double" not in taken
