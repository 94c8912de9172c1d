"""How vectors are compared while an encoder learns: as the index will compare them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from twofold.encoders import SentenceTransformerEncoder
from twofold.index import IndexView
from twofold.metrics import Metric

if TYPE_CHECKING:
    from torch import Tensor

_SAMPLE = 256
_FLOOR = 1e-12


@dataclass(frozen=True, slots=True)
class Similarity:
    """The index's metric, over the first ``dim`` dimensions, on a scale where lengths are about 1.

    So that one temperature means the same everywhere: under another metric than cosine, scores are
    divided by ``scale``, which follows from the mean lengths of the base's vectors.
    """

    metric: Metric
    dim: int
    scale: float = 1.0

    @classmethod
    def of(
        cls, view: IndexView, encoder: SentenceTransformerEncoder, queries: list[str]
    ) -> "Similarity":
        """Measure lengths on a sample of an index's passages and of queries."""
        metric, dense = view.metric, view.snapshot.dense
        assert metric is not None  # checked before
        assert dense is not None
        dim = encoder.loaded.dim
        if metric is Metric.COSINE:
            return cls(metric, dim)
        rows = dense.live_rows
        rows = rows[np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).astype(np.int64)]
        points, found = view.vectors(rows)
        scale = float(np.linalg.norm(points[found], axis=1).mean())
        if metric is Metric.DOT:
            asked = view.encode_queries(queries[:_SAMPLE], adapted=False)
            scale *= float(np.linalg.norm(asked, axis=1).mean())
        return cls(metric, dim, max(scale, _FLOOR))

    def scores(self, queries: "Tensor", passages: "Tensor") -> "Tensor":
        """Return scores (n, m) of vectors (n, dims) and (m, dims)."""
        from sentence_transformers.util import cos_sim, dot_score, euclidean_sim

        compare = {Metric.COSINE: cos_sim, Metric.DOT: dot_score, Metric.EUCLIDEAN: euclidean_sim}
        found: Tensor = compare[self.metric](queries[:, : self.dim], passages[:, : self.dim])
        return found / self.scale
