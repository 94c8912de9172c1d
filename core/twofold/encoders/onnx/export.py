"""From a sentence-transformers model to ONNX graphs: every layer, from tokens to the vector."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np

from twofold.encoders.batching import check_texts
from twofold.encoders.model_folder import check_target, written_whole
from twofold.encoders.model_loading import LoadedModel, Task
from twofold.encoders.model_spec import ModelOptions, format_spec
from twofold.encoders.onnx.encoder import OnnxEncoder
from twofold.encoders.onnx.manifest import (
    OnnxManifest,
    OnnxTower,
    Precision,
    Role,
    is_onnx_folder,
    runtime,
)
from twofold.encoders.sentence_transformer import SentenceTransformerEncoder
from twofold.errors import EncoderWarning, InputError, MissingExtraError
from twofold.types import Vectors

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
"""Texts of very different lengths: tracing must not have fixed any of them."""
_SAME = 0.9999
_POOR = 0.95


def export_onnx(
    model: str | Path, folder: Path, precision: Precision, options: ModelOptions
) -> None:
    """Write ``folder`` whole or not at all; what is raised is said at ``OnnxEncoder.export``."""
    if precision not in get_args(Precision):
        raise InputError(f"precision is {precision!r}: 'float32' or 'int8' is wanted")
    check_target(folder, is_onnx_folder)
    runtime()
    _check_onnx()
    encoder = SentenceTransformerEncoder(model, options=options, device="cpu")
    ready = encoder.loaded
    ready.model.float().eval()
    with written_whole(folder) as work:
        manifest = _manifest(ready, format_spec(str(model), options), precision)
        _write_tower(work, manifest.query, ready, "query")
        if manifest.passage.graph != manifest.query.graph:
            _write_tower(work, manifest.passage, ready, "document")
        manifest.write(work)
        exact = _worst_cosine(OnnxEncoder(work), encoder)
        if not exact >= _SAME:
            raise InputError(
                f"the graph of {str(model)!r} gives other vectors than the model itself (cosine "
                f"{exact:.4f} at worst): it can't be exported, use SentenceTransformerEncoder"
            )
        if precision == "int8":
            for name in {manifest.query.graph, manifest.passage.graph}:
                _quantize(work / name)
            manifest.write(work)
            rough = _worst_cosine(OnnxEncoder(work), encoder)
            if not rough >= _POOR:
                warnings.warn(
                    f"{str(model)!r} suffers from int8: the cosine to its own vectors is "
                    f"{rough:.3f} at worst, on fixed texts; measure it before you use it",
                    EncoderWarning,
                    stacklevel=4,
                )


def _check_onnx() -> None:
    try:
        import onnx  # noqa: F401 - what torch and the quantiser write with
    except ImportError as error:
        raise MissingExtraError("exporting needs onnx: pip install 'twofold[onnx]'") from error


def _manifest(ready: LoadedModel, spec: str, precision: Precision) -> OnnxManifest:
    """Return what will be in the folder: one graph, or one for each tower that differs."""
    layers = [[id(layer) for layer in ready.modules(task)] for task in _TASKS.values()]
    shared = layers[0] == layers[1]
    towers: dict[Role, OnnxTower] = {}
    for role in get_args(Role):
        task = _TASKS[role]
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
    from tokenizers import Tokenizer

    given = ready.tokenizer(task)
    own = getattr(given, "backend_tokenizer", given)
    if not isinstance(own, Tokenizer):
        raise InputError(
            f"{tower.tokenizer} can't be written: the model's tokenizer is a "
            f"{type(given).__name__}, and only fast ones can be exported"
        )
    tokenizer = Tokenizer.from_str(own.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if tower.max_length is not None:
        side = getattr(given, "truncation_side", "right")
        tokenizer.enable_truncation(tower.max_length, direction=side)
    tokenizer.save(str(work / tower.tokenizer))
    _write_graph(work / tower.graph, ready, task)


def _write_graph(path: Path, ready: LoadedModel, task: Task) -> None:
    """Trace one tower with one text of a few tokens; the number of tokens stays open.

    Tracing is the older of torch's two exporters. The graphs of the other one were a sixth slower
    on a CPU, for LayerNorm and GELU come out in pieces.
    """
    import torch

    layers, static = ready.modules(task), _is_static(ready, task)
    dim, renormalize = ready.dim, ready.renormalize

    class Tower(torch.nn.Module):
        """Token ids (1, n) to a vector (1, dim); without a mask, since nothing is padded."""

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

    # Ids that every vocabulary has.
    ids = torch.tensor([[0, 1, 2, 1, 0]])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, which the comparison afterwards answers
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
    """Replace a graph by one with weights of 8 bits, by channel, activations scaled as they come.

    The range is reduced to 7 bits since sums of 8-bit products overflow on CPUs without VNNI.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, small = path.with_suffix(".prepared"), path.with_suffix(".small")
    with _quiet_root_logger():
        quant_pre_process(
            str(path), str(prepared), skip_symbolic_shape=True, skip_optimization=True
        )
        quantize_dynamic(
            str(prepared),
            str(small),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
    prepared.unlink()
    small.replace(path)


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """Keep the quantiser, which logs by the root logger, from giving it a handler for good."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _worst_cosine(exported: OnnxEncoder, model: SentenceTransformerEncoder) -> float:
    """Return the least cosine of a probe's exported vector to the model's own, of both towers."""
    texts = check_texts(_PROBES)
    cosines = [
        _cosines(exported.encode_queries(texts), model.encode_queries(texts)),
        _cosines(exported.encode_passages(texts), model.encode_passages(texts)),
    ]
    return float(np.min(cosines))


def _cosines(ours: Vectors, theirs: Vectors) -> Vectors:
    """Return the cosine of each pair of rows, NaN where one has no direction."""
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return np.asarray(np.einsum("ij,ij->i", ours, theirs) / lengths, np.float32)


def _is_static(ready: LoadedModel, task: Task) -> bool:
    return type(ready.modules(task)[0]).__name__ == "StaticEmbedding"
