"""Getting hold of what is stored: a state machine by its name or id, an execution by its id or name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statechain.arguments import MACHINE, checked, text
from statechain.engine.handle import ExecutionHandle
from statechain.engine.machine import StateMachine
from statechain.engine.queries import EngineQueries
from statechain.errors import ExecutionNotFound, StateMachineNotFound
from statechain.guard import guarded
from statechain.records.filters import as_id
from statechain.storage.existing import machine_id

if TYPE_CHECKING:
    from statechain.engine.services import EngineServices
    from statechain.records.filters import HasId
    from statechain.worker.worker import Worker

__all__ = ["EngineLookup"]


@guarded()
class EngineLookup(EngineQueries):
    """The methods of `Engine` that return machines and handles; it sets the attributes that they need."""

    worker: Worker
    _services: EngineServices

    @checked(name_or_id=MACHINE)
    async def get_state_machine(self, name_or_id: HasId | str) -> StateMachine:
        """Return the newest revision of a state machine.

        Arguments:
            name_or_id: The machine's name, its id, or the machine itself, of any revision. An id wins over a name.

        Returns:
            The machine, bound to this engine.

        Raises:
            StateMachineNotFound: There is no such state machine.
        """
        name = as_id(name_or_id)
        record = await self.repository.state_machine(name)
        if record is None:
            raise StateMachineNotFound(f"there is no state machine {name!r}")
        return StateMachine(self._services, await self._revisions.get(record.id, record.revision))

    async def list_state_machines(self) -> list[StateMachine]:
        """Return the newest revision of every state machine, by name."""
        records = await self.repository.state_machines()
        return [StateMachine(self._services, each) for each in await self._revisions.readable(records)]

    @checked(id_or_name=text("the id or the name of an execution"), machine=MACHINE.or_none())
    async def get_handle(self, id_or_name: str, *, machine: HasId | str | None = None) -> ExecutionHandle:
        """Return a handle on an existing execution, to wait for it or stop it; also after a restart.

        >>> handle = await engine.get_handle("order-7", machine="orders")  # doctest: +SKIP
        >>> print(await handle.result())  # doctest: +SKIP

        The execution may run in this process or in another one, or have ended. While another process runs it, waiting
        for it polls storage, at most once a second.

        Arguments:
            id_or_name: The execution's id; with ``machine``, its name.

            machine: The machine whose execution has the name: the machine, its name or its id.

        Returns:
            The handle. Leaving the engine does not wait for the execution unless it was started here, or is awaited.

        Raises:
            ExecutionNotFound: There is no such execution.

            StateMachineNotFound: There is no such state machine.
        """
        if machine is None:
            execution = await self.get_execution(id_or_name)
        else:
            owner = await machine_id(self.repository, "machine", machine)
            found = await self.repository.execution_by_name(owner, id_or_name)
            if found is None:
                raise ExecutionNotFound(f"there is no execution with the name {id_or_name!r} of this state machine")
            execution = found
        # Where it runs here, its end wakes the waiter; elsewhere storage is polled.
        return ExecutionHandle(self._services, execution, self.worker.running_here(execution.id))
