"""Operators in files of their own: each takes the engine, to evaluate the parts of its node."""
