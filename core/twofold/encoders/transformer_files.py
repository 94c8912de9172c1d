"""Reads the folders of BERT-like sentence-transformers models without torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from twofold.encoders.fingerprints import (
    affects_vectors,
    combine,
    describe_transformer,
    fingerprint_tokenizer,
    hash_arrays,
)
from twofold.encoders.model_spec import AS_SAVED, ModelOptions, Pooling
from twofold.errors import InputError, TwofoldError
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
_MAX_SIZE = 10**7  # of dimensions and positions
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
        if not isinstance(kind, str) or kind not in _ARCHITECTURES:
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
        names = {
            "layers": "n_layers" if is_distilbert else "num_hidden_layers",
            "heads": "n_heads" if is_distilbert else "num_attention_heads",
            "hidden": "dim" if is_distilbert else "hidden_size",
            "positions": "max_position_embeddings",
        }
        sizes: dict[str, int] = {}
        for field, name in names.items():
            size = values.get(name)
            if not _is_size(size):
                raise UnsupportedModelError(f"its {name} is {size!r}")
            sizes[field] = size
        epsilon = 1e-12 if is_distilbert else values.get("layer_norm_eps", 1e-12)
        if not isinstance(epsilon, float):
            raise UnsupportedModelError(f"its layer_norm_eps is {epsilon!r}")
        if padding is not None and not (isinstance(padding, int) and 0 <= padding < _MAX_SIZE):
            raise UnsupportedModelError(f"its pad_token_id is {padding!r}")
        config = cls(
            model_type=kind,
            layers=sizes["layers"],
            heads=sizes["heads"],
            hidden=sizes["hidden"],
            activation=activation,
            epsilon=epsilon,
            positions=sizes["positions"],
            padding=padding if padding is not None else default_padding,
        )
        if config.hidden % config.heads:
            raise UnsupportedModelError(
                f"its {names['hidden']} {config.hidden} isn't a multiple of its heads"
            )
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
        truncation_side: The end at which long texts are cut.
        dtype: The type in which torch computes; None for that of the weights.
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
    truncation_side: Literal["right", "left"]
    dtype: str | None
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
        try:
            return cls._read(folder, options)
        except TwofoldError:
            raise
        except _UNREADABLE as error:
            raise UnsupportedModelError(f"its settings can't be read ({error})") from None

    @classmethod
    def _read(cls, folder: Path, options: ModelOptions) -> "TransformerFiles":
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
        if not _is_size(hidden):
            raise UnsupportedModelError("its config.json has no hidden_size")
        prompts, metric = _read_prompts_and_metric(folder, options)
        if options.dim is not None and options.dim > hidden:
            raise InputError(
                f"dim must be <= {hidden}, the dimensions of {str(folder)!r}, got {options.dim}"
            )
        transformer = _read_transformer_settings(folder)
        if not (folder / "tokenizer.json").is_file():
            raise UnsupportedModelError("it has no tokenizer.json")
        if (folder / "adapter_config.json").exists():
            raise UnsupportedModelError("it has an adapter")
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
            truncation_side=_read_truncation_side(folder),
            dtype=_read_dtype(values),
            dim=options.dim if options.dim is not None else hidden,
        )

    def read_weights(self) -> Weights:
        """Return the weights that the vectors depend on; raise UnsupportedModelError."""
        weights: Weights = {}
        for path in _weight_paths(self.folder):
            found = _read_weight_file(path)
            if weights.keys() & found.keys():
                raise UnsupportedModelError(f"{path} has weights that another file has")
            weights |= found
        kinds = {str(array.dtype) for array in weights.values()}
        if kinds not in ({"float32"}, {"float16"}):
            raise UnsupportedModelError(f"its weights are {' and '.join(sorted(kinds)) or 'none'}")
        if self.dtype is not None and kinds != {self.dtype}:
            raise UnsupportedModelError(f"its weights aren't {self.dtype}, as config.json says")
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
        _check_tokenizer(tokenizer, _read_object(self.folder / "tokenizer_config.json"))
        if self.lower_case:
            _lower_texts(tokenizer)
        return tokenizer

    def fingerprint(self, weights: Weights, tokenizer: Any) -> str:
        """Return the fingerprint, which is that of the model on torch."""
        state = hash_arrays(
            (str(array.dtype), array.shape, np.ascontiguousarray(array))
            for _, array in sorted(weights.items())
        )
        transformer = describe_transformer(_read_object(self.folder / "config.json"))
        layers: list[list[object]] = [transformer]
        layers.append(["Pooling", self.pooling, True])
        layers += [["Normalize"]] if self.saved_normalize else []
        hashed = fingerprint_tokenizer(tokenizer)
        settings = {
            "prompts": self.prompts,
            "metric": self.metric.value,
            "dim": self.dim,
            "normalize": self.normalize,
            "max_length": [self.max_length] * 2,
            "cut": [self.truncation_side] * 2,
            "tokenizers": [hashed] * 2,
            "modules": [layers] * 2,
        }
        return combine(state, settings)


_LENGTH_FILES = [
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
]
"""Files with the settings of a transformer module; older versions named them by architecture."""
_WEIGHT_MAP = "model.safetensors.index.json"
_SETTINGS_FILES = (
    "modules.json",
    "config.json",
    "config_sentence_transformers.json",
    *_LENGTH_FILES,
    "tokenizer_config.json",
    _WEIGHT_MAP,
)
_TOKENS = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
"""The ``modality_config`` of a module that gives the token vectors of its last layer."""
_UNREADABLE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError)
"""Exceptions for values of unexpected types and sizes."""


def _read_json(path: Path) -> Any:
    """Return the contents of a JSON file, None without the file; raise UnsupportedModelError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UnsupportedModelError(f"{path} can't be read ({error})") from None


