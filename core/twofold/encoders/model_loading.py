"""A sentence-transformers model as the options ask for it, and its fingerprint."""

import json
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import xxhash

from twofold.encoders.batching import TokenCounter
from twofold.encoders.model_spec import ModelOptions, model_not_found
from twofold.errors import EncoderWarning, InputError
from twofold.similarity import Metric

Task = Literal["query", "document"]
TASKS: tuple[Task, ...] = ("query", "document")
_METRICS = {"cosine": Metric.COSINE, "dot": Metric.DOT, "euclidean": Metric.EUCLIDEAN}
_SHAPES = ("model_type", "num_attention_heads", "hidden_act")
"""Settings of a transformer that its weights don't show."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A SentenceTransformer with the options applied.

    ``normalize`` says whether its vectors are of unit length, ``renormalize`` whether that is
    left to whoever encodes, since dimensions were cut off or the model has no such layer.
    """

    model: Any
    metric: Metric
    normalize: bool
    renormalize: bool

    @property
    def dim(self) -> int:
        """The number of dimensions that are kept."""
        return int(self.model.get_embedding_dimension())

    def prompt(self, task: Task) -> str:
        """Return what is put before a text; '' for nothing."""
        prompts = self.model.prompts
        names = ("query",) if task == "query" else ("document", "passage", "corpus")
        name = next((name for name in names if name in prompts), self.model.default_prompt_name)
        return str(prompts.get(name) or "") if name is not None else ""

    def modules(self, task: Task) -> list[Any]:
        """Return the layers that a query or a passage goes through, in order."""
        return [layer for module in self.model for layer in _routed(module, task)]

    def tokenizer(self, task: Task) -> Any:
        """Return the tokenizer of that tower, None if it has none."""
        return getattr(self.modules(task)[0], "tokenizer", None)

    def max_length(self, task: Task) -> int | None:
        """Return how many tokens that tower reads, None if it reads all."""
        longest = getattr(self.modules(task)[0], "max_seq_length", None)
        return None if longest is None or longest == math.inf else int(longest)

    def fingerprint(self) -> str:
        """Hash the weights, the tokenizers and all settings that decide a text's vector."""
        state = hashed_weights(self.model)
        settings = {
            "prompts": [self.prompt(task) for task in TASKS],
            "metric": self.metric.value,
            "dim": self.dim,
            "normalize": self.normalize,
            "max_length": [self.max_length(task) for task in TASKS],
            "tokenizers": [tokenizer_fingerprint(self.tokenizer(task)) for task in TASKS],
            "modules": [[_settings(layer) for layer in self.modules(task)] for task in TASKS],
        }
        state.update(json.dumps(settings, sort_keys=True, default=str).encode())
        return state.hexdigest()


def load_model(source: str, name: str, options: ModelOptions, device: str | None) -> LoadedModel:
    """Return a model with its options; ``name`` is what messages call it.

    Raises EncoderNotFoundError if it can't be had, InputError for options that don't fit it.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import is_sentence_transformer_model

    try:
        with quiet_loading():
            model = SentenceTransformer(source, device=device)
        folder = Path(source)
        finished = (
            (folder / "modules.json").exists()
            if folder.is_dir()
            else is_sentence_transformer_model(source)
        )
    except (OSError, ValueError) as error:
        raise model_not_found(name, error) from error
    if options.pooling is not None:
        _replace_pooling(model, options.pooling, name)
    elif not finished:
        _warn_of_pooling(model, name)
    if options.max_length is not None:
        _set_max_length(model, options.max_length, name)
    if options.query_prompt is not None:
        model.prompts["query"] = options.query_prompt
    if options.passage_prompt is not None:
        model.prompts["document"] = options.passage_prompt
    return _with_output(model, name, options)


def hashed_weights(model: Any) -> xxhash.xxh3_128:
    """Return the hash of a torch module's weights and their names, to be gone on with."""
    state = xxhash.xxh3_128()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        state.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        # Bytes, since numpy has no bfloat16.
        state.update(values.reshape(-1).view(_uint8()).numpy())
    return state


