"""Scripts of the benchmarks, each run in a separate process.

That is a fresh Python, whose memory and time are its own. Where a run shows only that all works, it is a fork of this
process, which has most of the library loaded: to import it takes longer than a tiny measurement.
"""

import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

FORKS = "STATECHAIN_BENCHMARKS_FORK"
"""The variable of the environment that asks for forks; scripts that run scripts hand it on."""


def run(script: Path, arguments: Sequence[str], *, shows_progress: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a script; return how it ended and what it printed. With ``shows_progress`` its stderr is ours."""
    if FORKS in os.environ:
        return _run_in_fork(script, arguments, shows_progress=shows_progress)
    stderr = None if shows_progress else subprocess.PIPE
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, check=False)


def _run_in_fork(script: Path, arguments: Sequence[str], *, shows_progress: bool) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, "stdout"), *([] if shows_progress else [Path(folder, "stderr")])]
        sys.stdout.flush()  # what waits there would be written by the fork as well
        fork = get_context("fork").Process(target=_call, args=(script, arguments, files))
        fork.start()
        fork.join()
        printed = [file.read_text() for file in files]
    return subprocess.CompletedProcess([str(script), *arguments], fork.exitcode or 0, *printed)


def _call(script: Path, arguments: Sequence[str], files: Sequence[Path]) -> None:
    for number, file in enumerate(files, start=1):
        with file.open("wb") as opened:
            os.dup2(opened.fileno(), number)
    sys.argv, sys.path[0] = [str(script), *arguments], str(script.parent)
    runpy.run_path(str(script), run_name="__main__")
