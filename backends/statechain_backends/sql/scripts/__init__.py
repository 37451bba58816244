"""Writes as scripts: what each asks of the tables, step by step, for whichever driver runs it."""
