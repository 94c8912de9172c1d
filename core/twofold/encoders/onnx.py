"""Encoders on ONNX Runtime, without torch, and the export of models to ONNX graphs."""

import json
import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import xxhash

from twofold.concurrency import map_threads
from twofold.encoders.batching import (
    TokenCounter,
    check_texts,
    copy_fast_tokenizer,
    fill_zero_vectors,
    progress_bar,
)
from twofold.encoders.model_loading import (
    TASKS,
    LoadedModel,
    Task,
    check_output_folder,
    write_folder,
)
from twofold.encoders.model_spec import AS_SAVED, ModelOptions, absolute_model, format_spec
from twofold.encoders.sentence_transformer import SentenceTransformerEncoder
from twofold.errors import EncoderNotFoundError, EncoderWarning, InputError, MissingExtraError
from twofold.protocols import Encoder
from twofold.similarity import Metric
from twofold.types import EncoderIdentity, Vectors
from twofold.validation import as_path, check_choice, check_integer

Precision = Literal["float32", "int8"]
_FILE = "encoder.json"
_KIND, _FORMAT = "twofold-onnx", 1
_CHUNK = 1 << 22  # bytes
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
_MIN_EXACT_COSINE = 0.9999
_MIN_INT8_COSINE = 0.95


@dataclass(frozen=True, slots=True)
class OnnxTower:
    """Files and options of an exported tower; ``max_length`` in tokens, None for no limit."""

    graph: str
    tokenizer: str
    prompt: str
    special_tokens: bool
    max_length: int | None


