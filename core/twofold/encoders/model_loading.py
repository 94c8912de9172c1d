"""Loads sentence-transformers models with ModelOptions, fingerprints them, and writes folders."""

import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import xxhash

from twofold.encoders.fingerprints import (
    affects_vectors,
    combine,
    describe_transformer,
    fingerprint_tokenizer,
    hash_arrays,
)
from twofold.encoders.model_spec import ModelOptions, model_not_found
from twofold.errors import EncoderWarning, InputError
from twofold.extras import check_extra
from twofold.similarity import Metric

Task = Literal["query", "document"]
TASKS: tuple[Task, ...] = ("query", "document")
_Array = tuple[str, tuple[int, ...], Any]
_METRICS = {"cosine": Metric.COSINE, "dot": Metric.DOT, "euclidean": Metric.EUCLIDEAN}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A SentenceTransformer with ModelOptions applied.

    ``normalize`` tells whether the vectors have unit length. ``renormalize`` tells whether the
    caller must normalize them, because of truncated dimensions or a missing Normalize layer.
    """

    model: Any
    metric: Metric
    normalize: bool
    renormalize: bool

    @property
    def dim(self) -> int:
        """The number of dimensions of the vectors."""
        return int(self.model.get_embedding_dimension())

    def prompt(self, task: Task) -> str:
        """Return the prompt put before each text of a task, "" for none."""
        prompts = self.model.prompts
        names = ("query",) if task == "query" else ("document", "passage", "corpus")
        name = next((name for name in names if name in prompts), self.model.default_prompt_name)
        return str(prompts.get(name) or "") if name is not None else ""

    def modules(self, task: Task) -> list[Any]:
        """Return the layers that encode the texts of a task, its tower, in order."""
        return _tower_layers(self.model, task)

    def tokenizer(self, task: Task) -> Any:
        """Return the tokenizer of the task's tower, or None if it has none."""
        return getattr(self.modules(task)[0], "tokenizer", None)

    def max_length(self, task: Task) -> int | None:
        """Return the most tokens of a text that the task's tower reads, or None for no limit."""
        limit = getattr(self.modules(task)[0], "max_seq_length", None)
        return None if limit is None or limit == math.inf else int(limit)

    def fingerprint(self) -> str:
        """Return a hash of the weights, tokenizers and settings that determine the vectors."""
        layers = {id(layer): layer for task in TASKS for layer in self.modules(task)}
        state = hash_arrays(array for layer in layers.values() for array in _weights(layer))
        settings = {
            "prompts": [self.prompt(task) for task in TASKS],
            "metric": self.metric.value,
            "dim": self.dim,
            "normalize": self.normalize,
            "max_length": [self.max_length(task) for task in TASKS],
            "cut": [getattr(self.tokenizer(task), "truncation_side", "right") for task in TASKS],
            "tokenizers": [fingerprint_tokenizer(self.tokenizer(task)) for task in TASKS],
            "modules": [[_layer_settings(layer) for layer in self.modules(task)] for task in TASKS],
        }
        return combine(state, settings)


def load_model(source: str, name: str, options: ModelOptions, device: str | None) -> LoadedModel:
    """Load the SentenceTransformer at ``source``, called ``name`` in messages; apply options."""
    check_extra("models", "torch models", "sentence_transformers", "torch")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import is_sentence_transformer_model

    try:
        with quiet_loading():
            model = SentenceTransformer(source, device=device)
        if Path(source).is_dir():
            has_modules = (Path(source) / "modules.json").exists()
        else:
            has_modules = is_sentence_transformer_model(source)
    except (OSError, ValueError) as error:
        if Path(source).is_dir():
            raise _unreadable_model(source, error) from error
        raise model_not_found(name, error) from error
    except Exception as error:  # of transformers, without a common base
        raise _unreadable_model(source, error) from error
    if options.pooling is not None:
        _replace_pooling(model, options.pooling, name)
    elif not has_modules:
        _warn_default_pooling(model, name)
    if options.max_length is not None:
        _set_max_length(model, options.max_length, name)
    if options.query_prompt is not None:
        model.prompts["query"] = options.query_prompt
    if options.passage_prompt is not None:
        model.prompts["document"] = options.passage_prompt
    return _configure_output(model, name, options)


def _unreadable_model(source: str, error: Exception) -> InputError:
    return InputError(
        f"the model in {source} can't be loaded ({type(error).__name__}: {error}): download or "
        "save it again"
    )


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Hide the progress bar that transformers draws while it loads weights."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def hash_weights(model: Any) -> xxhash.xxh3_128:
    """Return a hash of a torch module's weights and their names, which callers may update."""
    return hash_arrays(_arrays(model.state_dict()))


def _weights(layer: Any) -> Iterator[_Array]:
    """Yield the weights of a layer that its output depends on, for a hash."""
    transformer = getattr(layer, "auto_model", None)
    if transformer is None:
        return _arrays(layer.state_dict())
    weights = transformer.state_dict()
    return _arrays({name: weights[name] for name in weights if affects_vectors(name)})


def _arrays(weights: Mapping[str, Any]) -> Iterator[_Array]:
    import torch

    for _, tensor in sorted(weights.items()):
        values = tensor.detach().cpu().contiguous()
        kind = str(values.dtype).removeprefix("torch.")
        # numpy has no bfloat16
        yield kind, tuple(values.shape), values.reshape(-1).view(torch.uint8).numpy()


