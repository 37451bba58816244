"""What the benchmarks share: the command line, machines and their sources, turns, processor time."""
