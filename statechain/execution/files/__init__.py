"""Where a distributed Map reads its items and writes its results: files, by format."""
