"""A Python that has the library loaded: programs of the tests are forks of it, and start in milliseconds."""
