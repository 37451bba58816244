"""Harnesses of chaining: engines with a batch at work, callbacks that fail, and distributed Maps."""
