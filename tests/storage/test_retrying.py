"""How long to wait before storage is asked again: longer each time, up to a bound, and not in step with others."""

from __future__ import annotations

import asyncio
import random
from itertools import islice

import pytest

from statechain.errors import RepositoryError, RepositoryUnavailable
from statechain.storage.retrying import backoff_delays, polling_delays, retry_while_unavailable


@pytest.fixture
def without_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _shortest, longest: longest)


@pytest.mark.usefixtures("without_jitter")
def test_delays_are_doubled_up_to_the_longest() -> None:
    assert list(islice(backoff_delays(1, 7), 6)) == [1, 2, 4, 7, 7, 7]
    assert list(islice(backoff_delays(), 9)) == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]


@pytest.mark.usefixtures("without_jitter")
def test_polls_are_a_fiftieth_of_the_time_waited_apart_within_their_bounds() -> None:
    delays = list(islice(polling_delays(1, 2), 200))
    assert delays[:51] == [1] * 51
    assert delays[51:54] == pytest.approx([1.02, 1.0404, 1.061208])
    assert delays[-1] == 2
    assert delays == sorted(delays)
    by_default = list(islice(polling_delays(), 200))
    assert (by_default[0], by_default[-1]) == (0.1, 0.5)


def test_delays_are_shortened_by_up_to_a_half_so_that_many_do_not_ask_in_step() -> None:
    for delays in (backoff_delays, polling_delays):
        drawn = [next(delays(2, 8)) for _ in range(500)]
        assert all(1 <= delay <= 2 for delay in drawn)
        assert min(drawn) < 1.1
        assert max(drawn) > 1.9


async def test_a_read_is_repeated_while_storage_is_away_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([RepositoryUnavailable("away"), RepositoryUnavailable("away"), "found", RepositoryError("damaged")])
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def read() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert await retry_while_unavailable(read) == "found"
    assert 0 < slept[0] < slept[1] * 2
    with pytest.raises(RepositoryError, match="damaged"):
        await retry_while_unavailable(read)
    assert len(slept) == 2
