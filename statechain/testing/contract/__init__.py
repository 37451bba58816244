"""The contract of `Repository`, as test classes to inherit."""
