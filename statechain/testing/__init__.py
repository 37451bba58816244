"""For users' tests: virtual time, scripted handlers, single states, and the contract that every backend keeps."""

from typing import TYPE_CHECKING

from statechain.lazy import importer

if TYPE_CHECKING:
    from statechain.testing.clock import VirtualClock as VirtualClock
    from statechain.testing.contract.suite import RepositoryContract as RepositoryContract
    from statechain.testing.dispatching import DispatcherContract as DispatcherContract
    from statechain.testing.scripted import Call as Call
    from statechain.testing.scripted import Return as Return
    from statechain.testing.scripted import ScriptedTasks as ScriptedTasks
    from statechain.testing.scripted import Throw as Throw
    from statechain.testing.scripted import visited_states as visited_states
    from statechain.testing.single import StateResult as StateResult
    from statechain.testing.single import run_state as run_state
else:
    # What is asked for alone: the contract needs pytest and Hypothesis, the rest needs neither.
    __getattr__ = importer(
        __name__,
        {
            "Call": "statechain.testing.scripted",
            "DispatcherContract": "statechain.testing.dispatching",
            "RepositoryContract": "statechain.testing.contract.suite",
            "Return": "statechain.testing.scripted",
            "ScriptedTasks": "statechain.testing.scripted",
            "StateResult": "statechain.testing.single",
            "Throw": "statechain.testing.scripted",
            "VirtualClock": "statechain.testing.clock",
            "run_state": "statechain.testing.single",
            "visited_states": "statechain.testing.scripted",
        },
    )


__all__ = [
    "Call",
    "DispatcherContract",
    "RepositoryContract",
    "Return",
    "ScriptedTasks",
    "StateResult",
    "Throw",
    "VirtualClock",
    "run_state",
    "visited_states",
]
