"""Definitions on the command line: read from files, checked, shown with their errors, made machines of."""
