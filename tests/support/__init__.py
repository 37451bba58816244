"""What the tests are built with: harnesses, doubles, programs that run in separate processes, and figures.

``pythonpath`` in pyproject.toml makes this package importable; no test module is imported by another.
"""