def _is_size(value: object) -> TypeGuard[int]:
    """Return whether a value is an integer that a model's size may have."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MAX_SIZE


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
    types = [str(part.get("type", "")) for part in modules]
    kinds = [
        name.rpartition(".")[2] if name.startswith("sentence_transformers.") else name
        for name in types
    ]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UnsupportedModelError(f"its modules are {', '.join(kinds)}")
    if modules[0].get("path"):
        raise UnsupportedModelError("its transformer is in a folder inside")
    return _read_pooling(folder / str(modules[1].get("path", "")) / "config.json"), len(kinds) == 3


def _read_prompts_and_metric(folder: Path, options: ModelOptions) -> tuple[tuple[str, str], Metric]:
    """Return the prompts of queries and passages, and the metric."""
    saved = _read_object(folder / "config_sentence_transformers.json")
    prompts = saved.get("prompts") or {}
    texts = [text for text in prompts.values() if text is not None]
    if not all(isinstance(text, str) and text.encode() is not None for text in texts):
        raise UnsupportedModelError("its prompts aren't strings")
    query, passage = (
        chosen if chosen is not None else prompts.get(name) or ""
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
        kinds = " and ".join([*map(str, modes), *others]) or "not said"
        raise UnsupportedModelError(f"its pooling is {kinds}")
    if not saved.get("include_prompt", True):
        raise UnsupportedModelError("its pooling leaves out the prompt")
    return cast(Pooling, modes[0])


def _read_transformer_settings(folder: Path) -> dict[str, Any]:
    """Return the transformer module's settings; raise UnsupportedModelError for unusual ones."""
    found = [folder / name for name in _LENGTH_FILES if (folder / name).is_file()]
    settings = _read_object(found[0]) if found else {}
    usual = {
        "transformer_task": "feature-extraction",
        "modality_config": _TOKENS,
        "module_output_name": "token_embeddings",
    }
    for name, value in settings.items():
        if name not in ("max_seq_length", "do_lower_case") and value not in (
            None, usual.get(name)
        ):  # fmt: skip
            raise UnsupportedModelError(f"its setting {name} is {value!r:.80}")
    length = settings.get("max_seq_length")
    if length is not None and not _is_size(length):
        raise UnsupportedModelError(f"its max_seq_length is {length!r}")
    return settings


