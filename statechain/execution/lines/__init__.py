"""Lines: plain states of one execution, one after the other, from write to write or with nothing kept of a visit."""
