"""The model to train, with one tower or two, and what it is trained by."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twofold.encoders import SentenceTransformerEncoder
from twofold.errors import InputError
from twofold.index import IndexView
from twofold.similarity import Metric
from twofold.training.finetuning.plans import EncoderPlan
from twofold.types import Vectors

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


def build_towers(model: Any, plan: EncoderPlan) -> Any:
    """Return the model to train: with a tower for queries and one for passages if wanted."""
    if plan.towers == "shared" or is_router(model):
        return model
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    router = Router.for_query_document(
        query_modules=copy.deepcopy(list(model)), document_modules=copy.deepcopy(list(model))
    )
    return SentenceTransformer(
        modules=[router],
        prompts=model.prompts,
        similarity_fn_name=model.similarity_fn_name,
        truncate_dim=model.truncate_dim,
        device=str(model.device),
    )


def is_router(model: Any) -> bool:
    """Whether queries and passages go through parts of their own."""
    from sentence_transformers.base.modules import Router

    return any(isinstance(each, Router) for each in model)


class Reading:
    """How many tokens of a text the towers of a model read: fewer while they learn, if wanted."""

    def __init__(self, model: Any, max_length: int | None) -> None:
        self._whole = [(each, each.max_seq_length) for each in _transformers(model)]
        self._most = max_length

    def learning(self) -> None:
        """Read as much as the plan says."""
        for tower, own in self._whole if self._most is not None else ():
            tower.max_seq_length = min(self._most, own) if own is not None else self._most

    def serving(self) -> None:
        """Read as much as the model does wherever else it is used."""
        for tower, own in self._whole:
            tower.max_seq_length = own


def check_model(encoder: SentenceTransformerEncoder, plan: EncoderPlan) -> None:
    """Raise InputError for a plan that an encoder can't be trained by, before the work."""
    towers = _transformers(encoder.model)
    if plan.max_length is not None:
        if not towers:
            raise InputError("max_length is for transformers, and this model reads texts whole")
        special = max(int(each.tokenizer.num_special_tokens_to_add()) for each in towers)
        if plan.max_length <= special:
            raise InputError(
                f"max_length is {plan.max_length}: at least {special + 1} is wanted, for a word "
                f"beside {special} special tokens"
            )
    if plan.at_once is not None and not towers:
        raise InputError("at_once is for transformers: this model's batches need no parting")
    longest = encoder.loaded.dim
    for length in plan.dims:
        if length > longest:
            raise InputError(f"dims has {length}, and vectors have {longest} dimensions")
    if plan.dims and not encoder.loaded.normalize:
        raise InputError(
            "dims are for models whose vectors have unit length, as they are compared by cosine "
            "when cut off: leave dims out"
        )


def _transformers(model: Any) -> list[Any]:
    from sentence_transformers.base.modules import Transformer

    return [each for each in model.modules() if isinstance(each, Transformer)]


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
