"""One module for each command, or for a group of commands about the same thing."""
