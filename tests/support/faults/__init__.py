"""Harnesses of failures: workloads, what goes wrong with them, what must hold afterwards, and the worker processes."""