@dataclass(frozen=True, slots=True)
class OnnxManifest:
    """The contents of ``encoder.json``; ``model`` is the spec of the exported model."""

    model: str
    precision: Precision
    dim: int
    metric: Metric
    query: OnnxTower
    passage: OnnxTower

    def fingerprint(self, folder: Path) -> str:
        """Return a hash of the files and options that determine the vectors."""
        state = xxhash.xxh3_128()
        names = tuple(
            name for tower in (self.query, self.passage) for name in (tower.graph, tower.tokenizer)
        )
        for path in sorted(folder.iterdir()):
            if path.name.startswith(names) and path.is_file():  # a graph may have a weights file
                state.update(f"{path.name} {path.stat().st_size} ".encode())
                with path.open("rb") as file:
                    while block := file.read(_CHUNK):
                        state.update(block)
        options = asdict(self)
        del options["model"]  # doesn't affect the vectors
        state.update(json.dumps(options, sort_keys=True).encode())
        return state.hexdigest()

    def write(self, folder: Path) -> None:
        """Write ``encoder.json`` to an exported folder whose other files are complete."""
        header = {"kind": _KIND, "format": _FORMAT, "fingerprint": self.fingerprint(folder)}
        text = json.dumps(header | asdict(self), indent=2, ensure_ascii=False)
        (folder / _FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "tuple[OnnxManifest, str]":
        """Return a folder's manifest and the fingerprint stored in it."""
        path = folder / _FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if (values.pop("kind"), values.pop("format")) != (_KIND, _FORMAT):
                raise ValueError(f"this version reads format {_FORMAT}")
            fingerprint = str(values.pop("fingerprint"))
            values["metric"] = Metric(values["metric"])
            for role in ("query", "passage"):
                values[role] = OnnxTower(**values[role])
            return cls(**values), fingerprint
        except (FileNotFoundError, NotADirectoryError):
            raise EncoderNotFoundError(
                f"{folder} has no exported model: make one with OnnxEncoder.export or "
                f"'twofold export MODEL --to {folder} --as onnx'"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} can't be read ({error}): export the model again") from error


class OnnxEncoder:
    """Runs a model that ``OnnxEncoder.export`` wrote to a folder. Needs the extra ``onnx``.

    Each text is run alone and unpadded, so that its vector doesn't depend on the other texts. In a
    batch, an int8 model would scale the activations of all texts together.

    Args:
        folder: The exported folder.
        threads: How many texts to run at once. Default: one per core.
        progress: Whether to draw a progress bar on standard error.

    Example:
        >>> from twofold import Index, OnnxEncoder
        >>> _ = OnnxEncoder.export("all-MiniLM-L6-v2", "minilm-onnx")  # doctest: +SKIP
        >>> index = Index.open(None, encoder=OnnxEncoder("minilm-onnx"))  # doctest: +SKIP
    """

    def __init__(
        self, folder: str | Path, *, threads: int | None = None, progress: bool = False
    ) -> None:
        if threads is not None:
            check_integer("threads", threads)
        self._folder = Path(absolute_model(folder))
        self.name = format_spec(str(self._folder), {})
        self.progress = progress
        self._threads = threads if threads is not None else os.cpu_count() or 1
        self._manifest, self._fingerprint = OnnxManifest.read(self._folder)
        self._opened: dict[tuple[str, str], tuple[Any, Any]] = {}

    @classmethod
    def export(
        cls,
        model: str | Path,
        folder: str | Path,
        *,
        precision: Precision = "float32",
        options: ModelOptions = AS_SAVED,
    ) -> "OnnxEncoder":
        """Write a model to a folder as ONNX graphs, and return the folder's encoder.

        The folder is written completely or not at all.

        Args:
            model: The name or folder of a sentence-transformers model.
            folder: The folder to write: new, empty, or an earlier export.
            precision: ``"int8"`` stores weights in 8 bits, scaled per channel, without calibration.
            options: Options that override how the model was saved.

        Raises:
            InputError: The folder has other files, or the graph's vectors differ from the model's.
        """
        check_choice("precision", precision, get_args(Precision))
        check_output_folder(as_path("folder", folder), is_onnx_folder)
        _import_onnxruntime()
        try:
            import onnx  # noqa: F401 - used by torch and by the quantizer
        except ImportError as error:
            raise MissingExtraError("exporting needs onnx: pip install 'twofold[onnx]'") from error
        encoder = SentenceTransformerEncoder(model, options=options, device="cpu")
        ready = encoder.loaded
        ready.model.float().eval()
        with write_folder(Path(folder)) as work:
            manifest = _build_manifest(ready, format_spec(str(model), asdict(options)), precision)
            _write_tower(work, manifest.query, ready, "query")
            if manifest.passage.graph != manifest.query.graph:
                _write_tower(work, manifest.passage, ready, "document")
            manifest.write(work)
            cosine = _least_cosine(cls(work), encoder)
            if not cosine >= _MIN_EXACT_COSINE:
                raise InputError(
                    f"{str(model)!r} can't be exported: the graph's vectors differ from the "
                    f"model's (cosine {cosine:.4f} at worst); use SentenceTransformerEncoder"
                )
            if precision == "int8":
                for name in {manifest.query.graph, manifest.passage.graph}:
                    _quantize(work / name)
                manifest.write(work)
                cosine = _least_cosine(cls(work), encoder)
                if not cosine >= _MIN_INT8_COSINE:
                    warnings.warn(
                        f"int8 changes the vectors of {str(model)!r}: their cosine to the model's "
                        f"vectors is {cosine:.3f} at worst on fixed texts; evaluate it before use",
                        EncoderWarning,
                        stacklevel=2,
                    )
        return cls(folder)

    @cached_property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric and fingerprint. The first use hashes all files.

        Raises InputError if the files have changed since the export.
        """
        manifest = self._manifest
        if manifest.fingerprint(self._folder) != self._fingerprint:
            raise InputError(
                f"the files in {self._folder} have changed since the export: export the model again"
            )
        return EncoderIdentity(self.name, manifest.dim, manifest.metric, self._fingerprint)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per query, float32 (n, dim)."""
        return self._encode(texts, self._manifest.query)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per passage, float32 (n, dim)."""
        return self._encode(texts, self._manifest.passage)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many passages have more tokens than the model reads."""
        tower = self._manifest.passage
        if tower.max_length is None:
            return 0
        _, tokenizer = self._open(tower)
        counts = TokenCounter(tokenizer).count([tower.prompt + text for text in texts])
        return int((counts > tower.max_length).sum())

    def _encode(self, texts: Sequence[str], tower: OnnxTower) -> Vectors:
        texts = check_texts(texts)
        session, tokenizer = self._open(tower)
        encodings = tokenizer.encode_batch(
            [tower.prompt + text for text in texts], add_special_tokens=tower.special_tokens
        )
        ids = [np.array([encoding.ids], np.int64) for encoding in encodings]
        # Longest first, so that no thread runs a long text alone at the end.
        sizes = np.array([row.size for row in ids], np.int64)
        order = [place for place in np.argsort(-sizes, kind="stable").tolist() if sizes[place]]
        vectors = np.zeros((len(texts), self._manifest.dim), np.float32)
        with progress_bar(len(texts), shown=self.progress) as advance:
            results = map_threads(
                lambda place: session.run(None, {"input_ids": ids[place]})[0], order, self._threads
            )
            for place, vector in zip(order, results, strict=True):
                vectors[place] = vector[0]
                advance(1)
        return fill_zero_vectors(vectors, self._manifest.metric)

    def _open(self, tower: OnnxTower) -> tuple[Any, Any]:
        """Return a tower's ONNX session and tokenizer, shared by towers with the same files."""
        files = (tower.graph, tower.tokenizer)
        if files not in self._opened:
            ort = _import_onnxruntime()
            from tokenizers import Tokenizer

            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            try:
                session = ort.InferenceSession(
                    str(self._folder / tower.graph), options, providers=["CPUExecutionProvider"]
                )
                tokenizer = Tokenizer.from_file(str(self._folder / tower.tokenizer))
            except Exception as error:
                raise InputError(
                    f"the model in {self._folder} can't be opened ({error}): export it again"
                ) from error
            self._opened[files] = session, tokenizer
        return self._opened[files]


def is_onnx_folder(folder: Path) -> bool:
    """Return whether a folder was written by ``OnnxEncoder.export``."""
    try:
        text = (folder / _FILE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return f'"{_KIND}"' in text


def _import_onnxruntime() -> Any:
    """Return the module onnxruntime; raise MissingExtraError if it isn't installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "ONNX encoders need onnxruntime: pip install 'twofold[onnx]'"
        ) from error
    return onnxruntime


def _build_manifest(ready: LoadedModel, spec: str, precision: Precision) -> OnnxManifest:
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
    return OnnxManifest(spec, precision, ready.dim, ready.metric, query, passage)


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
    """Return the lowest cosine of both encoders' vectors of _PROBES; NaN if one is zero."""
    cosines = []
    for method in ("encode_queries", "encode_passages"):
        first, second = (getattr(encoder, method)(_PROBES) for encoder in (exported, model))
        norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        cosines.append(np.asarray(np.einsum("ij,ij->i", first, second) / norms, np.float32))
    return float(np.min(cosines))


def _is_static(ready: LoadedModel, task: Task) -> bool:
    return type(ready.modules(task)[0]).__name__ == "StaticEmbedding"
