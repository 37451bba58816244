"""The journal in front of storage: what executions have yet to write, group commits, and writes that storage delays."""
