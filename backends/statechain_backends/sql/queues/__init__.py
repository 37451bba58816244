"""Limits of state machines: what is asked of queues, and how a claim chooses within them."""
