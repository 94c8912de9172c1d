"""The model to train, with one tower or two, and what it is trained by."""

import copy
from typing import Any

from twofold.metrics import Metric
from twofold.training.encoder_plan import EncoderPlan


def towers_of(model: Any, plan: EncoderPlan) -> Any:
    """Return the model to train: with a tower for queries and one for passages if wanted."""
    if plan.max_length is not None:
        longest = model.max_seq_length
        model.max_seq_length = min(plan.max_length, longest if longest else plan.max_length)
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
        device=str(model.device),
    )


def is_router(model: Any) -> bool:
    """Whether queries and passages go through parts of their own."""
    from sentence_transformers.base.modules import Router

    return any(isinstance(each, Router) for each in model)


def contrastive_loss(model: Any, metric: Metric, plan: EncoderPlan) -> Any:
    """Return sentence-transformers' InfoNCE with our temperature, under the index's metric."""
    from sentence_transformers.sentence_transformer import losses
    from sentence_transformers.util import cos_sim, dot_score, euclidean_sim

    similar = {Metric.COSINE: cos_sim, Metric.DOT: dot_score, Metric.EUCLIDEAN: euclidean_sim}
    scale, similarity = 1 / plan.temperature, similar[metric]
    made: Any
    if plan.at_once is not None and plan.at_once < plan.batch:
        made = losses.CachedMultipleNegativesRankingLoss(
            model, scale=scale, similarity_fct=similarity, mini_batch_size=plan.at_once
        )
    else:
        made = losses.MultipleNegativesRankingLoss(model, scale=scale, similarity_fct=similarity)
    if plan.dims:
        return losses.MatryoshkaLoss(model, made, matryoshka_dims=list(plan.dims))
    return made
