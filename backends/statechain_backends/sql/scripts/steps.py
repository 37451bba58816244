"""What a script is: a generator of statements with their parameters, which gets the rows of each and returns a result.

Both SQL backends run the same scripts, each in its own transaction and with its own driver.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeAlias

from sqlalchemy import Executable

from statechain_backends.sql.compiler import Parameters
from statechain_backends.sql.decoding import Row

__all__ = ["Script", "Steps"]

Script: TypeAlias = Generator[tuple[Executable, Parameters], Sequence[Row], object]
Steps: TypeAlias = Generator[tuple[Executable, Parameters], Sequence[Row], None]
"""A script, or a part of one, that returns nothing."""
