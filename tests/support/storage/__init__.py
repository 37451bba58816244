"""Harnesses of storage: journals whose commits wait, damaged rows, and a PgBouncer."""
