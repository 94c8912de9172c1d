"""The command line."""

from twofold.cli.app import app

__all__ = ["app"]
