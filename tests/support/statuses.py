"""The statuses of executions, under short names."""

from statechain import ExecutionStatus

__all__ = ["ABORTED", "FAILED", "RUNNING", "SUCCEEDED"]

RUNNING = ExecutionStatus.RUNNING
SUCCEEDED = ExecutionStatus.SUCCEEDED
FAILED = ExecutionStatus.FAILED
ABORTED = ExecutionStatus.ABORTED
