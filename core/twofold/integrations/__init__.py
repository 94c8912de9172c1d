"""Functions that both framework adapters share."""
