"""The command line ``twofold``."""

from twofold.cli.app import app, main

__all__ = ["app", "main"]
