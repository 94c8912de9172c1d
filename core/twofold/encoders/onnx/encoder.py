"""Runs exported bi-encoders on ONNX Runtime, without torch."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twofold.concurrency import map_threads
from twofold.encoders.batching import TokenCounter, check_texts, fill_zero_vectors, progress_bar
from twofold.encoders.model_spec import AS_SAVED, ModelOptions, check_model_name, format_spec
from twofold.encoders.onnx.export import export_onnx
from twofold.encoders.onnx.manifest import (
    OnnxManifest,
    OnnxTower,
    Precision,
    Role,
    import_onnxruntime,
)
from twofold.errors import InputError
from twofold.types import EncoderIdentity, Vectors
from twofold.validation import check_integer


class OnnxEncoder:
    """A model that ``OnnxEncoder.export`` wrote to a folder. Needs the extra ``onnx``.

    Each text is run alone and unpadded, so that its vector doesn't depend on the other texts. Under
    int8 it would, because activations are scaled by the contents of a run.

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
        self.name = format_spec(check_model_name(folder), AS_SAVED)
        self.progress = progress
        self._folder = Path(folder)
        self._threads = threads if threads is not None else os.cpu_count() or 1
        self._manifest, self._fingerprint = OnnxManifest.read(self._folder)
        self._towers: dict[Role, OnnxTower] = {
            "query": self._manifest.query,
            "passage": self._manifest.passage,
        }
        self._opened: dict[tuple[str, str], tuple[Any, Any]] = {}
        self._identity: EncoderIdentity | None = None

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

        Args:
            model: The name or folder of a sentence-transformers model.
            folder: The folder to write: new, empty, or an earlier export.
            precision: ``"int8"`` stores weights in 8 bits, scaled per channel, without calibration.
            options: Options that override how the model was saved.

        Raises:
            InputError: The folder has other files, or the graph's vectors differ from the model's.
        """
        export_onnx(model, Path(folder), precision, options, open_encoder=cls)
        return cls(folder)

    @property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric and fingerprint. The first use hashes all files.

        Raises InputError if the files have changed since the export.
        """
        if self._identity is None:
            manifest = self._manifest
            if manifest.fingerprint(self._folder) != self._fingerprint:
                raise InputError(
                    f"the files in {self._folder} have changed since the export: export the model "
                    "again"
                )
            self._identity = EncoderIdentity(
                self.name, manifest.dim, manifest.metric, self._fingerprint
            )
        return self._identity

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per query, float32 (n, dim)."""
        return self._encode(texts, "query")

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per passage, float32 (n, dim)."""
        return self._encode(texts, "passage")

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many passages are longer than the model reads."""
        tower = self._towers["passage"]
        if tower.max_length is None:
            return 0
        _, tokenizer = self._open(tower)
        counts = TokenCounter(tokenizer).count([tower.prompt + text for text in texts])
        return int((counts > tower.max_length).sum())

    def _encode(self, texts: Sequence[str], role: Role) -> Vectors:
        texts, tower = check_texts(texts), self._towers[role]
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
        """Return a tower's session and tokenizer, shared by towers with the same files."""
        files = (tower.graph, tower.tokenizer)
        if files not in self._opened:
            ort = import_onnxruntime()
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
