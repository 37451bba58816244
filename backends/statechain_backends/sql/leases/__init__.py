"""Leases of workers in SQL: what is read, and the scripts that renew and release them."""
