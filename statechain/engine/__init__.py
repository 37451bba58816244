"""The public face: `Engine`, its state machines, and the handles of their executions."""
