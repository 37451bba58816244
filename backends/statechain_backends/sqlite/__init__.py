"""Storage in SQLite: one writer, readers beside it."""
