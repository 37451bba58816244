"""What a state computes: paths, JSONata, intrinsic functions, payload templates, Choice rules → functions."""
