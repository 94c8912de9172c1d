"""Training data: examples, readers, clicks, synthetic queries, splits."""
