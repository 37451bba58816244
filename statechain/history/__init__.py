"""Stored visits → AWS's events, at read time."""
