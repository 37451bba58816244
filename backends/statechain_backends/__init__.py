"""Storage for statechain: each module implements `statechain.storage.repository` on one technology."""

from typing import TYPE_CHECKING

from statechain.lazy import importer

if TYPE_CHECKING:
    from statechain_backends.memory.repository import MemoryRepository as MemoryRepository
    from statechain_backends.postgres.repository import PostgresRepository as PostgresRepository
    from statechain_backends.sqlite.repository import SQLiteRepository as SQLiteRepository
else:
    # A backend brings its driver.
    __getattr__ = importer(
        __name__,
        {
            "MemoryRepository": "statechain_backends.memory.repository",
            "PostgresRepository": "statechain_backends.postgres.repository",
            "SQLiteRepository": "statechain_backends.sqlite.repository",
        },
    )

__all__ = ["MemoryRepository", "PostgresRepository", "SQLiteRepository"]
