"""The command line: ``statechain``, or ``python -m statechain``. Its libraries come with the extra ``cli``."""

from __future__ import annotations

import logging
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line on this process's arguments, and leave with its exit code."""
    try:
        from statechain.cli.app import cli  # noqa: PLC0415 -- its libraries may be missing
        from statechain.cli.terminal import prepare_streams  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"click", "rich"}:
            raise
        sys.stderr.write(f"statechain: the command line needs {error.name}: pip install 'statechain[cli]'\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:  # to load it takes a moment
        raise SystemExit(130) from None
    # Warnings of the backends are for workers; a command would repeat them each time.
    logging.getLogger("statechain_backends").setLevel(logging.ERROR)
    # That a schema is upgraded is the exception: it is why a command takes long.
    logging.getLogger("statechain_backends.sql.schema.migrate").setLevel(logging.WARNING)
    prepare_streams()  # before a wrong option, or --help, is answered
    cli(prog_name="statechain")
