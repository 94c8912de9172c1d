"""Exports sentence-transformers models to ONNX graphs, from token ids to the vector."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np

from twofold.encoders.batching import copy_fast_tokenizer
from twofold.encoders.model_loading import LoadedModel, Task, check_output_folder, write_folder
from twofold.encoders.model_spec import ModelOptions, format_spec
from twofold.encoders.onnx.manifest import (
    OnnxManifest,
    OnnxTower,
    Precision,
    Role,
    import_onnxruntime,
    is_onnx_folder,
)
from twofold.encoders.sentence_transformer import SentenceTransformerEncoder
from twofold.errors import EncoderWarning, InputError, MissingExtraError
from twofold.protocols import Encoder
from twofold.validation import check_choice

_OPSET = 17
_TASKS: dict[Role, Task] = {"query": "query", "passage": "document"}
_PROBES = (
    "",
    "one",
    "How do plants make their food?",
    "The Regulation (EU) 2016/679 enters into force on 25 May 2018; Ünïcode, 中文 and 🙂 too.",
    "Cells divide, and divide again, until the tissue is whole. " * 12,
    "word " * 1200,
)
"""Texts of very different lengths, to check that tracing didn't fix the length."""
_MIN_EXACT_COSINE = 0.9999
_MIN_INT8_COSINE = 0.95


def export_onnx(
    model: str | Path,
    folder: Path,
    precision: Precision,
    options: ModelOptions,
    open_encoder: Callable[[Path], Encoder],
) -> None:
    """Write a model to a folder, completely or not at all.

    See ``OnnxEncoder.export``. ``open_encoder`` opens the new folder, to compare its vectors with
    the model's.
    """
    check_choice("precision", precision, get_args(Precision))
    check_output_folder(folder, is_onnx_folder)
    import_onnxruntime()
    try:
        import onnx  # noqa: F401 - used by torch and by the quantizer
    except ImportError as error:
        raise MissingExtraError("exporting needs onnx: pip install 'twofold[onnx]'") from error
    encoder = SentenceTransformerEncoder(model, options=options, device="cpu")
    ready = encoder.loaded
    ready.model.float().eval()
    with write_folder(folder) as work:
        manifest = _build_manifest(ready, format_spec(str(model), options), precision)
        _write_tower(work, manifest.query, ready, "query")
        if manifest.passage.graph != manifest.query.graph:
            _write_tower(work, manifest.passage, ready, "document")
        manifest.write(work)
        cosine = _least_cosine(open_encoder(work), encoder)
        if not cosine >= _MIN_EXACT_COSINE:
            raise InputError(
                f"{str(model)!r} can't be exported: the graph's vectors differ from the model's "
                f"(cosine {cosine:.4f} at worst); use SentenceTransformerEncoder"
            )
        if precision == "int8":
            for name in {manifest.query.graph, manifest.passage.graph}:
                _quantize(work / name)
            manifest.write(work)
            cosine = _least_cosine(open_encoder(work), encoder)
            if not cosine >= _MIN_INT8_COSINE:
                warnings.warn(
                    f"int8 changes the vectors of {str(model)!r}: their cosine to the model's "
                    f"vectors is {cosine:.3f} at worst on fixed texts; evaluate it before use",
                    EncoderWarning,
                    stacklevel=3,
                )


def _build_manifest(ready: LoadedModel, spec: str, precision: Precision) -> OnnxManifest:
    """Return a manifest with one graph for both towers, or one each if they differ."""
    layers = [[id(layer) for layer in ready.modules(task)] for task in _TASKS.values()]
    shared = layers[0] == layers[1]
    towers: dict[Role, OnnxTower] = {}
    for role, task in _TASKS.items():
        part = "" if shared else f".{role}"
        towers[role] = OnnxTower(
            graph=f"model{part}.onnx",
            tokenizer=f"tokenizer{part}.json",
            prompt=ready.prompt(task),
            special_tokens=not _is_static(ready, task),
            max_length=ready.max_length(task),
        )
    return OnnxManifest(
        spec, precision, ready.dim, ready.metric, towers["query"], towers["passage"]
    )


def _write_tower(work: Path, tower: OnnxTower, ready: LoadedModel, task: Task) -> None:
    original = ready.tokenizer(task)
    tokenizer = copy_fast_tokenizer(original)
    if tokenizer is None:
        raise InputError(
            f"{tower.tokenizer} can't be written: the model's {type(original).__name__} is not a "
            "fast tokenizer"
        )
    if tower.max_length is not None:
        side = getattr(original, "truncation_side", "right")
        tokenizer.enable_truncation(tower.max_length, direction=side)
    tokenizer.save(str(work / tower.tokenizer))
    _write_graph(work / tower.graph, ready, task)


def _write_graph(path: Path, ready: LoadedModel, task: Task) -> None:
    """Trace one tower with one short text; the number of tokens stays variable.

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
    """Replace a graph by one with 8-bit weights per channel and dynamic activations.

    Uses 7 bits of them, because sums of 8-bit products overflow on CPUs without VNNI.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, small = path.with_suffix(".prepared"), path.with_suffix(".small")
    options = {"per_channel": True, "reduce_range": True, "weight_type": QuantType.QInt8}
    # The quantizer logs to the root logger, which would install a handler if it had none.
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        skip = {"skip_symbolic_shape": True, "skip_optimization": True}
        quant_pre_process(str(path), str(prepared), **skip)
        quantize_dynamic(str(prepared), str(small), **options)
    finally:
        root.removeHandler(handler)
    prepared.unlink()
    small.replace(path)


def _least_cosine(exported: Encoder, model: Encoder) -> float:
    """Return the least cosine of exported and original probe vectors, NaN if one is zero."""
    cosines = []
    for method in ("encode_queries", "encode_passages"):
        first, second = (getattr(encoder, method)(_PROBES) for encoder in (exported, model))
        norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        cosines.append(np.asarray(np.einsum("ij,ij->i", first, second) / norms, np.float32))
    return float(np.min(cosines))


def _is_static(ready: LoadedModel, task: Task) -> bool:
    return type(ready.modules(task)[0]).__name__ == "StaticEmbedding"
