"""Storage in memory: the reference of the contract."""
