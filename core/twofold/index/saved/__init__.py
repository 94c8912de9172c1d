"""Saved search profiles and query adapters of an index."""
