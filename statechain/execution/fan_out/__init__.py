"""Parallel and Map states: frames under one TaskGroup, and Map Runs whose items are separate executions."""
