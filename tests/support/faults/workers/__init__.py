"""The worker processes of the harnesses of failures, one program a file."""
