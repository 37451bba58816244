"""The chain: finished executions → new executions."""
