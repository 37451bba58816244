"""Options that several commands have, and what may be behind one."""
