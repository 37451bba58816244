"""Storage in PostgreSQL, through asyncpg."""