def _with_output(model: Any, name: str, options: ModelOptions) -> LoadedModel:
    """Settle what becomes of the vectors: their length, dimensions and metric."""
    if options.normalize is False:
        _remove_normalize(model)
    unit = all(
        type(_last(model, task)).__name__ == "Normalize" for task in TASKS
    )  # a tower that isn't normalised leaves the vectors of both as they are
    if options.dim is not None:
        whole = int(model.get_embedding_dimension())
        if options.dim > whole:
            raise InputError(
                f"dim={options.dim} of {name!r}, which has {whole} dimensions: give that or less"
            )
        model.truncate_dim = options.dim
    cut = model.truncate_dim is not None
    normalize = unit if options.normalize is None else options.normalize
    similarity = str(model.similarity_fn_name)
    if similarity not in _METRICS:
        warnings.warn(
            f"{name!r} was trained for {similarity!r}, which is not offered: cosine is used",
            EncoderWarning,
            stacklevel=5,
        )
    metric = _METRICS.get(similarity, Metric.COSINE)
    return LoadedModel(model, metric, normalize, normalize and (cut or not unit))


def _routed(module: Any, task: Task) -> list[Any]:
    """Return a Router's layers for a task, as it would choose them; any other module itself."""
    towers = getattr(module, "sub_modules", None)
    if towers is None:
        return [module]
    mappings = getattr(module, "route_mappings", None) or {}
    keys = [(task, "text"), (task, None), (None, "text"), (None, None)]
    names = [mappings[key] for key in keys if key in mappings]
    names += [key for key in (task, "text", module.default_route) if key in towers]
    return list(towers[names[0]]) if names else []


def _last(model: Any, task: Task) -> Any:
    return [layer for module in model for layer in _routed(module, task)][-1]


def _named(model: Any, kind: str) -> list[tuple[Any, str, Any]]:
    """Return every layer of that kind: what holds it, under which key, and itself."""
    return [
        (parent, key, child)
        for parent in model.modules()
        for key, child in parent.named_children()
        if type(child).__name__ == kind
    ]


def _replace_pooling(model: Any, pooling: str, name: str) -> None:
    places = _named(model, "Pooling")
    if not places:
        raise InputError(f"{name!r} has no pooling layer to set to {pooling!r}: leave pooling out")
    for parent, key, old in places:
        size = getattr(old, "embedding_dimension", None) or old.word_embedding_dimension
        new = type(old)(size, pooling_mode=pooling, include_prompt=old.include_prompt)
        if new.get_embedding_dimension() != old.get_embedding_dimension():
            raise InputError(
                f"{name!r} joins several poolings into one vector, which pooling={pooling!r} "
                "can't stand for: leave pooling out"
            )
        parent._modules[key] = new


def _remove_normalize(model: Any) -> None:
    for parent, key, _ in _named(model, "Normalize"):
        del parent._modules[key]


def _warn_of_pooling(model: Any, name: str) -> None:
    modes = {
        str(getattr(layer, "pooling_mode", "mean")) for _, _, layer in _named(model, "Pooling")
    }
    if modes:
        warnings.warn(
            f"{name!r} is a transformer without a pooling of its own: "
            f"{' and '.join(sorted(modes))} is used; choose with "
            f"ModelOptions(pooling=...) or '{name}?pooling=mean'",
            EncoderWarning,
            stacklevel=5,
        )


def _set_max_length(model: Any, longest: int, name: str) -> None:
    for task in TASKS:
        first = next(layer for module in model for layer in _routed(module, task))
        config = getattr(getattr(first, "auto_model", None), "config", None)
        if config is None:
            raise InputError(f"{name!r} reads texts whole: leave max_length out")
        limits = [
            getattr(config, "max_position_embeddings", None),
            getattr(first.tokenizer, "model_max_length", None),
        ]
        limit = min((each for each in limits if each is not None and each > 0), default=longest)
        if longest > limit:
            raise InputError(
                f"max_length={longest} of {name!r}, which reads at most {limit} tokens"
            )
        special = int(first.tokenizer.num_special_tokens_to_add())
        if longest <= special:
            raise InputError(
                f"max_length={longest} of {name!r} leaves no room beside its {special} special "
                f"tokens: give at least {special + 1}"
            )
        first.max_seq_length = longest


def _settings(layer: Any) -> list[Any]:
    own = layer.get_config_dict() if hasattr(layer, "get_config_dict") else {}
    config = getattr(getattr(layer, "auto_model", None), "config", None)
    shape = [getattr(config, name, None) for name in _SHAPES] if config is not None else []
    return [type(layer).__name__, own, shape]


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Return a hash of what a tokenizer makes of texts; '' for none."""
    return TokenCounter(tokenizer).fingerprint() if tokenizer is not None else ""


def _uint8() -> Any:
    import torch

    return torch.uint8


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep transformers from drawing a progress bar for its weights."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
