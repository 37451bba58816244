"""What the README and the docs show is true: their Python runs, their links lead somewhere."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from statechain import Engine, ExecutionFilter
from support.forked import run_program
from support.pages import LINK, PAGES, README, ROOT, blocks


def programs() -> list[object]:
    """Return the Python of every page of the docs: its blocks, in order, are one program."""
    pages = [page for page in PAGES if page != README and blocks(page, "python")]
    return [pytest.param("\n\n".join(blocks(page, "python")), id=str(page.relative_to(ROOT))) for page in pages]


def run(code: str, folder: Path) -> str:
    """Run a program in a folder; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_quick_start_runs_as_it_stands_and_again(tmp_path: Path) -> None:
    quick_start = blocks(README, "python")[0]
    lines = run(quick_start, tmp_path).splitlines()
    assert [line.split(" ", 2)[0] for line in lines] == ["0", "1", "2", "3", "4"]
    # the newest order comes first: it is the fifth, of five lamps at 9.5
    assert lines[0].endswith("{'invoice': 'INV-4', 'amount': 47.5}")
    assert lines[-1].endswith("{'invoice': 'INV-0', 'amount': 9.5}")
    assert (tmp_path / "shop.db").exists()
    assert run(quick_start, tmp_path).splitlines() == lines


def test_the_program_of_the_landing_page_is_short_and_finds_what_it_stored(tmp_path: Path) -> None:
    (program,) = blocks(ROOT / "docs" / "index.md", "python")
    assert len([line for line in program.splitlines() if line]) <= 10
    assert run(program, tmp_path) == "Hi, Ann\n"
    handler = 'f"Hi, {name}"'
    assert handler in program
    assert run(program.replace(handler, "1 / 0"), tmp_path) == "Hi, Ann\n"


@pytest.mark.parametrize("program", programs())
def test_the_python_of_a_page_runs(program: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "page.py").write_text(program)
    done = run_program(tmp_path / "page.py", folder)
    assert done.returncode == 0, done.stderr


TOLD_TO_STOP = """
import os

async def be_told():
    async with Engine(URL, tasks=handlers(seconds=1)) as engine:
        await (await engine.get_state_machine("nightly")).start_execution(3)
        assert await left(engine, "nightly") == {1: 1}
    asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
    await serve()
    print("left in order")

asyncio.run(be_told())
"""


async def test_the_tutorials_program_resumes_an_order_that_a_kill_interrupted(tmp_path: Path) -> None:
    program = "\n\n".join(blocks(ROOT / "docs" / "tutorial.md", "python"))
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-c", program, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert killed.stdout is not None
        await killed.stdout.readuntil(b"order-1 ")  # order-2 is next: it waits for a second
        async with Engine(url, recovery=False) as engine, asyncio.timeout(30):
            packing = ExecutionFilter(status="RUNNING", current_state="Pack")
            while not (found := await engine.list_executions(packing)):  # noqa: ASYNC110 -- another process runs it
                await asyncio.sleep(0.01)
    finally:
        killed.kill()
        await killed.wait()
    await asyncio.to_thread(run, program, tmp_path)
    async with Engine(url, recovery=False) as engine:
        ended = await (await engine.get_handle(found[0].name, machine="orders")).wait()
        types = [event["type"] for event in await engine.get_execution_history(ended.id)]
    assert (ended.id, ended.status) == (found[0].id, "SUCCEEDED")
    assert types.count("TaskStarted") == types.count("WaitStateEntered") == types.count("WaitStateExited") == 1


def test_what_the_deploy_page_only_defines_does_what_it_says(tmp_path: Path) -> None:
    page = "\n\n".join(blocks(ROOT / "docs" / "how-to" / "deploy.md", "python"))
    assert run(page + TOLD_TO_STOP, tmp_path) == "left in order\n"


def test_the_readme_names_two_commands() -> None:
    shell = [code.strip() for code in blocks(README, "sh")]
    assert [code for code in shell if "examples/batch_chained_execution.py" in code]
    assert [code for code in shell if "/pytest" in code]
    text = README.read_text()
    assert text.count("<!-- command: ") == 2


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("[CS]*.md")], ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_in_code_type_exist(page: Path) -> None:
    text = page.read_text().partition("## [0.1.0]")[0]  # what older versions of the changelog name may be gone
    for found in re.finditer(r"`((?:\.github|backends|benchmarks|docs|examples|statechain|tests)/[\w./-]*\w)/?`", text):
        assert (ROOT / found[1]).exists(), f"{page.name} names {found[1]}"


def test_the_architecture_names_each_room_and_its_modules() -> None:
    library = ROOT / "statechain"
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `([\w/]+)/` \| (.+) \|$", text, flags=re.MULTILINE)
    for room, what in rows:
        folder = next(each / room for each in (library, ROOT / "backends") if (each / room).is_dir())
        for name in re.findall(r"`([a-z_]+)/?`", what):
            assert [*folder.rglob(f"{name}.py"), *folder.rglob(f"{name}/__init__.py")], f"{room} has no {name}"
    rooms = {str(path.parent.relative_to(library)) for path in library.glob("*/__init__.py")}
    assert rooms <= {room for room, _ in rows}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for found in LINK.finditer(page.read_text()):
        target = found["target"].partition("#")[0]
        if target and "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
