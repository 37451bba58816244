"""State machines of an engine: created, and limited over all processes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from statechain import asl
from statechain.arguments import EXECUTION_ID, MACHINE, NAME, Argument, checked, instance_of, one_of
from statechain.codec import same_json
from statechain.engine.machine import StateMachine
from statechain.engine.queries import EngineQueries
from statechain.errors import InvalidArgument, StateMachineNotFound
from statechain.execution import lengthy
from statechain.guard import guarded
from statechain.records.executions import StateMachineRecord, new_id
from statechain.records.filters import as_id
from statechain.records.queues import (
    CONCURRENCY,
    PER_KEY,
    RATE,
    UNCHANGED,
    LimitWait,
    MachineLimits,
    Queue,
    Unchanged,
)
from statechain.storage.retrying import retry_while_unavailable
from statechain.tasks import services

if TYPE_CHECKING:
    from statechain.asl import Definition
    from statechain.engine.services import EngineServices
    from statechain.records.filters import HasId
    from statechain.storage.journal.journal import Journal
    from statechain.tasks.registry import TaskRegistry

__all__ = ["EngineMachines"]

SUBSTITUTIONS = instance_of(Mapping, meant="a mapping of names to values")
DEFINITION = instance_of(Mapping, str, Path, meant="a mapping, JSON or YAML text, or the Path of a file")


def _or_unchanged(limit: Argument) -> Argument:
    """Return an argument that may also be left as it is."""
    return attrs.evolve(limit, accepts=lambda value: value is UNCHANGED or limit.accepts(value))


@guarded()
class EngineMachines(EngineQueries):
    """The methods of `Engine` about state machines; it sets the attributes that they need."""

    journal: Journal
    _services: EngineServices
    _tasks: TaskRegistry
    _has_tasks: bool

    @checked(
        name=NAME,
        definition=DEFINITION,
        type=one_of("STANDARD", "EXPRESS"),
        substitutions=SUBSTITUTIONS.or_none(),
        max_concurrency=_or_unchanged(CONCURRENCY),
        rate=_or_unchanged(RATE),
        max_concurrency_per_key=_or_unchanged(PER_KEY),
    )
    async def create_state_machine(
        self,
        name: str,
        definition: Mapping[str, Any] | str | Path,
        *,
        type: Literal["STANDARD", "EXPRESS"] = "STANDARD",  # noqa: A002 -- AWS's term
        substitutions: Mapping[str, str | int | float | bool] | None = None,
        max_concurrency: int | Unchanged | None = UNCHANGED,
        rate: tuple[int, float | timedelta] | Unchanged | None = UNCHANGED,
        max_concurrency_per_key: int | Unchanged | None = UNCHANGED,
    ) -> StateMachine:
        """Create a state machine, or a new revision of it where the name has another definition.

        >>> calls = await engine.create_state_machine(  # doctest: +SKIP
        ...     "calls", definition, max_concurrency=20, rate=(100, 60), max_concurrency_per_key=2
        ... )

        Arguments:
            name: Unique in the storage, 1 to 80 characters.

            definition: Amazon States Language, as a mapping, as JSON or YAML text, or as a `Path` to a file of it.

            type: ``"STANDARD"`` records every visit of a state. ``"EXPRESS"`` records only starts and ends: after a
                crash, an execution runs again from its beginning.

            substitutions: The values of the ``${Name}`` placeholders in the definition, by name, as CloudFormation's
                DefinitionSubstitutions.

            max_concurrency: How many executions of the machine run at once, over all processes of the storage; 0 pauses
                it. A limit that is left out stays as it is, and None removes it (see `set_machine_limits`).

            rate: ``(n, seconds)``: in no stretch of that many seconds more than n executions are taken up.

            max_concurrency_per_key: How many executions with the same ``key`` (see `StateMachine.start_execution`) run
                at once.

        Returns:
            The machine with this definition, bound to this engine.

        Raises:
            DefinitionError: The definition is not valid; the error lists all diagnostics.

            ValueError: The name is empty, too long or not printable.
        """
        from statechain.storage.writes import CreateStateMachine  # noqa: PLC0415 -- loaded by the first engine

        if not 1 <= len(name) <= 80 or not name.isprintable():
            raise InvalidArgument("a state machine's name is 1 to 80 printable characters")
        loaded = await lengthy.loaded(definition, partial(self._load, definition, type, substitutions))
        record = await self.journal.write_for_caller(
            CreateStateMachine(
                machine=StateMachineRecord(
                    id=new_id(),
                    name=name,
                    # Storage counts on from the newest revision of the name.
                    revision=1,
                    type=type,
                    definition=await self._as_stored(name, loaded.text),
                    created=self.clock.now(),
                )
            )
        )
        await self._limit(record.id, max_concurrency, rate, max_concurrency_per_key)
        # Compiled here already: the first execution does not load it from storage.
        return StateMachine(self._services, self._revisions.add(record, loaded))

    def _load(
        self,
        definition: Mapping[str, Any] | str | Path,
        type: Literal["STANDARD", "EXPRESS"],  # noqa: A002
        substitutions: Mapping[str, str | int | float | bool] | None,
    ) -> Definition:
        loaded = asl.load(definition, limits=self.limits, type=type, substitutions=substitutions)
        if self._has_tasks:
            services.check_resources(loaded, self._tasks)
        _ = loaded.plan  # what cannot be compiled is refused before it is stored
        return loaded

    async def _as_stored(self, name: str, definition: str) -> str:
        """Return a definition as the machine's newest revision has it, where that differs by the order of members."""
        newest = await retry_while_unavailable(partial(self.repository.state_machine, name))
        # An id wins over a name: what was found may be another machine.
        if newest is None or newest.name != name:
            return definition
        is_same = await lengthy.loaded(definition, partial(same_json, newest.definition, definition))
        return newest.definition if is_same else definition

    # Limits

    @checked(
        name_or_id=MACHINE,
        max_concurrency=_or_unchanged(CONCURRENCY),
        rate=_or_unchanged(RATE),
        max_concurrency_per_key=_or_unchanged(PER_KEY),
    )
    async def set_machine_limits(
        self,
        name_or_id: HasId | str,
        *,
        max_concurrency: int | Unchanged | None = UNCHANGED,
        rate: tuple[int, float | timedelta] | Unchanged | None = UNCHANGED,
        max_concurrency_per_key: int | Unchanged | None = UNCHANGED,
    ) -> MachineLimits:
        """Limit how many executions of a state machine run, over all processes of the storage, from now on.

        Executions of a machine with limits are never run directly by the process that starts them: workers claim them,
        and no more than the limits allow. What runs when a limit is set counts, and goes on. An execution counts from
        its claim to its end, also while it rests in a Wait state or waits for an answer; one whose worker died counts
        again once another worker has claimed it.

        Arguments:
            name_or_id: The machine: itself, its name or its id.

            max_concurrency: How many of its executions run at once; 0 pauses it. A limit that is left out stays as it
                is, and None removes it.

            rate: ``(n, seconds)``: in no stretch of that many seconds more than n executions are taken up. One that is
                taken up again, after its worker died or was left, counts again.

            max_concurrency_per_key: How many executions with the same ``key`` run at once; those without are free.

        Returns:
            The limits as they are now.

        Raises:
            StateMachineNotFound: There is no such state machine.
        """
        machine = await self._newest(name_or_id)
        return await self._limit(machine.id, max_concurrency, rate, max_concurrency_per_key)

    @checked(name_or_id=MACHINE)
    async def get_machine_limits(self, name_or_id: HasId | str) -> MachineLimits:
        """Return the limits of a state machine.

        Arguments:
            name_or_id: The machine: itself, its name or its id.

        Returns:
            The limits; all are None where it has none.

        Raises:
            StateMachineNotFound: There is no such state machine.
        """
        return await self.repository.machine_limits((await self._newest(name_or_id)).id)

    async def list_queues(self) -> list[Queue]:
        """Return the state machines that have limits, with how many of their executions wait and run.

        Returns:
            A `Queue` for each of them, by id. One whose limits were removed is among them while something waits there.

        Raises:
            RepositoryUnavailable: Storage does not answer.
        """
        return list(await self.repository.queues())

    @checked(id=EXECUTION_ID)
    async def get_limit_wait(self, id: str) -> LimitWait | None:  # noqa: A002
        """Return why an execution of a state machine with limits has not been taken up.

        Arguments:
            id: The execution.

        Returns:
            The limit that it waits for, and how many others wait and run; None where a worker runs it, it has ended, or
            its machine has no limits.

        Raises:
            ExecutionNotFound: There is no such execution.
        """
        wait = await self.repository.limit_wait(id)
        if wait is None:
            await self.get_execution(id)
        return wait

    async def _newest(self, name_or_id: HasId | str) -> StateMachineRecord:
        name = as_id(name_or_id)
        record = await self.repository.state_machine(name)
        if record is None:
            raise StateMachineNotFound(f"there is no state machine {name!r}")
        return record

    async def _limit(
        self,
        state_machine_id: str,
        max_concurrency: int | Unchanged | None,
        rate: tuple[int, float | timedelta] | Unchanged | None,
        max_concurrency_per_key: int | Unchanged | None,
    ) -> MachineLimits:
        """Set the limits that are given, where that changes them; return those that the machine has."""
        from statechain.storage.writes import LimitStateMachine  # noqa: PLC0415 -- loaded by the first engine

        given = {
            "max_concurrency": max_concurrency,
            "rate": rate,
            "max_concurrency_per_key": max_concurrency_per_key,
        }
        changed = {name: limit for name, limit in given.items() if not isinstance(limit, Unchanged)}
        find = partial(self.repository.machine_limits, state_machine_id)
        former = await retry_while_unavailable(find)
        limits = attrs.evolve(former, **cast("dict[str, Any]", changed))
        if limits == former:
            return former
        # Those that are not given stay as storage has them by then: another process may set them at the same time.
        unchanged = given.keys() - changed.keys()
        limiting = LimitStateMachine(state_machine_id=state_machine_id, limits=limits, unchanged=unchanged)
        await self.journal.write_for_caller(limiting)
        return await retry_while_unavailable(find)
