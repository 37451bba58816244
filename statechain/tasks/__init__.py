"""Calling a Task: the registry, typed handlers, services, task tokens, activities, child executions."""
