"""Ray for tests: a cluster of this machine, and what its actors import."""
