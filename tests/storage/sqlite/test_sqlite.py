"""What is special to SQLite: durability, one writer beside readers, locks that die with their process, its refusals."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from statechain import ExecutionFilter, RepositoryError, SQLiteRepository
from statechain.errors import RepositoryUnavailable
from statechain.records.queues import MachineLimits
from statechain.storage.repository import LimitStateMachine, StartExecution
from statechain.testing import RepositoryContract
from statechain.testing.contract.samples import bury, commit, execution, finish, start
from statechain_backends.sqlite import repository as sqlite
from statechain_backends.sqlite import workers as sqlite_workers

LEASE = timedelta(seconds=30)


@pytest.mark.slow
class TestInMemory(RepositoryContract):
    """A private database keeps the contract, too; what it has, it keeps for when it is entered again."""

    @pytest_asyncio.fixture
    async def repository(self, copied_schema: None) -> AsyncIterator[SQLiteRepository]:
        async with SQLiteRepository("sqlite://") as repository:
            yield repository


DIE_RUNNING = """
import asyncio, os, sys
from datetime import timedelta
from statechain import SQLiteRepository
from statechain.testing.contract.samples import start

async def main():
    async with SQLiteRepository(sys.argv[1]) as repository:
        await repository.renew_lease("doomed", timedelta(hours=1))
        await start(repository, owner="doomed")
        print("running", flush=True)
        sys.stdin.readline()
        os._exit(9)

