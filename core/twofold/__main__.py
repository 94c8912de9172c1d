"""``python -m twofold`` is the command ``twofold``."""

from twofold.cli import app

app(prog_name="twofold")
