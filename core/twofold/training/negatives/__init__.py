"""Hard negatives: mining and candidates."""
