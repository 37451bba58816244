"""What storage keeps, as the library and its users see it: executions, batches, history events, and filters of them."""
