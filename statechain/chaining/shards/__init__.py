"""A worker's part of batches in shards: which it serves, when it looks for shards, those that it runs."""
