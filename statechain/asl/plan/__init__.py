"""A machine, compiled: one callable per state, which answers what to do next."""
