"""Storage for statechain: each module implements `statechain.storage.repository` on one technology."""

from typing import TYPE_CHECKING

from statechain.lazy import importer

if TYPE_CHECKING:
    from statechain_backends.memory import MemoryRepository as MemoryRepository
    from statechain_backends.postgres import PostgresRepository as PostgresRepository
    from statechain_backends.sqlite import SQLiteRepository as SQLiteRepository
else:
    # A backend brings its driver.
    __getattr__ = importer(
        __name__,
        {
            "MemoryRepository": "statechain_backends.memory",
            "PostgresRepository": "statechain_backends.postgres",
            "SQLiteRepository": "statechain_backends.sqlite",
        },
    )

__all__ = ["MemoryRepository", "PostgresRepository", "SQLiteRepository"]