def check_output_folder(folder: Path, is_export: Callable[[Path], bool]) -> None:
    """Raise InputError unless ``folder`` is missing, empty, or an export as ``is_export`` tells."""
    if not folder.exists() or (folder.is_dir() and (is_export(folder) or not os.listdir(folder))):
        return
    kind = "a folder with other files" if folder.is_dir() else "a file"
    raise InputError(f"{folder} is {kind}: pass a new folder, or that of an earlier export")


@contextmanager
def write_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill. It replaces ``folder`` unless the block raises."""
    parent = folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=parent))
    try:
        new = work / "new"
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(work / "old")
        new.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _tower_layers(model: Any, task: Task) -> list[Any]:
    """Return the layers that encode a task's texts; of a Router, those of the task's route."""
    layers: list[Any] = []
    for module in model:
        towers = getattr(module, "sub_modules", None)
        if towers is None:
            layers.append(module)
            continue
        mappings = getattr(module, "route_mappings", None) or {}
        keys = [(task, "text"), (task, None), (None, "text"), (None, None)]
        names = [mappings[key] for key in keys if key in mappings]
        names += [key for key in (task, "text", module.default_route) if key in towers]
        layers += towers[names[0]] if names else ()
    return layers


def _find_layers(model: Any, kind: str) -> list[tuple[Any, str, Any]]:
    """Return (parent, key, layer) for every layer whose class is called ``kind``."""
    return [
        (parent, key, child)
        for parent in model.modules()
        for key, child in parent.named_children()
        if type(child).__name__ == kind
    ]


def _configure_output(model: Any, name: str, options: ModelOptions) -> LoadedModel:
    """Apply ``normalize`` and ``dim`` of the options, and determine the metric."""
    if options.normalize is False:
        for parent, key, _ in _find_layers(model, "Normalize"):
            del parent._modules[key]
    # If one tower doesn't normalize, the vectors of both stay as they are.
    unit = all(type(_tower_layers(model, task)[-1]).__name__ == "Normalize" for task in TASKS)
    if options.dim is not None:
        full = int(model.get_embedding_dimension())
        if options.dim > full:
            raise InputError(
                f"dim must be <= {full}, the dimensions of {name!r}, got {options.dim}"
            )
        model.truncate_dim = options.dim
    truncated = model.truncate_dim is not None
    normalize = unit if options.normalize is None else options.normalize
    similarity = str(model.similarity_fn_name)
    if similarity not in _METRICS:
        warnings.warn(
            f"{name!r} has the similarity {similarity!r}, which isn't supported: cosine is used",
            EncoderWarning,
            stacklevel=5,
        )
    metric = _METRICS.get(similarity, Metric.COSINE)
    return LoadedModel(model, metric, normalize, normalize and (truncated or not unit))


def _replace_pooling(model: Any, pooling: str, name: str) -> None:
    layers = _find_layers(model, "Pooling")
    if not layers:
        raise InputError(f"{name!r} has no pooling layer to set to {pooling!r}: omit pooling")
    for parent, key, old in layers:
        size = getattr(old, "embedding_dimension", None) or old.word_embedding_dimension
        new = type(old)(size, pooling_mode=pooling, include_prompt=old.include_prompt)
        if new.get_embedding_dimension() != old.get_embedding_dimension():
            raise InputError(
                f"{name!r} concatenates several poolings, which pooling={pooling!r} can't "
                "replace: omit pooling"
            )
        parent._modules[key] = new


def _warn_default_pooling(model: Any, name: str) -> None:
    modes = {
        str(getattr(layer, "pooling_mode", "mean"))
        for _, _, layer in _find_layers(model, "Pooling")
    }
    if modes:
        warnings.warn(
            f"{name!r} is a transformer without a pooling layer: {' and '.join(sorted(modes))} is "
            f"used; choose with ModelOptions(pooling=...) or '{name}?pooling=mean'",
            EncoderWarning,
            stacklevel=5,
        )


def _set_max_length(model: Any, max_length: int, name: str) -> None:
    for task in TASKS:
        first = _tower_layers(model, task)[0]
        config = getattr(getattr(first, "auto_model", None), "config", None)
        if config is None:
            raise InputError(f"{name!r} has no length limit: omit max_length")
        limits = (
            getattr(config, "max_position_embeddings", None),
            getattr(first.tokenizer, "model_max_length", None),
        )
        limit = min((limit for limit in limits if limit is not None and limit > 0), default=None)
        if limit is not None and max_length > limit:
            raise InputError(f"max_length must be <= {limit} for {name!r}, got {max_length}")
        special = int(first.tokenizer.num_special_tokens_to_add())
        if max_length <= special:
            raise InputError(
                f"max_length must be >= {special + 1} for {name!r}, which adds {special} special "
                f"tokens, got {max_length}"
            )
        first.max_seq_length = max_length


def _layer_settings(layer: Any) -> list[Any]:
    """Return a layer's kind, and the settings that its weights don't show."""
    kind = type(layer).__name__
    config = getattr(getattr(layer, "auto_model", None), "config", None)
    if config is not None:
        return describe_transformer(config.to_dict())
    if kind == "Pooling":
        return [kind, layer.pooling_mode, layer.include_prompt]
    if kind == "Normalize":
        return [kind]
    return [kind, layer.get_config_dict() if hasattr(layer, "get_config_dict") else {}]
