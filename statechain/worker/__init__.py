"""The process that runs executions: supervisor, lease, recovery, slots, and what is running."""
