"""The seam to storage: the protocol, the journal in front of it, and what a URL means."""
