"""Exported bi-encoders on ONNX Runtime: no torch, no padding, one text at a time."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twofold.concurrency import map_threads
from twofold.encoders.batching import TokenCounter, check_texts, fill_zero_vectors, progress_bar
from twofold.encoders.model_spec import AS_SAVED, ModelOptions, format_spec, check_model_name
from twofold.encoders.onnx.manifest import (
    OnnxManifest,
    OnnxTower,
    Precision,
    Role,
    runtime,
)
from twofold.errors import InputError
from twofold.types import EncoderIdentity, Vectors


class OnnxEncoder:
    """A model that ``OnnxEncoder.export`` wrote to a folder; needs the extra ``onnx``, not torch.

    Every text is run by itself, unpadded, on one of ``threads`` threads (left out: one a core), so
    that its vector never depends on its neighbours, not even under int8, whose activations are
    scaled by what a run holds.
    """

    def __init__(
        self, folder: str | Path, *, threads: int | None = None, progress: bool = False
    ) -> None:
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads}: at least 1 is wanted")
        self.name = format_spec(check_model_name(folder), AS_SAVED)
        self.progress = progress
        self._folder = Path(folder)
        self._threads = threads if threads is not None else os.cpu_count() or 1
        self._manifest, self._fingerprint = OnnxManifest.read(self._folder)
        self._running: dict[Role, tuple[Any, Any]] = {}
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
        """Write a model and its options to ``folder`` as ONNX graphs, and return their encoder.

        ``"int8"`` stores weights in 8 bits, scaled by channel, and needs no calibration. Raises
        InputError for a folder that holds something else, and for a model whose graph doesn't
        give the model's own vectors.
        """
        from twofold.encoders.onnx.export import export_onnx

        export_onnx(model, Path(folder), precision, options)
        return cls(folder)

    @property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric and fingerprint; the first use hashes all files.

        Raises InputError if they aren't those that were exported.
        """
        if self._identity is None:
            manifest = self._manifest
            if manifest.fingerprint(self._folder) != self._fingerprint:
                raise InputError(
                    f"the files in {self._folder} are not those that were exported: export the "
                    "model again"
                )
            self._identity = EncoderIdentity(
                self.name, manifest.dim, manifest.metric, self._fingerprint
            )
        return self._identity

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a query, float32 (n, dim)."""
        return self._encoded(texts, "query")

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a passage, float32 (n, dim)."""
        return self._encoded(texts, "passage")

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many passages are longer than the model reads."""
        tower = self._manifest.passage
        if tower.max_length is None:
            return 0
        counter = TokenCounter(self._ready("passage")[1])
        lengths = counter.count([tower.prompt + text for text in texts])
        return int((lengths > tower.max_length).sum())

    def _encoded(self, texts: Sequence[str], role: Role) -> Vectors:
        texts, tower = check_texts(texts), self._tower(role)
        session, tokenizer = self._ready(role)
        encodings = tokenizer.encode_batch(
            [tower.prompt + text for text in texts], add_special_tokens=tower.special_tokens
        )
        ids = [np.array([each.ids], np.int64) for each in encodings]
        # Longest first, so that no thread is left with a long one at the end.
        order = sorted(
            (place for place in range(len(ids)) if ids[place].size),
            key=lambda place: -ids[place].size,
        )
        vectors = np.zeros((len(texts), self._manifest.dim), np.float32)
        with progress_bar(len(texts), shown=self.progress) as advance:
            runs = map_threads(
                lambda place: session.run(None, {"input_ids": ids[place]})[0], order, self._threads
            )
            for place, vector in zip(order, runs, strict=True):
                vectors[place] = vector[0]
                advance(1)
        return fill_zero_vectors(vectors, self._manifest.metric)

    def _tower(self, role: Role) -> OnnxTower:
        return self._manifest.query if role == "query" else self._manifest.passage

    def _ready(self, role: Role) -> tuple[Any, Any]:
        """Return a tower's session and tokenizer, shared by both towers where they are one."""
        if role not in self._running:
            tower = self._tower(role)
            other: Role = "passage" if role == "query" else "query"
            theirs = self._tower(other)
            same = (theirs.graph, theirs.tokenizer) == (tower.graph, tower.tokenizer)
            if same and other in self._running:
                self._running[role] = self._running[other]
            else:
                self._running[role] = _opened(self._folder, tower)
        return self._running[role]


def _opened(folder: Path, tower: OnnxTower) -> tuple[Any, Any]:
    ort = runtime()
    from tokenizers import Tokenizer

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(
            str(folder / tower.graph), options, providers=["CPUExecutionProvider"]
        )
        tokenizer = Tokenizer.from_file(str(folder / tower.tokenizer))
    except Exception as error:
        raise InputError(
            f"the model in {folder} can't be opened ({error}): export it again"
        ) from error
    return session, tokenizer
