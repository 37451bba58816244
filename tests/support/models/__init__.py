"""Models of the protocols between workers, and searches through their states."""