asyncio.run(main())
"""


def path_of(url: str) -> str:
    return url.removeprefix("sqlite:///")


@pytest.mark.parametrize(("option", "level"), [("", 2), ("?synchronous=full", 2), ("?synchronous=normal", 1)])
async def test_commits_are_durable_unless_the_url_says_otherwise(sqlite_url: str, option: str, level: int) -> None:
    async with SQLiteRepository(sqlite_url + option) as repository:
        pragma = await repository._writer.run(lambda each: each.execute("PRAGMA synchronous").fetchone())
        mode = await repository._writer.run(lambda each: each.execute("PRAGMA journal_mode").fetchone())
    assert (pragma, mode) == ((level,), ("wal",))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://host/shop.db", "names no host"),
        ("sqlite:///shop\0.db", "no null character"),
        ("sqlite:///shop%00.db", "no null character"),
        ("sqlite:///shop.db?mode=ro", "no option 'mode'"),
        ("sqlite:///shop.db?synchronous=sometimes", "full, normal, extra, off"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SQLiteRepository(url)


def test_it_says_where_it_is() -> None:
    assert repr(SQLiteRepository("sqlite:////srv/shop%20one.db")) == "<SQLiteRepository /srv/shop one.db>"
    assert repr(SQLiteRepository("sqlite://")) == repr(SQLiteRepository("sqlite:///:memory:"))


async def test_private_databases_are_private_and_take_readers_at_once() -> None:
    async with SQLiteRepository("sqlite://") as one, SQLiteRepository("sqlite://") as other:
        made = [await finish(one) for _ in range(3)]
        pages = await asyncio.gather(*(one.executions(ExecutionFilter(), after=None, page=9) for _ in range(20)))
        assert all(len(page) == len(made) for page in pages)
        assert await other.count_executions(ExecutionFilter()) == 0


async def test_readers_go_on_while_another_process_writes(sqlite_url: str) -> None:
    async with SQLiteRepository(sqlite_url) as repository:
        made = await start(repository)
        holder = sqlite3.connect(path_of(sqlite_url), isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(start(repository))
        async with asyncio.timeout(10):
            assert await repository.execution(made.id) == made
        assert not waiting.done()
        holder.execute("ROLLBACK")
        holder.close()
        assert await repository.execution((await waiting).id) is not None


async def test_a_lock_that_is_never_given_up_is_an_outage(sqlite_url: str) -> None:
    async with SQLiteRepository(sqlite_url) as repository:
        await repository._writer.run(lambda each: each.execute("PRAGMA busy_timeout = 50").fetchone())
        holder = sqlite3.connect(path_of(sqlite_url), isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(RepositoryUnavailable, match="locked") as caught:
            await start(repository)
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        holder.close()
        await start(repository)


async def test_a_full_disk_is_an_outage_and_loses_nothing(sqlite_url: str) -> None:
    async with SQLiteRepository(sqlite_url) as repository:
        kept = await start(repository)
        await repository._writer.run(lambda each: each.execute("PRAGMA max_page_count = 1").fetchone())
        big = execution(input_text='"' + "x" * 1_000_000 + '"')
        with pytest.raises(RepositoryUnavailable, match="disk is full"):
            await commit(repository, StartExecution(execution=big, owner=None))
        assert await repository.execution(big.id) is None
        await repository._writer.run(lambda each: each.execute("PRAGMA max_page_count = 1000000").fetchone())
        await commit(repository, StartExecution(execution=big, owner=None))
        found = await repository.executions(ExecutionFilter(), after=None, page=9)
        assert {each.id for each in found} == {kept.id, big.id}


async def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="folder must exist"):
        await SQLiteRepository(f"sqlite:///{tmp_path}/nowhere/shop.db").__aenter__()
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(RepositoryError, match="no SQLite database"):
        await SQLiteRepository(f"sqlite:///{tmp_path}/letter.txt").__aenter__()


async def test_cancelled_reads_leave_every_connection_fit(sqlite_url: str) -> None:
    async with SQLiteRepository(sqlite_url) as repository:
        made = await start(repository)
        for delay in range(40):
            read = asyncio.create_task(repository.execution(made.id))
            for _ in range(delay % 5):
                await asyncio.sleep(0)
            read.cancel()
            await asyncio.wait([read])
        assert not repository._reads
        assert await asyncio.gather(*(repository.execution(made.id) for _ in range(9))) == [made] * 9


async def test_reads_under_way_are_answered_before_it_is_closed(sqlite_url: str) -> None:
    async with SQLiteRepository(sqlite_url) as repository:
        made = await start(repository)
        reads = [asyncio.create_task(repository.execution(made.id)) for _ in range(sqlite.READERS * 3)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*reads) == [made] * len(reads)


async def test_a_lease_is_renewed_from_another_event_loop_while_this_one_writes(sqlite_url: str) -> None:
    async with SQLiteRepository(sqlite_url) as repository:

        async def beat() -> None:
            async with repository.lease_renewer("worker", LEASE) as renewer:
                for _ in range(20):
                    await renewer.renew()

        beats = asyncio.create_task(asyncio.to_thread(asyncio.run, beat()))
        made = [await start(repository, owner="worker") for _ in range(20)]
        await beats
        assert len({each.id for each in made}) == 20
        assert await repository.claim("other", page=99) == []


async def test_the_driver_logs_no_payload(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with SQLiteRepository(sqlite_url) as repository:
            made = execution(input_text='"a secret"')
            await commit(repository, StartExecution(execution=made, owner=None))
            assert await repository.execution(made.id) == made
    assert caplog.records
    assert "secret" not in caplog.text


async def test_what_a_dead_process_owned_is_claimable_at_once(sqlite_url: str) -> None:
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    doomed = await asyncio.create_subprocess_exec(sys.executable, "-c", DIE_RUNNING, sqlite_url, **pipes)
    assert doomed.stdout is not None
    assert await doomed.stdout.readline() == b"running\n"
    async with SQLiteRepository(sqlite_url) as repository:
        await repository.renew_lease("heir", LEASE)
        assert await repository.claim("heir", page=9) == []
        await doomed.communicate(b"\n")
        assert doomed.returncode == 9
        (dead,) = [lease for lease in await repository.workers() if lease.is_dead]
        assert list(await repository.release_dead([dead])) == ["doomed"]
        (claim,) = await repository.claim("heir", page=9)
        assert (claim.epoch, claim.claims) == (2, 0)
        assert await repository.claim("heir", page=9) == []


async def test_files_of_dead_workers_are_removed_also_when_their_leases_are_over(sqlite_url: str) -> None:
    def files() -> list[str]:
        return sorted(path.name for path in Path(f"{path_of(sqlite_url)}-workers").iterdir())

    async with SQLiteRepository(sqlite_url) as first, SQLiteRepository(sqlite_url) as second:
        await first.renew_lease("brief", timedelta(0))
        await first.renew_lease("lasting", LEASE)
        await second.renew_lease("second", LEASE)
        await second.workers()
        assert files() == ["brief", "lasting", "second"]
        await first.__aexit__(None, None, None)
        await second.release_dead([lease for lease in await second.workers() if lease.is_dead])
        assert files() == ["second"]
        await second.release("second")
    assert files() == []


async def test_an_owner_without_a_lease_is_dead_at_once_unless_a_process_holds_its_lock(sqlite_url: str) -> None:
    async with SQLiteRepository(sqlite_url) as first, SQLiteRepository(sqlite_url) as second:
        await first.renew_lease("alive", LEASE)
        for owner in ("alive", "gone"):
            await start(first, owner=owner)
        with closing(sqlite3.connect(path_of(sqlite_url))) as connection, connection:
            connection.execute("DELETE FROM workers")
        for each in (first, second):
            assert {lease.worker_id: lease.is_dead for lease in await each.strays()} == {"alive": False, "gone": True}
    async with SQLiteRepository(sqlite_url) as third:
        assert all(lease.is_dead for lease in await third.strays())


async def test_a_closed_repository_gives_up_its_workers(sqlite_url: str) -> None:
    async with SQLiteRepository(sqlite_url) as first:
        await first.renew_lease("first", LEASE)
        made = await start(first, owner="first")
        async with SQLiteRepository(sqlite_url) as second:
            assert [lease.is_dead for lease in await second.workers()] == [False]
    async with SQLiteRepository(sqlite_url) as second:
        await bury(second, "first")
        assert [claim.execution.id for claim in await second.claim("second", page=9)] == [made.id]


@pytest.mark.parametrize(
    ("version", "is_told"),
    [
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 1), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
    ],
)
async def test_an_unsound_sqlite_is_told_once_a_file_where_others_are_at_work(
    sqlite_url: str,
    version: tuple[int, ...],
    is_told: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sqlite_workers, "_warned", set())
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    caplog.set_level(logging.WARNING, sqlite_workers.logger.name)
    async with SQLiteRepository(sqlite_url) as first, SQLiteRepository(sqlite_url) as second:
        await first.renew_lease("first", LEASE)
        await first.workers()
        await second.renew_lease("gone", LEASE)
        await second.__aexit__(None, None, None)
        await first.workers()
        assert caplog.records == []
        async with second:
            await second.renew_lease("second", LEASE)
            for repository in (first, second, first):
                await repository.workers()
    assert len(caplog.records) == is_told
    assert path_of(sqlite_url) in caplog.text or not is_told


async def test_alone_in_memory_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2))
    async with SQLiteRepository("sqlite://") as repository:
        for worker in ("one", "other"):
            await repository.renew_lease(worker, LEASE)
            await repository.claim(worker, page=9)
    assert [record for record in caplog.records if record.name.startswith("statechain")] == []


async def test_a_closed_repository_says_so(sqlite_url: str) -> None:
    async with SQLiteRepository(sqlite_url) as repository:
        renewer = repository.lease_renewer("worker", LEASE)
    for call in (repository.commit([]), renewer.renew(), repository.release("worker"), repository.state_machines()):
        with pytest.raises(RepositoryError, match="not open"):
            await call
    assert sorted(path.name for path in Path(path_of(sqlite_url)).parent.iterdir()) == ["statechain.db"]


async def syncs(repository: SQLiteRepository, act: Awaitable[object]) -> list[str]:
    """Return what an action set of syncing, and when it committed."""
    seen: list[str] = []

    def note(statement: str) -> None:
        if statement.startswith("PRAGMA synchronous=") or statement == "COMMIT":
            seen.append(statement)

    await repository._writer.run(lambda connection: connection.set_trace_callback(note))
    await act
    await repository._writer.run(lambda connection: connection.set_trace_callback(None))
    return seen


async def test_a_claim_does_not_wait_for_the_disk_unless_a_machine_has_limits(sqlite_url: str) -> None:
    async with SQLiteRepository(sqlite_url) as repository:
        made = execution()
        await commit(repository, StartExecution(execution=made, owner=None))
        claiming = await syncs(repository, repository.claim("one", page=9))
        assert claiming == ["PRAGMA synchronous=1", "COMMIT", "PRAGMA synchronous=2"]
        assert list(await repository.owned("one")) == [made.id]
        limits = MachineLimits(max_concurrency=1)
        await commit(repository, LimitStateMachine(state_machine_id=made.state_machine_id, limits=limits))
        assert await syncs(repository, repository.claim("one", page=9)) == ["COMMIT"]


@pytest.mark.parametrize("worker_id", ["w" * 10_000, "ü/%.." * 100], ids=["long", "odd"])
async def test_a_worker_may_have_an_id_of_any_length(tmp_path: Path, worker_id: str) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    async with SQLiteRepository(url) as repository, SQLiteRepository(url) as other:
        await repository.renew_lease(worker_id, LEASE)
        await other.renew_lease(f"{worker_id}2", LEASE)
        assert {each.worker_id for each in await repository.workers()} == {worker_id, f"{worker_id}2"}
        await repository.release(worker_id)
        assert [each.worker_id for each in await other.workers()] == [f"{worker_id}2"]


async def test_an_opening_that_fails_while_it_is_cancelled_gives_the_cancellation_its_cause(tmp_path: Path) -> None:
    opening = asyncio.ensure_future(SQLiteRepository(f"sqlite:///{tmp_path / 'nowhere' / 'shop.db'}").__aenter__())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await opening
    # So it is shown, and asyncio does not log that nothing retrieved it.
    assert isinstance(cancelled.value.__cause__, RepositoryError)
