"""The schema's version: what is stored, what this library needs, and the way from one to the other.

Opening storage costs one small query. Alembic is imported only where a schema must be created or upgraded; that
happens in one transaction under a lock of the database, so that any number of processes may try at once.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, column, select, table

from statechain.errors import RepositoryError

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["HEAD", "REVISIONS", "STORED_VERSION", "VERSION_TABLE", "alembic_config", "is_current", "upgrade"]

logger = logging.getLogger(__name__)

REVISIONS = (
    "0001",
    "0002",
    *(f"{number:04}_since_0002" for number in range(3, 10)),
)
"""Every revision in ``migrations/versions``, in order; Alembic is not asked, since it is not loaded."""

HEAD = REVISIONS[-1]
"""The revision that this library's tables have."""

SINCE = "_since_"
"""Between a revision's number and that of the oldest library that may use its schema."""

VERSION_TABLE = "statechain_version"

STORED_VERSION: Select[Any] = select(column("version_num")).select_from(table(VERSION_TABLE))
"""The revision that a database has; the table is missing where there is no schema yet."""

LOCKS = {
    "sqlite": "BEGIN EXCLUSIVE",
    "postgresql": "SELECT pg_advisory_xact_lock(hashtextextended('statechain_version', 0))",
}

_one_at_a_time = threading.Lock()  # Alembic keeps its context in globals


def is_current(stored: str | None) -> bool:
    """Return whether a schema of this revision (None: no schema) needs no upgrade; refuse one that is too new.

    A migration that only adds is named after the oldest revision whose library may go on beside it, such as
    ``0003_since_0002``: during a rolling upgrade old workers run, and start, on the new schema.
    """
    if stored is not None and stored < HEAD:
        if stored not in REVISIONS:
            raise RepositoryError(
                f"the database's schema has the version {stored!r}, which no release of statechain has made: was it "
                f"changed by hand? It is stored in the table {VERSION_TABLE}",
            )
        logger.warning(
            "the schema is upgraded from %s to %s; in a large database that takes minutes, and `statechain migrate` "
            "waits for it however long it takes",
            stored,
            HEAD,
        )
    if stored is None or stored <= HEAD:
        return stored == HEAD
    _, _, oldest = stored.partition(SINCE)
    if not oldest or oldest > HEAD:
        raise RepositoryError(
            f"the database has schema {stored}, and this statechain knows up to {HEAD}: upgrade statechain",
        )
    return True


def upgrade(connection: Connection) -> None:
    """Create or upgrade the schema in the connection's transaction, which the caller ends.

    Alembic is synchronous and takes its time: call it outside the event loop's thread.
    """
    with _one_at_a_time:
        from alembic import command  # noqa: PLC0415 -- half a second that only a new schema pays

        connection.exec_driver_sql(LOCKS[connection.dialect.name])
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def alembic_config() -> Config:
    """Return Alembic's configuration of the migrations; ``attributes["connection"]`` is where they run."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    folder = str(Path(__file__).with_name("migrations"))
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
