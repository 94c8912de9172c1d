"""A model that is being trained, as an encoder."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from twofold.encoders import SentenceTransformerEncoder
from twofold.types import Vectors

_AT_ONCE = 32


class ModelEncoder:
    """A SentenceTransformer that is being trained, as an encoder."""

    def __init__(self, model: Any, of: SentenceTransformerEncoder) -> None:
        self.name = "training"
        self.model = model
        self._prompts = {task: of.loaded.prompt(task) for task in ("query", "document")}
        self._unit = of.loaded.renormalize

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a query, float32 (n, dim)."""
        return self._encoded(self.model.encode_query, texts, "query")

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a passage, float32 (n, dim)."""
        return self._encoded(self.model.encode_document, texts, "document")

    def _encoded(self, encode: Callable[..., Any], texts: Sequence[str], task: str) -> Vectors:
        vectors = encode(
            list(texts),
            prompt=self._prompts[task],
            batch_size=_AT_ONCE,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=self._unit,
        )
        return np.asarray(vectors, np.float32)
