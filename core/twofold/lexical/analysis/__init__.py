"""Analyzers: functions from text to terms."""
