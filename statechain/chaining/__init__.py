"""The chain: finished executions become the inputs of new ones."""
