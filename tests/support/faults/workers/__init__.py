"""The worker processes of the fault harnesses, one program a file."""
