"""Suites that others made: executions recorded on AWS, the public JSONata suite, AWS's model of the service."""
