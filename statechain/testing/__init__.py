"""For users' tests: virtual time, scripted handlers, single states, and the contract that every backend keeps."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statechain.testing.clock import VirtualClock as VirtualClock
    from statechain.testing.contract import RepositoryContract as RepositoryContract
    from statechain.testing.scripted import Call as Call
    from statechain.testing.scripted import Return as Return
    from statechain.testing.scripted import ScriptedTasks as ScriptedTasks
    from statechain.testing.scripted import Throw as Throw
    from statechain.testing.scripted import visited_states as visited_states
    from statechain.testing.single import StateResult as StateResult
    from statechain.testing.single import run_state as run_state
else:
    _LAZY = {
        "Call": "scripted",
        "RepositoryContract": "contract",
        "Return": "scripted",
        "ScriptedTasks": "scripted",
        "StateResult": "single",
        "Throw": "scripted",
        "VirtualClock": "clock",
        "run_state": "single",
        "visited_states": "scripted",
    }

    def __getattr__(name: str) -> object:
        """Import what is asked for alone: the contract needs pytest and Hypothesis, the rest needs neither."""
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 -- only here is it needed

        return getattr(import_module(f"statechain.testing.{_LAZY[name]}"), name)


__all__ = [
    "Call",
    "RepositoryContract",
    "Return",
    "ScriptedTasks",
    "StateResult",
    "Throw",
    "VirtualClock",
    "run_state",
    "visited_states",
]
