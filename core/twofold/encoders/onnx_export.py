"""Writes models to folders as ONNX graphs: built from their weights, or traced by torch."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from twofold.encoders.batching import copy_fast_tokenizer
from twofold.encoders.carried_graph import complete_graph, pools_tokens
from twofold.encoders.model_loading import TASKS, LoadedModel, Task
from twofold.encoders.onnx_folder import (
    OnnxManifest,
    OnnxRunner,
    OnnxTower,
    Precision,
)
from twofold.encoders.sentence_transformer import SentenceTransformerEncoder
from twofold.encoders.transformer_files import (
    TransformerConfig,
    TransformerFiles,
    UnsupportedModelError,
    Weights,
)
from twofold.encoders.transformer_graph import build_graph
from twofold.encoders.transformer_reference import encode_tokens
from twofold.errors import EncoderWarning, InputError, MissingExtraError
from twofold.extras import is_installed
from twofold.types import Vectors

_OPSET = 17

_PROBES = (
    "",
    "one",
    "How do plants make their food?",
    "The Regulation (EU) 2016/679 enters into force on 25 May 2018; Ünïcode, 中文 and 🙂 too.",
    "Cells divide, and divide again, until the tissue is whole. " * 12,
    "word " * 1200,
)
"""Texts of very different lengths, to check that tracing didn't fix the length."""
_log = logging.getLogger("twofold")
_SHORT_PROBES = _PROBES[:4]
_MIN_EXACT_COSINE = 0.9999
_MAX_DIFFERENCE = 1e-3  # of a vector's length: a cosine of .9999995 for vectors of one length
_MAX_INLINE = 1_500_000_000  # bytes; a graph with its weights may have 2 GB
_MIN_INT8_COSINE = 0.95


def write_traced(
    work: Path, encoder: SentenceTransformerEncoder, spec: str, precision: Precision
) -> None:
    """Write graphs that torch traces.

    Raises InputError if the vectors of the graphs differ from those of the model.
    """
    ready = encoder.loaded
    manifest = _manifest_of_loaded(ready, spec, precision)
    ready.model.float().eval()
    _write_tower(work, manifest.query, ready, "query")
    if manifest.passage.graph != manifest.query.graph:
        _write_tower(work, manifest.passage, ready, "document")
    manifest.write(work)
    wanted = [encoder.encode_queries(_PROBES), encoder.encode_passages(_PROBES)]
    cosine = _least_cosine(_encode_probes(work, manifest), wanted)
    if not cosine >= _MIN_EXACT_COSINE:
        raise InputError(
            f"{encoder.name!r} can't be exported: the graph's vectors differ from the model's "
            f"(cosine {cosine:.4f} at worst); use SentenceTransformerEncoder"
        )
    if precision == "int8":
        _write_int8(work, manifest, wanted)


def write_built(work: Path, files: TransformerFiles, spec: str, precision: Precision) -> None:
    """Write a graph that is built from a model's weights, or the one that its folder carries.

    Raises:
        UnsupportedModelError: The graph can't be made, or doesn't compute what it should.
        InputError: The options don't fit the model.
        OSError: A file can't be written.
    """
    try:
        _write_built(work, files, spec, precision)
    except (UnsupportedModelError, MissingExtraError, OSError):
        raise
    except InputError as error:
        if files.options.max_length is not None and "max_length" in str(error):
            raise
        raise UnsupportedModelError(f"its graph can't be used ({error})") from error
    except Exception as error:  # of onnxruntime, tokenizers and protobuf, without a common base
        if not work.is_dir():  # another process has deleted the folder
            raise FileNotFoundError(str(work)) from error
        raise UnsupportedModelError(
            f"its graph can't be used ({type(error).__name__}: {error})"
        ) from error


