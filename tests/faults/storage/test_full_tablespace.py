"""PostgreSQL on a disk that is full: what was acknowledged stays, the rest waits, and goes on once there is room."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from statechain import Engine, ExecutionFilter, TaskRegistry
from support.postgres import Postgres, PrivateServer

pytestmark = pytest.mark.timeout(300)

EXECUTIONS = 400
PAYLOAD = random.Random(1).randbytes(20_000).hex()
"""Of all executions together, more than the small disk holds; it cannot be compressed."""

WORK = {"StartAt": "Work", "States": {"Work": {"Type": "Task", "Resource": "work", "End": True}}}


@pytest.fixture
def small_disk(postgres_server: Postgres) -> Iterator[Path]:
    """A file system of 16 MiB that belongs to the server's account."""
    if not isinstance(postgres_server, PrivateServer):
        pytest.skip("the server was not started here: it may not see this machine's disks")
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("only root mounts a file system")
    with TemporaryDirectory(prefix="statechain-") as parent:  # no folder of pytest's: they are for this user alone
        Path(parent).chmod(0o755)
        folder = Path(parent) / "disk"
        folder.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=False).returncode:
            pytest.skip("root may not mount here")
        try:
            shutil.chown(folder, postgres_server.account)
            yield folder
            postgres_server.execute("DROP DATABASE IF EXISTS cramped WITH (FORCE)")
            postgres_server.execute("DROP TABLESPACE IF EXISTS small")
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


async def test_a_full_disk_of_postgresql_is_a_pause(
    postgres_server: Postgres, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    postgres_server.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    postgres_server.execute("CREATE DATABASE cramped TABLESPACE small")
    tasks, acknowledged = TaskRegistry(), list[str]()

    @tasks.register("work")
    async def work(value: object) -> object:
        return value

    async with asyncio.timeout(100), Engine(postgres_server.url("cramped"), tasks=tasks) as engine:
        machine = await engine.create_state_machine("work", WORK)

        async def execute(number: int) -> None:
            acknowledged.append((await machine.execute([number, PAYLOAD], name=str(number))).id)

        with caplog.at_level(logging.WARNING, logger="statechain"):
            async with asyncio.TaskGroup() as group:
                for number in range(EXECUTIONS):
                    group.create_task(execute(number))
                while not any("disk is full" in message for message in caplog.messages):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                before = len(acknowledged)
                await asyncio.to_thread(enlarge, small_disk)
        assert before < EXECUTIONS
        succeeded = await engine.list_execution_ids(ExecutionFilter(status="SUCCEEDED"))
        assert sorted(succeeded) == sorted(acknowledged)
        assert len(succeeded) == EXECUTIONS
        for number in range(0, EXECUTIONS, 50):
            assert (await machine.execute([number, PAYLOAD], name=str(number))).output == [number, PAYLOAD]


def enlarge(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=512m", folder], check=True)
