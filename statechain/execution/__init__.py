"""The run of one execution: states are performed, attempts retried, visits recorded and restored."""
