"""Tickets and a dispatcher that is away: its sender runs the shards then, and tries it again after an interval."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from statechain.chaining.shards.sending import TicketSender
from statechain.dispatchers.local import LocalDispatcher
from statechain.tickets import Ticket

TICKETS = [Ticket("batch", 0, 1), Ticket("batch", 1, 1)]


class Refusing(LocalDispatcher):
    """Refuses tickets while ``is_refusing``, and counts how often it was asked."""

    is_refusing = True
    asked = 0

    async def dispatch(self, tickets: Sequence[Ticket]) -> None:
        self.asked += 1
        if self.is_refusing:
            raise ConnectionError(len(tickets))


async def test_what_a_dispatcher_refuses_is_run_by_the_sender(caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = Refusing()
    sender = TicketSender(dispatcher, interval=3600.0)
    with caplog.at_level(logging.WARNING, logger="statechain"):
        assert await sender.send("batch", TICKETS) == TICKETS
        assert sender.is_away
        assert await sender.send("batch", TICKETS) == TICKETS
    assert dispatcher.asked == 1, "for an interval it is given none"
    assert [record.getMessage() for record in caplog.records] == [
        "the dispatcher takes no tickets, shards run without it: ConnectionError"
    ]


async def test_a_dispatcher_that_is_back_gets_all_tickets_that_can_be_claimed() -> None:
    dispatcher = Refusing()
    sender = TicketSender(dispatcher, interval=0.0)
    assert await sender.send("batch", TICKETS) == TICKETS
    dispatcher.is_refusing = False
    assert await sender.send("batch", TICKETS) == []
    assert not sender.is_away


async def test_a_ticket_that_led_to_nothing_within_an_interval_is_run_by_the_sender() -> None:
    dispatcher = Refusing()
    dispatcher.is_refusing = False
    sender = TicketSender(dispatcher, interval=0.0)
    assert await sender.send("batch", TICKETS) == []
    assert await sender.send("batch", TICKETS) == TICKETS
    assert await sender.send("batch", TICKETS[:1]) == TICKETS[:1]
    assert await sender.send("batch", TICKETS) == TICKETS[:1], "what was claimed meanwhile is sent anew"


async def test_within_an_interval_a_ticket_is_sent_once() -> None:
    dispatcher = Refusing()
    dispatcher.is_refusing = False
    sender = TicketSender(dispatcher, interval=3600.0)
    assert await sender.send("batch", TICKETS) == []
    assert await sender.send("batch", TICKETS) == []
    assert dispatcher.asked == 1
    sender.keep(["another"])
    assert await sender.send("batch", TICKETS) == []
    assert dispatcher.asked == 2, "the tickets of a batch that is forgotten are sent anew"


class Hanging(LocalDispatcher):
    """Never answers."""

    async def dispatch(self, tickets: Sequence[Ticket]) -> None:
        await asyncio.Event().wait()


async def test_what_a_dispatcher_does_not_accept_in_time_is_run_by_the_sender() -> None:
    sender = TicketSender(Hanging(), interval=0.01)
    assert await sender.send("batch", TICKETS) == TICKETS
    assert sender.is_away


async def test_a_ticket_is_lost_an_interval_after_it_was_sent_whatever_is_sent_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    dispatcher = Refusing()
    dispatcher.is_refusing = False
    sender = TicketSender(dispatcher, interval=10.0)
    assert await sender.send("batch", TICKETS[:1]) == []
    now = 6.0
    assert await sender.send("batch", TICKETS) == []
    now = 10.0
    assert await sender.send("batch", TICKETS) == TICKETS[:1]
    dispatcher.is_refusing = True
    now = 20.0
    assert await sender.send("batch", TICKETS) == TICKETS
    dispatcher.is_refusing = False
    now = 30.0
    assert await sender.send("batch", TICKETS) == TICKETS, "both were sent long ago"
    assert dispatcher.asked == 5, "after an interval it is asked again"
