"""Analyzers: text to terms."""
