"""The contract of claims: which worker runs what, under leases, limits, shards and suspicion."""
