"""Reads the folders of BERT-like sentence-transformers models without torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from twofold.encoders.fingerprints import (
    affects_vectors,
    combine,
    fingerprint_tokenizer,
    hash_arrays,
)
from twofold.encoders.model_spec import AS_SAVED, ModelOptions, Pooling
from twofold.errors import InputError
from twofold.similarity import Metric

Weights = dict[str, NDArray[Any]]
"""Tensors by the names that transformers gives them within the model."""

_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
}
_PREFIXES = ("model.", "bert.", "roberta.", "xlm-roberta.", "mpnet.", "distilbert.", "camembert.")
NO_WEIGHTS = "it has no model.safetensors"
"""The reason of a model whose settings are fine and whose weights are missing."""
_MAX_LENGTH = 10**9  # tokenizers without a limit are saved with 1e30


class UnsupportedModelError(Exception):
    """The reason why a model can't be built as a graph from its files."""


@dataclass(frozen=True, slots=True)
class LayerNames:
    """The names of a layer's modules: the projections of its attention, and its other parts."""

    prefix: str
    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    inner: str
    outer: str
    output_norm: str


_BERT = LayerNames(
    "encoder.layer.",
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
_MPNET = LayerNames(
    "encoder.layer.",
    "attention.attn.q",
    "attention.attn.k",
    "attention.attn.v",
    "attention.attn.o",
    "attention.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
_DISTILBERT = LayerNames(
    "transformer.layer.",
    "attention.q_lin",
    "attention.k_lin",
    "attention.v_lin",
    "attention.out_lin",
    "sa_layer_norm",
    "ffn.lin1",
    "ffn.lin2",
    "output_layer_norm",
)


@dataclass(frozen=True, slots=True)
class Architecture:
    """The differences between one BERT-like architecture and another.

    Attributes:
        layer: The names of a layer's modules.
        has_types: Whether embeddings of token types are added.
        padded_positions: Whether positions start after the padding token's id and skip such tokens.
        relative_buckets: Whether the attention has a bias by relative position, as in MPNet.
    """

    layer: LayerNames
    has_types: bool = True
    padded_positions: bool = False
    relative_buckets: bool = False


_ARCHITECTURES = {
    "bert": Architecture(_BERT),
    "roberta": Architecture(_BERT, padded_positions=True),
    "xlm-roberta": Architecture(_BERT, padded_positions=True),
    "camembert": Architecture(_BERT, padded_positions=True),
    "mpnet": Architecture(_MPNET, has_types=False, padded_positions=True, relative_buckets=True),
    "distilbert": Architecture(_DISTILBERT, has_types=False),
}


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """The settings in ``config.json`` that determine token vectors."""

    model_type: str
    layers: int
    heads: int
    hidden: int
    activation: Literal["gelu", "relu"]
    epsilon: float
    positions: int
    padding: int

    @property
    def architecture(self) -> Architecture:
        """The architecture of the model type."""
        return _ARCHITECTURES[self.model_type]

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "TransformerConfig":
        """Return the settings of a parsed ``config.json``; raise UnsupportedModelError."""
        kind = values.get("model_type")
        if kind not in _ARCHITECTURES:
            raise UnsupportedModelError(f"its architecture is {kind!r}")
        is_distilbert = kind == "distilbert"
        activation = values.get("activation" if is_distilbert else "hidden_act", "gelu")
        if activation not in ("gelu", "relu"):
            raise UnsupportedModelError(f"its activation is {activation!r}")
        for name, usual in (
            ("position_embedding_type", "absolute"),
            ("is_decoder", False),
            ("add_cross_attention", False),
            ("quantization_config", None),
            ("relative_attention_num_buckets", 32),  # transformers ignores another number
        ):
            if values.get(name, usual) not in (usual, None):
                raise UnsupportedModelError(f"its {name} is {values[name]!r}")
        default_padding = {"bert": 0, "distilbert": 0}.get(kind, 1)
        padding = values.get("pad_token_id", default_padding)
        if kind == "mpnet":
            padding = 1  # whatever the settings say
        try:
            config = cls(
                model_type=kind,
                layers=int(values["n_layers" if is_distilbert else "num_hidden_layers"]),
                heads=int(values["n_heads" if is_distilbert else "num_attention_heads"]),
                hidden=int(values["dim" if is_distilbert else "hidden_size"]),
                activation=activation,
                epsilon=1e-12 if is_distilbert else float(values.get("layer_norm_eps", 1e-12)),
                positions=int(values["max_position_embeddings"]),
                padding=int(padding if padding is not None else default_padding),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UnsupportedModelError(f"its config.json is incomplete ({error})") from None
        if min(config.layers, config.heads, config.hidden) < 1 or config.hidden % config.heads:
            raise UnsupportedModelError("its config.json has impossible sizes")
        return config


@dataclass(frozen=True, slots=True)
class TransformerFiles:
    """A model's folder: its settings, with ModelOptions applied.

    Attributes:
        folder: The folder.
        options: The options that were applied.
        model_type: The name of the architecture.
        config: The settings of the transformer; None if no graph can be built from its weights.
        graph: The graph that the folder carries, used if there is no config.
        pooling: How token vectors are combined.
        saved_normalize: Whether a Normalize layer follows.
        normalize: Whether vectors get unit length.
        metric: The metric that the model was trained for.
        prompts: The texts put before each query and before each passage.
        max_length: The most tokens that the model reads, special tokens included; None for any.
        lower_case: Whether texts are lowercased before they are split.
        dim: How many leading dimensions to keep.
    """

    folder: Path
    options: ModelOptions
    model_type: str
    config: TransformerConfig | None
    graph: Path | None
    pooling: Pooling
    saved_normalize: bool
    normalize: bool
    metric: Metric
    prompts: tuple[str, str]
    max_length: int | None
    lower_case: bool
    dim: int

    @property
    def paths(self) -> list[Path]:
        """The files that determine the vectors."""
        names = [*_SETTINGS_FILES, "tokenizer.json"]
        found = [self.folder / name for name in names]
        found += sorted(self.folder.glob("*_Pooling/config.json"))
        if self.graph is not None:
            found += sorted(self.graph.parent.glob(f"{self.graph.name}*"))
        return [*(path for path in found if path.is_file()), *_weight_paths(self.folder)]

    @classmethod
    def read(cls, folder: Path, options: ModelOptions = AS_SAVED) -> "TransformerFiles":
        """Read the settings of a folder.

        Raises:
            UnsupportedModelError: The model has parts that can't be built as a graph.
            InputError: The options don't fit the model.
        """
        saved_pooling, has_normalize = _read_modules(folder)
        pooling = options.pooling if options.pooling is not None else saved_pooling
        if pooling is None:
            raise UnsupportedModelError("it has no pooling layer")
        values, config, graph = _read_object(folder / "config.json"), None, None
        try:
            config = TransformerConfig.from_values(values)
        except UnsupportedModelError:
            graph = folder / "onnx" / "model.onnx"
            if not graph.is_file():
                raise
        hidden = config.hidden if config is not None else values.get("hidden_size")
        if not isinstance(hidden, int):
            raise UnsupportedModelError("its config.json has no hidden_size")
        prompts, metric = _read_prompts_and_metric(folder, options)
        if options.dim is not None and options.dim > hidden:
            raise InputError(
                f"dim must be <= {hidden}, the dimensions of {str(folder)!r}, got {options.dim}"
            )
        transformer = _read_transformer_settings(folder)
        if not (folder / "tokenizer.json").is_file():
            raise UnsupportedModelError("it has no tokenizer.json")
        if not _weight_paths(folder):
            raise UnsupportedModelError(NO_WEIGHTS)
        return cls(
            folder=folder,
            options=options,
            model_type=str(values.get("model_type")),
            config=config,
            graph=graph,
            pooling=pooling,
            saved_normalize=has_normalize and options.normalize is not False,
            normalize=has_normalize if options.normalize is None else options.normalize,
            metric=metric,
            prompts=prompts,
            max_length=_find_max_length(folder, values, transformer, options),
            lower_case=bool(transformer.get("do_lower_case", False)),
            dim=options.dim if options.dim is not None else hidden,
        )

    def read_weights(self) -> Weights:
        """Return the weights that the vectors depend on; raise UnsupportedModelError."""
        weights: Weights = {}
        for path in _weight_paths(self.folder):
            weights |= _read_weight_file(path)
        if any(array.dtype not in (np.float32, np.float16) for array in weights.values()):
            raise UnsupportedModelError("its weights are neither float32 nor float16")
        return weights

    def read_tokenizer(self) -> Any:
        """Return the tokenizer, which neither truncates nor pads; raise UnsupportedModelError."""
        from tokenizers import Tokenizer

        path = self.folder / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # noqa: BLE001  # tokenizers raises no other type
            raise UnsupportedModelError(f"{path} can't be read ({error})") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if self.lower_case:
            _lower_texts(tokenizer)
        return tokenizer

    def fingerprint(self, weights: Weights, tokenizer: Any) -> str:
        """Return the fingerprint, which is that of the model on torch."""
        state = hash_arrays(
            (str(array.dtype), array.shape, np.ascontiguousarray(array))
            for array in weights.values()
        )
        layers: list[list[object]] = [["Transformer", self.model_type]]
        layers.append(["Pooling", self.pooling, True])
        layers += [["Normalize"]] if self.saved_normalize else []
        hashed = fingerprint_tokenizer(tokenizer)
        settings = {
            "prompts": self.prompts,
            "metric": self.metric.value,
            "dim": self.dim,
            "normalize": self.normalize,
            "max_length": [self.max_length] * 2,
            "tokenizers": [hashed] * 2,
            "modules": [layers] * 2,
        }
        return combine(state, settings)


_SETTINGS_FILES = (
    "modules.json",
    "config.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "tokenizer_config.json",
)


def _read_json(path: Path) -> Any:
    """Return the contents of a JSON file, None without the file; raise UnsupportedModelError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(f"{path} can't be read ({error})") from None


def _read_object(path: Path) -> dict[str, Any]:
    values = _read_json(path)
    if values is not None and not isinstance(values, dict):
        raise UnsupportedModelError(f"{path} isn't a JSON object")
    return values or {}


def _read_modules(folder: Path) -> tuple[Pooling | None, bool]:
    """Return the saved pooling, None for a plain transformer, and whether Normalize follows."""
    modules = _read_json(folder / "modules.json")
    if modules is None:
        return None, False
    if not isinstance(modules, list) or not all(isinstance(part, dict) for part in modules):
        raise UnsupportedModelError("its modules.json isn't a list of modules")
    kinds = [str(part.get("type", "")).rpartition(".")[2] for part in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UnsupportedModelError(f"its modules are {', '.join(kinds)}")
    if modules[0].get("path"):
        raise UnsupportedModelError("its transformer is in a folder inside")
    return _read_pooling(folder / str(modules[1].get("path", "")) / "config.json"), len(kinds) == 3


def _read_prompts_and_metric(folder: Path, options: ModelOptions) -> tuple[tuple[str, str], Metric]:
    """Return the prompts of queries and passages, and the metric."""
    saved = _read_object(folder / "config_sentence_transformers.json")
    prompts = saved.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise UnsupportedModelError("its prompts aren't a JSON object")
    query, passage = (
        chosen if chosen is not None else str(prompts.get(name) or "")
        for name, chosen in (("query", options.query_prompt), ("document", options.passage_prompt))
    )
    similarity = saved.get("similarity_fn_name") or "cosine"
    if similarity not in [metric.value for metric in Metric]:
        raise UnsupportedModelError(f"its similarity is {similarity!r}")
    return (query, passage), Metric(similarity)


def _read_pooling(path: Path) -> Pooling:
    saved = _read_object(path)
    mode = saved.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else list(mode or [])
    modes += [kind for name, kind in _POOLINGS.items() if saved.get(name)]
    others = [
        name
        for name, value in saved.items()
        if name.startswith("pooling_mode_") and value and name not in _POOLINGS
    ]
    if len(modes) != 1 or modes[0] not in _POOLINGS.values() or others:
        raise UnsupportedModelError(f"its pooling is {' and '.join([*map(str, modes), *others])}")
    if not saved.get("include_prompt", True):
        raise UnsupportedModelError("its pooling leaves out the prompt")
    return cast(Pooling, modes[0])


def _read_transformer_settings(folder: Path) -> dict[str, Any]:
    settings = _read_object(folder / "sentence_bert_config.json")
    known = {
        "max_seq_length",
        "do_lower_case",
        "transformer_task",
        "modality_config",
        "module_output_name",
    }
    unknown = sorted(name for name in settings.keys() - known if settings[name])
    if unknown or settings.get("transformer_task", "feature-extraction") != "feature-extraction":
        raise UnsupportedModelError(
            f"its sentence_bert_config.json has {', '.join(unknown) or 'another task'}"
        )
    return settings


def _find_max_length(
    folder: Path, config: Mapping[str, Any], settings: Mapping[str, Any], options: ModelOptions
) -> int | None:
    """Return the most tokens of a text, as sentence-transformers determines it."""
    length = settings.get("max_seq_length")
    if length is None:
        length = _read_object(folder / "tokenizer_config.json").get("model_max_length")
    positions = config.get("max_position_embeddings")
    limits = [
        int(limit)
        for limit in (length, positions)
        if isinstance(limit, int | float) and 0 < limit < _MAX_LENGTH
    ]
    if options.max_length is None:
        saved = settings.get("max_seq_length")
        return int(saved) if saved is not None else min(limits, default=None)
    limit = min(limits, default=None)
    if limit is not None and options.max_length > limit:
        raise InputError(
            f"max_length must be <= {limit} for {str(folder)!r}, got {options.max_length}"
        )
    return options.max_length


def _lower_texts(tokenizer: Any) -> None:
    """Lowercase texts before they are split, unless the tokenizer does it anyway."""
    from tokenizers.normalizers import Lowercase, Sequence

    saved = json.loads(tokenizer.to_str()).get("normalizer") or {}
    steps = saved.get("normalizers", [saved])
    if not any(step.get("type") == "Lowercase" or step.get("lowercase") for step in steps):
        before = tokenizer.normalizer
        tokenizer.normalizer = Sequence([Lowercase(), *([before] if before is not None else [])])


def _weight_paths(folder: Path) -> list[Path]:
    single = folder / "model.safetensors"
    return [single] if single.is_file() else sorted(folder.glob("model-*-of-*.safetensors"))


def _read_weight_file(path: Path) -> Weights:
    from safetensors import SafetensorError, safe_open

    weights: Weights = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - the file is no mapping
                plain = _plain_name(name)
                if plain is not None:
                    weights[plain] = file.get_tensor(name)
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError) as error:
        raise UnsupportedModelError(f"{path} can't be read ({error})") from None
    return weights


def _plain_name(name: str) -> str | None:
    """Return a weight's name within the transformer, None for one that vectors don't need."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    if not affects_vectors(name):
        return None
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )
