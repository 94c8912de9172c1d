"""Encoders on ONNX Runtime, without torch."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from twofold.encoders.hub import download_model
from twofold.encoders.model_loading import check_output_folder, write_folder
from twofold.encoders.model_spec import (
    AS_SAVED,
    ModelOptions,
    absolute_model,
    format_spec,
    resolve_model_source,
)
from twofold.encoders.onnx_export import write_built, write_traced
from twofold.encoders.onnx_folder import OnnxManifest, OnnxRunner, Precision, is_onnx_folder
from twofold.encoders.sentence_transformer import SentenceTransformerEncoder
from twofold.encoders.transformer_files import TransformerFiles, UnsupportedModelError
from twofold.errors import InputError
from twofold.extras import check_extra
from twofold.types import EncoderIdentity, Vectors
from twofold.validation import as_path, check_choice, check_integer


class OnnxEncoder:
    """Runs a model that ``OnnxEncoder.export`` wrote to a folder. Needs the extra ``onnx``.

    Each text is run alone and unpadded, so that its vector doesn't depend on the other texts.

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
        self._manifest, self._files = OnnxManifest.read(self._folder)
        self._runner = OnnxRunner(self._folder, self._manifest, threads)

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

        The folder is written completely or not at all. Graphs of BERT-like models are built from
        their weights; torch traces those of other models.

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
        check_extra("onnx", "exporting", "onnxruntime", "onnx", "safetensors", "tokenizers")
        spec = format_spec(str(model), asdict(options))
        title = absolute_model(model)
        try:
            files = TransformerFiles.read(
                download_model(resolve_model_source(title), title), options
            )
            with write_folder(Path(folder)) as work:
                write_built(work, files, spec, precision)
        except UnsupportedModelError:
            encoder = SentenceTransformerEncoder(model, options=options, device="cpu")
            with write_folder(Path(folder)) as work:
                write_traced(work, encoder, spec, precision)
        return cls(folder)

    @cached_property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric and fingerprint. The first use hashes all files.

        Raises InputError if the files have changed since the export.
        """
        manifest = self._manifest
        if manifest.hash_files(self._folder) != self._files:
            raise InputError(
                f"the files in {self._folder} have changed since the export: export the model again"
            )
        return EncoderIdentity(self.name, manifest.dim, manifest.metric, manifest.fingerprint)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per query, float32 (n, dim)."""
        return self._runner.encode(texts, self._manifest.query, progress=self.progress)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per passage, float32 (n, dim)."""
        return self._runner.encode(texts, self._manifest.passage, progress=self.progress)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many passages have more tokens than the model reads."""
        return self._runner.count_truncated(texts)

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a passage that the model reads, None if it reads all."""
        return self._runner.max_tokens

    def token_spans(self, texts: Sequence[str]) -> list[NDArray[np.int64] | None]:
        """Return the tokens of each passage that has more than the model reads, else None."""
        return self._runner.token_spans(texts)