def _write_built(work: Path, files: TransformerFiles, spec: str, precision: Precision) -> None:
    weights, tokenizer = files.read_weights(), files.read_tokenizer()
    special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if files.max_length is not None and files.max_length <= special:
        raise InputError(
            f"max_length must be >= {special + 1} for {spec!r}, which adds {special} special "
            f"tokens, got {files.max_length}"
        )
    pooling, dim, normalize = files.pooling, files.dim, files.normalize
    if files.config is not None:
        _check_sizes(files.config, weights, tokenizer, files.max_length)
        graph = build_graph(files.config, weights, pooling, dim=dim, normalize=normalize)
    else:
        assert files.graph is not None  # or the files would be unsupported
        graph = complete_graph(files.graph, pooling, dim, normalize=normalize)
    save_graph(graph, work / "model.onnx", sum(array.size for array in weights.values()) * 4)
    fingerprint = files.fingerprint(weights, tokenizer)
    if files.max_length is not None:
        tokenizer.enable_truncation(files.max_length, direction=files.truncation_side)
    # The tokenizer's own method raises no OSError.
    (work / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    query, passage = (
        OnnxTower("model.onnx", "tokenizer.json", prompt, True, files.max_length)
        for prompt in files.prompts
    )
    manifest = OnnxManifest(
        spec, _mark(fingerprint, precision), precision, files.dim, files.metric, query, passage
    )
    manifest.write(work)
    runner = OnnxRunner(work, manifest)
    if files.config is not None:
        _check_built(runner, files, files.config, weights)
    else:
        _check_carried(runner, files)
    if precision == "int8":
        _write_int8(work, manifest, _encode_probes(work, manifest))


def _check_sizes(
    config: TransformerConfig, weights: Weights, tokenizer: Any, max_length: int | None
) -> None:
    """Raise UnsupportedModelError if a token or position of a text may have no embedding."""
    words = len(weights.get("embeddings.word_embeddings.weight", ()))
    if tokenizer.get_vocab_size() > words:
        raise UnsupportedModelError(
            f"its vocabulary has {tokenizer.get_vocab_size():,} tokens, and {words:,} embeddings"
        )
    offset = config.padding + 1 if config.architecture.padded_positions else 0
    longest = config.positions - offset
    if max_length is None or max_length > longest:
        raise UnsupportedModelError(
            f"it reads {max_length} tokens, and has embeddings for {longest:,} positions"
        )


def _check_carried(runner: OnnxRunner, files: TransformerFiles) -> None:
    """Raise UnsupportedModelError if torch computes other vectors.

    A folder may carry the graph of other weights, such as those before fine-tuning. Without torch,
    a graph that pools isn't used, because its pooling and normalization aren't known.
    """
    if not can_compare():
        if files.graph is not None and pools_tokens(files.graph):
            raise UnsupportedModelError(
                f"{files.graph} pools tokens itself, and without torch it can't be compared with "
                "the weights"
            )
        _log.warning(
            "%s is used as it is: without torch, it can't be compared with the weights beside it",
            files.graph,
        )
        _encode_probes(runner.folder, runner.manifest)  # raises if it can't encode
        return
    model = SentenceTransformerEncoder(str(files.folder), options=files.options, device="cpu")
    wanted = [model.encode_queries(_PROBES), model.encode_passages(_PROBES)]
    for ours, theirs in zip(_encode_probes(runner.folder, runner.manifest), wanted, strict=True):
        _check_difference(ours, theirs)


def _check_built(
    runner: OnnxRunner, files: TransformerFiles, config: TransformerConfig, weights: Weights
) -> None:
    """Raise UnsupportedModelError unless a graph computes what numpy computes."""
    tower = replace(runner.manifest.passage, prompt="")
    _, tokenizer = runner.open(tower)
    wanted = np.stack(
        [
            encode_tokens(config, weights, files.pooling, tokenizer.encode(text).ids)
            for text in _SHORT_PROBES
        ]
    )[:, : files.dim]
    if files.normalize:
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    _check_difference(runner.encode(_SHORT_PROBES, tower), np.asarray(wanted, np.float32))


def _check_difference(found: Vectors, wanted: Vectors) -> None:
    """Raise UnsupportedModelError if vectors differ by more than rounding."""
    length = np.maximum(np.linalg.norm(wanted, axis=1), np.finfo(np.float32).tiny)
    difference = float((np.linalg.norm(found - wanted, axis=1) / length).max())
    if not difference <= _MAX_DIFFERENCE:
        raise UnsupportedModelError(
            f"its graph has other vectors than its weights: they differ by {difference:.2g} of "
            "their length"
        )


def can_compare() -> bool:
    """Return whether torch is installed, to compare graphs with weights."""
    return is_installed("sentence_transformers", "torch")


def save_graph(graph: Any, path: Path, size: int) -> None:
    """Write a graph to a file, with its weights of ``size`` bytes in another if they are many."""
    import onnx

    large = size > _MAX_INLINE
    onnx.save_model(graph, str(path), save_as_external_data=large, location=f"{path.name}.data")


def _write_int8(work: Path, manifest: OnnxManifest, wanted: Sequence[Vectors]) -> None:
    """Quantize the graphs of a folder; warn if its vectors change much."""
    for name in {manifest.query.graph, manifest.passage.graph}:
        _quantize(work / name)
    manifest.write(work)
    cosine = _least_cosine(_encode_probes(work, manifest), wanted)
    if not cosine >= _MIN_INT8_COSINE:
        warnings.warn(
            f"int8 changes the vectors of {manifest.model!r}: their cosine to the model's "
            f"vectors is {cosine:.3f} at worst on fixed texts; evaluate it before use",
            EncoderWarning,
            stacklevel=3,
        )


def _encode_probes(work: Path, manifest: OnnxManifest) -> list[Vectors]:
    """Return the vectors of the probes as queries and as passages."""
    runner = OnnxRunner(work, manifest)
    return [runner.encode(_PROBES, tower) for tower in (manifest.query, manifest.passage)]


def _mark(fingerprint: str, precision: Precision) -> str:
    """Return the fingerprint of a model's vectors in a precision."""
    if precision == "float32":
        return fingerprint
    return xxhash.xxh3_128_hexdigest(f"{fingerprint} {precision}".encode())


def _manifest_of_loaded(ready: LoadedModel, spec: str, precision: Precision) -> OnnxManifest:
    """Return a manifest with one graph for both towers, or one each if they differ."""
    shared = ready.modules("query") == ready.modules("document")
    query, passage = (
        OnnxTower(
            graph=f"model{part}.onnx",
            tokenizer=f"tokenizer{part}.json",
            prompt=ready.prompt(task),
            special_tokens=not _is_static(ready, task),
            max_length=ready.max_length(task),
        )
        for task, part in zip(TASKS, ("", "") if shared else (".query", ".passage"), strict=True)
    )
    fingerprint = _mark(ready.fingerprint(), precision)
    return OnnxManifest(spec, fingerprint, precision, ready.dim, ready.metric, query, passage)


def _write_tower(work: Path, tower: OnnxTower, ready: LoadedModel, task: Task) -> None:
    original = ready.tokenizer(task)
    tokenizer = copy_fast_tokenizer(original)
    if tokenizer is None:
        raise InputError(
            f"the model can't be exported: its tokenizer {type(original).__name__} isn't a fast "
            "tokenizer; use SentenceTransformerEncoder"
        )
    if tower.max_length is not None:
        side = getattr(original, "truncation_side", "right")
        tokenizer.enable_truncation(tower.max_length, direction=side)
    tokenizer.save(str(work / tower.tokenizer))
    _write_graph(work / tower.graph, ready, task)


def _write_graph(path: Path, ready: LoadedModel, task: Task) -> None:
    """Write a tower as an ONNX graph, traced with a short text; its input length is variable.

    Uses the older of torch's two exporters. Graphs of the newer one are a sixth slower on a CPU,
    because they split LayerNorm and GELU.
    """
    import torch

    layers, static = ready.modules(task), _is_static(ready, task)
    dim, renormalize = ready.dim, ready.renormalize

    class Tower(torch.nn.Module):
        """Maps token ids (1, n) to a vector (1, dim). Needs no mask, as nothing is padded."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList(layers)

        def forward(self, input_ids: Any) -> Any:
            if static:
                rows = torch.nn.functional.embedding(input_ids, layers[0].embedding.weight)
                features = {"sentence_embedding": rows.mean(dim=1)}
            else:
                features = layers[0]({"input_ids": input_ids})
            for layer in layers[1:]:
                features = layer(features)
            vectors = features["sentence_embedding"][:, :dim]
            return torch.nn.functional.normalize(vectors) if renormalize else vectors

    ids = torch.tensor([[0, 1, 2, 1, 0]])  # every vocabulary has these
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tracing; the vectors are compared afterwards
        torch.onnx.export(
            Tower().eval(),
            (ids,),
            str(path),
            input_names=["input_ids"],
            output_names=["vectors"],
            dynamic_axes={"input_ids": {1: "tokens"}},
            opset_version=_OPSET,
            dynamo=False,
        )


def _quantize(path: Path) -> None:
    """Quantize a graph's file in place: int8 weights per channel, dynamic activations.

    Weights use 7 of the 8 bits, because sums of 8-bit products overflow on CPUs without VNNI.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = path.with_suffix(".small")
    # The quantizer logs to the root logger, which would install a handler if it had none.
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        quantize_dynamic(
            str(path),
            str(small),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            # The shapes behind fused operators aren't inferred.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    finally:
        root.removeHandler(handler)
    small.replace(path)
    path.with_name(f"{path.name}.data").unlink(missing_ok=True)


def _least_cosine(first: Sequence[Vectors], second: Sequence[Vectors]) -> float:
    """Return the lowest cosine of two encoders' vectors of the same texts; NaN if one is zero."""
    cosines = []
    for ours, theirs in zip(first, second, strict=True):
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        cosines.append(np.asarray(np.einsum("ij,ij->i", ours, theirs) / norms, np.float32))
    return float(np.min(cosines))


def _is_static(ready: LoadedModel, task: Task) -> bool:
    return type(ready.modules(task)[0]).__name__ == "StaticEmbedding"
