"""The command line ``twofold``."""

from twofold.cli.app import app

__all__ = ["app"]
