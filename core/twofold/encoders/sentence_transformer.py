"""Bi-encoders by sentence-transformers, with the prompts and the metric of the model itself."""

import copy
import json
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import xxhash

from twofold.errors import EncoderNotFoundError, EncoderWarning
from twofold.metrics import Metric
from twofold.types import EncoderIdentity, Vectors

_METRICS = {"cosine": Metric.COSINE, "dot": Metric.DOT, "euclidean": Metric.EUCLIDEAN}
_TOKEN_BATCH = 32


class SentenceTransformerEncoder:
    """Any sentence-transformers model, loaded when first used.

    Queries go through ``encode_query`` and passages through ``encode_document``, so that saved
    prompts and separate towers are honoured. ``model`` is a folder or a name on the hub.
    """

    def __init__(
        self,
        model: str,
        *,
        name: str | None = None,
        batch_size: int = _TOKEN_BATCH,
        device: str | None = None,
        progress: bool = False,
    ) -> None:
        self.name = name if name is not None else model
        self.progress = progress
        self._source = model
        self._batch_size = batch_size
        self._device = device
        self._lock = threading.Lock()
        self._model: Any = None
        self._identity: EncoderIdentity | None = None

    @property
    def model(self) -> Any:
        """The SentenceTransformer itself; raises EncoderNotFoundError if it can't be had."""
        with self._lock:
            if self._model is None:
                self._model = self._loaded()
            return self._model

    @property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric and fingerprint; the first use hashes all weights."""
        if self._identity is None:
            model = self.model
            similarity = str(model.similarity_fn_name)
            if similarity not in _METRICS:
                warnings.warn(
                    f"{self.name!r} was trained for {similarity!r}, which is not offered: "
                    "cosine is used",
                    EncoderWarning,
                    stacklevel=3,
                )
            self._identity = EncoderIdentity(
                name=self.name,
                dim=int(model.get_embedding_dimension()),
                metric=_METRICS.get(similarity, Metric.COSINE),
                fingerprint=_fingerprint(model),
            )
        return self._identity

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a query, float32 (n, dim)."""
        return self._encoded(self.model.encode_query, texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a passage, float32 (n, dim)."""
        return self._encoded(self.model.encode_document, texts)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts are longer than the model reads."""
        longest = self.model.max_seq_length
        if longest is None or self.model.tokenizer is None:
            return 0
        # A copy, since counting switches truncation off, and other threads are encoding.
        tokenizer = copy.deepcopy(self.model.tokenizer)
        # A token covers at least one character, two of them are [CLS] and [SEP].
        long = [text for text in texts if len(text) > longest - 2]
        if not long:
            return 0
        tokens = tokenizer(long, add_special_tokens=True, truncation=False, verbose=False)
        return sum(len(ids) > longest for ids in tokens["input_ids"])

    def _encoded(self, encode: Any, texts: Sequence[str]) -> Vectors:
        vectors = encode(
            list(texts),
            batch_size=self._batch_size,
            show_progress_bar=self.progress,
            convert_to_numpy=True,
        )
        return np.asarray(vectors, np.float32)

    def _loaded(self) -> Any:
        from sentence_transformers import SentenceTransformer

        try:
            with _quiet_loading():
                return SentenceTransformer(self._source, device=self._device)
        except (OSError, ValueError) as error:
            from twofold.encoders.lookup import install_hint

            raise EncoderNotFoundError(
                f"no model {self.name!r}: neither a folder, nor an installed model package, nor in "
                f"the hub's cache, nor on the hub ({error}).{install_hint(self.name)}"
            ) from error


def _fingerprint(model: Any) -> str:
    """Hash the weights and all that decides what becomes of a text."""
    state = xxhash.xxh3_128()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        state.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        # Bytes, since numpy has no bfloat16.
        state.update(values.reshape(-1).view(_uint8()).numpy())
    settings = {
        "prompts": model.prompts,
        "default_prompt": model.default_prompt_name,
        "similarity": str(model.similarity_fn_name),
        "truncate_dim": model.truncate_dim,
        "max_length": model.max_seq_length,
        "modules": [
            [type(module).__name__, module.get_config_dict()]
            for module in model
            if hasattr(module, "get_config_dict")
        ],
    }
    state.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return state.hexdigest()


def _uint8() -> Any:
    import torch

    return torch.uint8


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Keep transformers from drawing a progress bar for its weights."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
