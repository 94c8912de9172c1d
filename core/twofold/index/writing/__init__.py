"""Writes to an index: planning, files, commits, maintenance."""
