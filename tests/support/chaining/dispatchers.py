"""Dispatchers that deliver nothing."""

from __future__ import annotations

from collections.abc import Sequence

from statechain.dispatchers.local import LocalDispatcher
from statechain.tickets import Ticket

__all__ = ["RecordingDispatcher"]


class RecordingDispatcher(LocalDispatcher):
    """Notes what it is sent, and delivers nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Ticket] = []

    async def dispatch(self, tickets: Sequence[Ticket]) -> None:
        self.sent += tickets
