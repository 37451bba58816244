"""The contract of visits: what executions leave behind, and how it is read."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

from typing import Any

import pytest

from statechain.codec import encode
from statechain.storage.outlines import SHORT_DETAIL, outline
from statechain.storage.repository import Repository
from statechain.testing.contract.samples import advance, commit, ending, moment, start, visit

__all__ = ["VisitContract"]

FRAMES: list[dict[str, Any]] = [
    {"frame": "Fanout[0]/Each~1[17]"},
    {"exited": None, "output": None, "next": None, "detail": '{"until":"2026-03-01T12:00:00Z"}'},
    {"output": None, "error": "States.Timeout", "cause": "late"},
    {"output": None, "error": "", "cause": ""},
    {"state": "Prüfe 🦀", "type": "Map", "next": None},
    {"entered": moment(0.000001), "exited": moment(0.000002), "entered_event": 24_999, "exited_event": 0},
]

OUTLINED: list[dict[str, Any]] = [*FRAMES, {"output": "null"}, {"detail": "{}"}, {"detail": None}, {}]


class VisitContract:
    """What executions leave behind, and how it is read."""

    @pytest.mark.parametrize("fields", FRAMES)
    async def test_every_field_of_a_visit_comes_back(self, repository: Repository, fields: dict[str, Any]) -> None:
        made = await start(repository)
        stored = visit(made, **fields)
        await commit(repository, advance(made, stored))
        assert list(await repository.visits(made.id)) == [stored]

    async def test_a_waiting_row_stays_before_the_row_of_its_exit(self, repository: Repository) -> None:
        made = await start(repository)
        rows = [visit(made, exited=None, output=None, next=None, exited_event=0), visit(made)]
        await commit(repository, advance(made, rows[0]))
        await commit(repository, advance(made, rows[1], seq=1))
        assert list(await repository.visits(made.id)) == rows

    @pytest.mark.parametrize(
        ("after", "page"), [(0, None), (0, 3), (3, 3), (6, 3), (9, 3), (10, 3), (99, 3), (4, None), (0, 100)]
    )
    async def test_visits_page(self, repository: Repository, after: int, page: int | None) -> None:
        made = await start(repository)
        visits = [visit(made, number) for number in range(10)]
        await commit(repository, advance(made, *visits))
        expected = visits[after:] if page is None else visits[after : after + page]
        assert list(await repository.visits(made.id, after=after, page=page)) == expected

    @pytest.mark.parametrize(("after", "page"), [(0, 3), (3, 3), (6, 9), (10, 3), (0, 100)])
    async def test_outlines_page_as_the_visits_do(self, repository: Repository, after: int, page: int) -> None:
        made = await start(repository)
        rows = [visit(made, number, **fields) for number, fields in enumerate(OUTLINED)]
        await commit(repository, advance(made, *rows))
        expected = [outline(row, place) for place, row in enumerate(rows, 1)][after : after + page]
        assert list(await repository.visit_outlines(made.id, after=after, page=page)) == expected
        assert list(await repository.visit_outlines("nowhere", page=3)) == []

    async def test_a_long_detail_and_an_output_are_not_part_of_an_outline(self, repository: Repository) -> None:
        made = await start(repository)
        # As JSON strings: their two quotes count.
        short, long = encode("x" * (SHORT_DETAIL - 2)), encode("x" * (SHORT_DETAIL - 1))
        await commit(repository, advance(made, visit(made, 0, detail=short), visit(made, 1, detail=long)))
        outlines = await repository.visit_outlines(made.id, page=10)
        assert [(each.has_output, each.has_detail, each.detail) for each in outlines] == [
            (True, True, short),
            (True, True, None),
        ]

    async def test_visits_are_read_by_their_places(self, repository: Repository) -> None:
        made, other = await start(repository), await start(repository)
        rows = [visit(made, number, **fields) for number, fields in enumerate(OUTLINED)]
        await commit(repository, advance(made, *rows))
        await commit(repository, advance(other, visit(other)))
        assert dict(await repository.visits_at(made.id, [7, 2])) == {2: rows[1], 7: rows[6]}
        assert dict(await repository.visits_at(made.id, range(-1, 1000))) == dict(enumerate(rows, 1))
        assert dict(await repository.visits_at(made.id, [])) == {}
        assert dict(await repository.visits_at("nowhere", [1])) == {}

    async def test_executions_do_not_share_visits(self, repository: Repository) -> None:
        one, two = await start(repository), await start(repository)
        await repository.commit([advance(one, visit(one)), advance(two, visit(two), visit(two, 1))])
        assert list(await repository.visits(one.id)) == [visit(one)]
        assert len(await repository.visits(two.id)) == 2
        assert list(await repository.visits("nowhere")) == []

    async def test_the_last_output_of_a_state(self, repository: Repository) -> None:
        made, another = await start(repository), await start(repository)
        await commit(
            repository,
            advance(
                made,
                visit(made, 0, state="Price", output="1"),
                # The last in order that has an output, in any frame: failures and waits have none.
                visit(made, 1, state="Price", frame="Fanout[1]", output="2"),
                visit(made, 2, state="Price", output=None, error="Card.Declined"),
                visit(made, 3, state="Price", output=None, exited=None),
                visit(made, 4, state="price", output="3"),
                visit(made, 5, state="Bill", output=None, error="Card.Declined"),
            ),
        )
        await commit(repository, advance(another, visit(another, state="Price", output="4")))
        assert await repository.last_output(made.id, "Price") == "2"
        assert await repository.last_output(made.id, "price") == "3"
        assert await repository.last_output(made.id, "Bill") is None
        assert await repository.last_output(made.id, "Pric") is None
        assert await repository.last_output("nowhere", "Price") is None

    async def test_the_last_output_follows_the_execution(self, repository: Repository) -> None:
        made = await start(repository)
        for number in range(3):
            await commit(repository, advance(made, visit(made, number, state="Loop"), seq=number))
            assert await repository.last_output(made.id, "Loop") == f"[{number}]"

    async def test_a_null_output_is_an_output(self, repository: Repository) -> None:
        made = await start(repository)
        outputs = [visit(made, 0, state="S", output="1"), visit(made, 1, state="S", output="null")]
        await commit(repository, advance(made, *outputs))
        assert await repository.last_output(made.id, "S") == "null"

    async def test_what_was_returned_before_does_not_change(self, repository: Repository) -> None:
        made = await start(repository)
        # Records are values: a backend in memory must not hand out the lists that it goes on writing to.
        before, visits = await repository.execution(made.id), await repository.visits(made.id)
        await commit(repository, advance(made, visit(made), end=ending()))
        assert before == made
        assert list(visits) == []
