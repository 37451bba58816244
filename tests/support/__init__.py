"""What the tests are built with: harnesses, doubles, programs that run in processes of their own, and figures.

``pythonpath`` in pyproject.toml makes this package importable; no test module is imported by another.
"""
