"""Checks before training: the numbers of plans, the extra, and the folder."""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from twofold.errors import InputError, MissingExtraError

LOWEST_TEMPERATURE = 0.005
"""Below it, a softmax over cosines looks at nothing but the nearest wrong passage."""
HIGHEST_TEMPERATURE = 0.5
"""Above it, a softmax over cosines is nearly flat whatever is learned."""

WORK = "training"
"""The folder of a run within that of its model, while it lasts."""
_WORKS = {"notes.json", "notes.tmp", "checkpoints", "best", "blend"}
_OLDEST = (6, 2)  # of sentence-transformers, with a GradCache for losses of one's own
_SEEDS = 2**32  # numpy's and transformers' limit


def check_temperature(temperature: float) -> None:
    """Raise InputError for a temperature at which nothing is learned from cosines."""
    number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not number or not LOWEST_TEMPERATURE <= temperature <= HIGHEST_TEMPERATURE:
        raise InputError(
            f"temperature is {temperature!r}: {LOWEST_TEMPERATURE} to {HIGHEST_TEMPERATURE} is "
            "wanted, such as 0.05; what another library calls scale=20 is 1/20"
        )


def check_whole(name: str, value: object, low: int) -> None:
    """Raise InputError for what is no whole number of at least ``low``."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < low:
        raise InputError(f"{name} is {value!r}: a whole number of at least {low} is wanted")


def check_range(
    name: str, value: object, low: float, high: float, wanted: str, *, strict: bool = False
) -> None:
    """Raise InputError for what is no number from ``low`` to ``high``, or, if strict, between."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    inside = isinstance(value, int | float) and (low < value < high if strict else True)
    if not number or not inside or not low <= float(str(value)) <= high:
        raise InputError(f"{name} is {value!r}: {wanted} is wanted")


def check_seed(seed: object) -> None:
    """Raise InputError for what can't seed every generator of random numbers that training uses."""
    check_whole("seed", seed, 0)
    if not isinstance(seed, int | np.integer) or seed >= _SEEDS:
        raise InputError(f"seed is {seed!r}: a whole number below {_SEEDS:,} is wanted")


def check_shares(name: str, shares: object) -> None:
    """Raise InputError for anything but a tuple of numbers above 0 and up to 1."""
    if not isinstance(shares, tuple) or not shares:
        raise InputError(
            f"{name} is {shares!r:.80}: a tuple of shares above 0 and up to 1 is wanted, such as "
            "(1.0, 0.5)"
        )
    for each in shares:
        check_range(f"a share of {name}", each, 0.01, 1, "a number from 0.01 to 1")


def check_extra() -> None:
    """Raise MissingExtraError without what sentence-transformers' trainers need."""
    missing = [name for name in ("accelerate", "datasets") if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"fine-tuning needs {' and '.join(missing)}: pip install 'twofold[train]'"
        )
    found = version("sentence-transformers")
    if tuple(int(each) for each in found.split(".")[:2]) < _OLDEST:
        raise MissingExtraError(
            f"fine-tuning needs sentence-transformers 6.2 or newer, not {found}: "
            "pip install 'twofold[train]'"
        )


def check_new_folder(folder: Path) -> Path:
    """Return the folder if it is new, or has nothing but a stopped run; else raise InputError."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give the path of a new folder")
    work = folder / WORK
    strange = [each for each in folder.iterdir() if each != work] if folder.exists() else []
    if work.exists() and (not work.is_dir() or {each.name for each in work.iterdir()} - _WORKS):
        strange.append(work)
    if strange:
        raise InputError(
            f"{folder} is there already, with {strange[0].name}: give the path of a new folder"
        )
    return folder
