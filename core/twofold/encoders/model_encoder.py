"""Models by name, on ONNX Runtime where it can run them, and else on torch."""

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from twofold.concurrency import ForkSafeLock
from twofold.encoders.graph_cache import open_graph
from twofold.encoders.hub import check_model_exists, download_model
from twofold.encoders.model_spec import (
    AS_SAVED,
    ModelOptions,
    absolute_model,
    find_extra,
    format_spec,
    resolve_model_source,
)
from twofold.encoders.onnx_folder import OnnxRunner, Precision
from twofold.encoders.sentence_transformer import SentenceTransformerEncoder
from twofold.encoders.transformer_files import TransformerFiles, UnsupportedModelError
from twofold.errors import InputError, MissingExtraError
from twofold.extras import check_extra, is_installed
from twofold.types import EncoderIdentity, Vectors
from twofold.validation import check_choice

Backend = Literal["torch", "onnx", "onnx-int8"]
_ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd")  # of NVIDIA and AMD
_log = logging.getLogger("twofold")


_ONNX_PACKAGES = ("onnxruntime", "onnx", "safetensors", "tokenizers")


class ModelEncoder:
    """A sentence-transformers model, loaded when first used by the fastest runtime that fits it.

    BERT-like models run on ONNX Runtime, without torch: BERT, RoBERTa, XLM-RoBERTa, MPNet and
    DistilBERT with CLS, mean or max pooling. Their graph is built from the weights when first used,
    and kept in the user's cache folder. Of other models, the graph in ``onnx/model.onnx`` is used.
    Models without a graph run on torch, and a warning is logged. All models run on torch if it
    finds an accelerator. Vectors of both runtimes agree to the rounding of the weights' type, and
    share a fingerprint.

    Args:
        model: A folder, an installed model package, or a name on the Hugging Face hub.
        options: Options that override how the model was saved.
        backend: ``"torch"``, ``"onnx"``, or ``"onnx-int8"`` for weights in 8 bits, which are faster
            and whose vectors differ. Default: ONNX Runtime if it can run the model.
        progress: Whether to draw a progress bar on standard error.

    Example:
        >>> from twofold import ModelEncoder
        >>> ModelEncoder("all-MiniLM-L6-v2", backend="onnx").name
        'all-MiniLM-L6-v2?backend=onnx'
    """

    def __init__(
        self,
        model: str | Path,
        *,
        options: ModelOptions = AS_SAVED,
        backend: Backend | None = None,
        progress: bool = False,
    ) -> None:
        if backend is not None:
            check_choice("backend", backend, get_args(Backend))
        self._title = absolute_model(model)
        self.name = format_spec(self._title, {**asdict(options), "backend": backend})
        self.progress = progress
        self.options = options
        self._backend = backend
        self._source = resolve_model_source(self._title)
        self._lock = ForkSafeLock()
        self._opened: OnnxRunner | SentenceTransformerEncoder | None = None
        self._keeps_graph = True

    def __getstate__(self) -> dict[str, Any]:
        values = {**vars(self), "_opened": None}
        values.pop("identity", None)  # the model may be another one where it is loaded again
        return values

    @property
    def backend(self) -> Backend:
        """The runtime in use. If none was chosen, the model is loaded to choose one."""
        runner = self._runner
        if isinstance(runner, SentenceTransformerEncoder):
            return "torch"
        return "onnx" if runner.manifest.precision == "float32" else "onnx-int8"

    @cached_property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric and fingerprint. The first use hashes all weights."""
        runner = self._runner
        if isinstance(runner, SentenceTransformerEncoder):
            found = runner.identity
            return EncoderIdentity(self.name, found.dim, found.metric, found.fingerprint)
        manifest = runner.manifest
        return EncoderIdentity(self.name, manifest.dim, manifest.metric, manifest.fingerprint)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per query, float32 (n, dim)."""
        runner = self._runner
        if isinstance(runner, SentenceTransformerEncoder):
            return runner.encode_queries(texts)
        return runner.encode(texts, runner.manifest.query, progress=self.progress)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per passage, float32 (n, dim)."""
        runner = self._runner
        if isinstance(runner, SentenceTransformerEncoder):
            return runner.encode_passages(texts)
        return runner.encode(texts, runner.manifest.passage, progress=self.progress)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many passages have more tokens than the model reads."""
        return self._runner.count_truncated(texts)

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of tokens of each passage (n,), 0 for a model without a tokenizer."""
        return self._runner.count_tokens(texts)

    @property
    def prompts(self) -> tuple[str, str]:
        """The prompts before queries and before passages, "" for none."""
        return self._runner.prompts

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a passage that the model reads, None if it reads all."""
        return self._runner.max_tokens

    def token_spans(self, texts: Sequence[str]) -> list[NDArray[np.int64] | None]:
        """Return the tokens of each passage that has more than the model reads, else None."""
        return self._runner.token_spans(texts)

    def with_options(self, options: ModelOptions) -> "ModelEncoder":
        """Return an encoder of the same model with other options, to compare both.

        A graph that is built for it isn't kept in the cache.
        """
        other = ModelEncoder(
            self._title, options=options, backend=self._backend, progress=self.progress
        )
        other._keeps_graph = False
        return other

    def check_ready(self) -> None:
        """Raise MissingExtraError without a runtime, EncoderNotFoundError without the model."""
        if not _has_torch() and not is_installed(*_ONNX_PACKAGES):
            raise self._missing_runtime()
        if find_extra(self._title) is None:
            check_model_exists(self._source, self._title)

    def to_sentence_transformer(self) -> SentenceTransformerEncoder:
        """Return an encoder of the same model on torch, as training needs it."""
        runner = self._opened
        if isinstance(runner, SentenceTransformerEncoder):
            return runner
        return SentenceTransformerEncoder(self._title, options=self.options, progress=self.progress)

    @property
    def _runner(self) -> OnnxRunner | SentenceTransformerEncoder:
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _missing_runtime(self) -> MissingExtraError:
        """Return the error for a model that nothing here can run."""
        extra = find_extra(self._title) or "onnx"
        return MissingExtraError(
            f"the model {self._title!r} needs ONNX Runtime or torch: pip install 'twofold[{extra}]'"
        )

    def _open(self) -> OnnxRunner | SentenceTransformerEncoder:
        if self._backend == "torch":
            return self.to_sentence_transformer()
        if self._backend is None and _has_accelerator():
            _log.info("%s runs on torch: it finds an accelerator", self._title)
            return self.to_sentence_transformer()
        precision: Precision = "int8" if self._backend == "onnx-int8" else "float32"
        try:
            check_extra("onnx", "ONNX Runtime", *_ONNX_PACKAGES)
            files = TransformerFiles.read(download_model(self._source, self._title), self.options)
            return open_graph(files, self.name, precision, keep=self._keeps_graph)
        except UnsupportedModelError as error:
            if self._backend is not None:
                raise InputError(
                    f"{self._title!r} can't run with backend={self._backend!r}: {error}; omit "
                    "backend, or export the model with OnnxEncoder.export"
                ) from error
            reason = f"ONNX Runtime can't run it: {error}"
            level = logging.WARNING
        except MissingExtraError as error:
            if self._backend is not None:
                raise
            if not _has_torch():
                raise self._missing_runtime() from error
            reason, level = str(error), logging.INFO
        if not _has_torch():
            raise MissingExtraError(
                f"the model {self._title!r} needs torch ({reason}): pip install 'twofold[models]'"
            )
        _log.log(level, "%s runs on torch: %s", self._title, reason)
        return self.to_sentence_transformer()


def _has_torch() -> bool:
    return is_installed("sentence_transformers", "torch")


def _has_accelerator() -> bool:
    """Return whether torch finds an accelerator. It is imported only if there may be one."""
    if not any(os.path.exists(path) for path in _ACCELERATORS):  # noqa: PTH110
        return False
    if not _has_torch():
        return False
    import torch

    return bool(torch.cuda.is_available())