def _read_truncation_side(folder: Path) -> Literal["right", "left"]:
    side = _read_object(folder / "tokenizer_config.json").get("truncation_side", "right")
    if side not in ("right", "left"):
        raise UnsupportedModelError(f"its truncation_side is {side!r}")
    return cast(Literal["right", "left"], side)


def _read_dtype(config: Mapping[str, Any]) -> str | None:
    """Return the type that ``config.json`` names."""
    found = config.get("dtype", config.get("torch_dtype"))
    return None if found is None else str(found).removeprefix("torch.")


def _find_max_length(
    folder: Path, config: Mapping[str, Any], settings: Mapping[str, Any], options: ModelOptions
) -> int | None:
    """Return the most tokens of a text, as sentence-transformers determines it."""
    saved = settings.get("max_seq_length")
    length = saved
    if length is None:
        length = _read_object(folder / "tokenizer_config.json").get("model_max_length")
        if length is not None and (isinstance(length, bool) or not length > 0):
            raise UnsupportedModelError(f"its model_max_length is {length!r}")
    positions = config.get("max_position_embeddings")
    limits = [int(limit) for limit in (length, positions) if limit and limit < _MAX_LENGTH]
    if options.max_length is None:
        return saved if saved is not None else min(limits, default=None)
    limit = min(limits, default=None)
    if limit is not None and options.max_length > limit:
        raise InputError(
            f"max_length must be <= {limit} for {str(folder)!r}, got {options.max_length}"
        )
    return options.max_length


def _check_tokenizer(tokenizer: Any, config: Mapping[str, Any]) -> None:
    """Raise UnsupportedModelError if ``tokenizer_config.json`` says other than ``tokenizer.json``.

    transformers then makes another tokenizer of both.
    """
    saved = json.loads(tokenizer.to_str())
    if not saved.get("post_processor"):
        raise UnsupportedModelError("its tokenizer adds no special tokens")
    normalizer, splitter = saved.get("normalizer") or {}, saved.get("pre_tokenizer") or {}
    pairs = []
    if normalizer.get("type") == "BertNormalizer":
        pairs = [
            ("do_lower_case", normalizer.get("lowercase")),
            ("strip_accents", normalizer.get("strip_accents")),
            ("tokenize_chinese_chars", normalizer.get("handle_chinese_chars")),
        ]
    if splitter.get("type") == "ByteLevel":
        pairs.append(("add_prefix_space", splitter.get("add_prefix_space")))
    for name, value in pairs:
        if config.get(name, value) != value:
            raise UnsupportedModelError(
                f"its tokenizer_config.json says {name}={config[name]!r}, and its tokenizer.json "
                f"{value!r}"
            )
    for name in ("cls_token", "sep_token", "bos_token", "eos_token", "unk_token"):
        token = config.get(name)
        text = token.get("content") if isinstance(token, dict) else token
        if text is not None and tokenizer.token_to_id(text) is None:
            raise UnsupportedModelError(f"its vocabulary lacks its {name} {text!r}")


def _lower_texts(tokenizer: Any) -> None:
    """Lowercase texts before they are split, unless the tokenizer does it anyway."""
    from tokenizers.normalizers import Lowercase, Sequence

    saved = json.loads(tokenizer.to_str()).get("normalizer") or {}
    steps = saved.get("normalizers", [saved])
    if not any(step.get("type") == "Lowercase" or step.get("lowercase") for step in steps):
        before = tokenizer.normalizer
        tokenizer.normalizer = Sequence([Lowercase(), *([before] if before is not None else [])])


def _weight_paths(folder: Path) -> list[Path]:
    """Return the files of the weights that transformers reads, none if one is missing."""
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    places = _read_object(folder / _WEIGHT_MAP).get("weight_map") or {}
    names = sorted(set(places.values()))
    if not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise UnsupportedModelError(f"its {_WEIGHT_MAP} names files outside of the folder")
    paths = [folder / name for name in names]
    return paths if all(path.is_file() for path in paths) else []


def _read_weight_file(path: Path) -> Weights:
    from safetensors import SafetensorError, safe_open

    weights: Weights = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - the file is no mapping
                plain = _plain_name(name)
                if plain in weights:
                    raise UnsupportedModelError(f"{path} has {plain!r} twice")
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
