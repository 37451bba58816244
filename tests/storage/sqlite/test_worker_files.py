"""The files by whose locks workers on one SQLite database are known to be alive: one for each, whatever its id."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from statechain import SQLiteRepository

LEASE = timedelta(minutes=1)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks: leases alone decide there")


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("\nb", "\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}"),
        ("\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}c", "\N{GUJARATI SIGN NUKTA}"),
        ("/f", "%2ff"),
        ("\u0101", "\x101"),
        ("x" * 300, "x" * 301),
        ("\udc80" * 99, "\udc81" * 99),
    ],
    ids=["short and long codes", "printable ones", "an escape", "a wide code", "long ids", "no Unicode text"],
)
async def test_the_death_of_a_worker_is_not_taken_for_that_of_another(sqlite_url: str, one: str, another: str) -> None:
    async with SQLiteRepository(sqlite_url) as living:
        async with SQLiteRepository(sqlite_url) as dying:
            await living.renew_lease(one, LEASE)
            await dying.renew_lease(another, LEASE)
            assert not any(each.is_dead for each in await living.workers())
        dead = [each for each in await living.workers() if each.is_dead]
        assert len(dead) == 1
        assert await living.release_dead(dead) == [dead[0].worker_id]
        assert await living.renew_lease(one, LEASE)
        assert not await living.renew_lease(another, LEASE)
