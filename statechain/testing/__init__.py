"""For users' tests: virtual time, and the contract that every storage backend keeps."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statechain.testing.clock import VirtualClock as VirtualClock
    from statechain.testing.contract import RepositoryContract as RepositoryContract
else:
    _LAZY = {"RepositoryContract": "contract", "VirtualClock": "clock"}

    def __getattr__(name: str) -> object:
        """Import what is asked for alone: the contract needs pytest and Hypothesis, the clock needs neither."""
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 -- only here is it needed

        return getattr(import_module(f"statechain.testing.{_LAZY[name]}"), name)


__all__ = ["RepositoryContract", "VirtualClock"]
