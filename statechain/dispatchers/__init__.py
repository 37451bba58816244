"""Adapters of `Dispatcher` to existing engines, and how one is found by its name."""

from statechain.dispatchers.named import open_dispatcher

__all__ = ["open_dispatcher"]
