"""The encoder model in training: its towers, similarity and text length."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twofold.backend import SearchScope
from twofold.encoders import ModelEncoder, SentenceTransformerEncoder
from twofold.errors import InputError
from twofold.index import Index
from twofold.similarity import Metric
from twofold.training.finetuning.plans import EncoderPlan
from twofold.types import Vectors

if TYPE_CHECKING:
    from torch import Tensor

_SAMPLE = 256  # passages and queries whose lengths are measured
_FLOOR = 1e-12
_BATCH_SIZE = 32  # of encoding


@dataclass(frozen=True, slots=True)
class Similarity:
    """The index's similarity, divided by ``scale``: one temperature fits different encoders.

    Vectors are compared in their first ``dim`` dimensions. For cosine the scale is 1; for other
    metrics it is computed from the mean vector lengths of the base model.
    """

    metric: Metric
    dim: int
    scale: float = 1.0

    @classmethod
    def from_scope(
        cls, scope: SearchScope, encoder: SentenceTransformerEncoder, queries: list[str]
    ) -> "Similarity":
        """Compute the scale from a sample of the index's passages and the first queries."""
        metric = scope.metric
        assert metric is not None  # checked before
        dim = encoder.loaded.dim
        if metric is Metric.COSINE:
            return cls(metric, dim)
        keys = scope.list_keys()
        keys = keys[np.linspace(0, len(keys) - 1, min(_SAMPLE, len(keys))).astype(np.int64)]
        fetched = scope.session.fetch(keys, texts=False, vectors=True)
        assert fetched.vectors is not None  # asked for
        scale = float(np.linalg.norm(fetched.vectors[fetched.has_vector], axis=1).mean())
        if metric is Metric.DOT:
            vectors = scope.encode_queries(queries[:_SAMPLE], adapt=False)
            scale *= float(np.linalg.norm(vectors, axis=1).mean())
        return cls(metric, dim, max(scale, _FLOOR))

    def scores(self, queries: "Tensor", passages: "Tensor") -> "Tensor":
        """Return scores (n, m) of query vectors (n, dim) and passage vectors (m, dim)."""
        from sentence_transformers.util import cos_sim, dot_score, euclidean_sim

        compare = {Metric.COSINE: cos_sim, Metric.DOT: dot_score, Metric.EUCLIDEAN: euclidean_sim}
        found: Tensor = compare[self.metric](queries[:, : self.dim], passages[:, : self.dim])
        return found / self.scale


def build_towers(model: Any, plan: EncoderPlan) -> Any:
    """Return the model to train, with separate towers if ``plan.towers`` is ``"separate"``."""
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
    """Return whether queries and passages have towers of their own."""
    from sentence_transformers.base.modules import Router

    return any(isinstance(module, Router) for module in model)


def find_towers(model: Any) -> list[tuple[Any, int | None]]:
    """Return the transformers of a model, each with its limit on tokens."""
    from sentence_transformers.base.modules import Transformer

    towers = (module for module in model.modules() if isinstance(module, Transformer))
    return [(tower, tower.max_seq_length) for tower in towers]


def limit_tokens(towers: list[tuple[Any, int | None]], max_length: int | None) -> None:
    """Lower the towers' limits to ``max_length`` tokens; None restores the original limits."""
    for tower, normal in towers:
        limits = [limit for limit in (normal, max_length) if limit is not None]
        tower.max_seq_length = min(limits, default=None)


def check_encoder(index: Index, plan: EncoderPlan) -> SentenceTransformerEncoder:
    """Return the index's encoder, or raise InputError if it can't be fine-tuned by this plan."""
    encoder = index.encoder
    if isinstance(encoder, ModelEncoder):
        encoder = encoder.to_sentence_transformer()
    if not isinstance(encoder, SentenceTransformerEncoder):
        raise InputError(
            f"fine-tuning needs a sentence-transformers model, and the index's encoder is "
            f"{type(encoder).__name__}: train_adapter works for any encoder"
        )
    with index.open_search() as scope:
        if scope.query_adapter is not None:
            raise InputError(
                "a query adapter is active, and it fits only the present encoder: deactivate it "
                "by index.profiles.use(None), or use train_adapter"
            )
    towers = find_towers(encoder.model)
    for name in ("max_length", "mini_batch_size"):
        if getattr(plan, name) is not None and not towers:
            raise InputError(
                f"{name} needs a transformer, and the index's model has none: leave {name} out"
            )
    if plan.max_length is not None:
        special = max(int(tower.tokenizer.num_special_tokens_to_add()) for tower, _ in towers)
        if plan.max_length <= special:
            raise InputError(
                f"max_length must be >= {special + 1}, because a text has {special} special "
                f"tokens, got {plan.max_length}"
            )
    longest = encoder.loaded.dim
    for length in plan.dims:
        if length > longest:
            raise InputError(f"each of dims must be <= {longest}, the model's dim, got {length}")
    if plan.dims and not encoder.loaded.normalize:
        raise InputError(
            "dims needs a model with vectors of unit length, because shortened vectors are "
            "compared by cosine: leave dims out"
        )
    return encoder


class TrainingEncoder:
    """A SentenceTransformer in training as an ``Encoder``, with the prompts of the original."""

    def __init__(self, model: Any, original: SentenceTransformerEncoder) -> None:
        self.name = "training"
        self.model = model
        self._prompts = {task: original.loaded.prompt(task) for task in ("query", "document")}
        self._normalize = original.loaded.renormalize

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return the query vectors, float32 (n, dim)."""
        return self._encode(self.model.encode_query, texts, "query")

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return the passage vectors, float32 (n, dim)."""
        return self._encode(self.model.encode_document, texts, "document")

    def _encode(self, encode: Callable[..., Any], texts: Sequence[str], task: str) -> Vectors:
        vectors = encode(
            list(texts),
            prompt=self._prompts[task],
            batch_size=_BATCH_SIZE,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=self._normalize,
        )
        return np.asarray(vectors, np.float32)
