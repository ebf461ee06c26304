"""Baselines: what repeated loads measured, kept in a file, and compared with one another."""
