"""Training of query adapters."""
