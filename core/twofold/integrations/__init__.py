"""What both framework adapters need."""
