"""The model to train, with one tower or two, and what it is trained by."""

import copy
from typing import Any

from twofold.metrics import Metric
from twofold.training.encoder_plan import EncoderPlan
from twofold.training.pairs import Pairs


def towers_of(model: Any, plan: EncoderPlan) -> Any:
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
        device=str(model.device),
    )


def is_router(model: Any) -> bool:
    """Whether queries and passages go through parts of their own."""
    from sentence_transformers.base.modules import Router

    return any(isinstance(each, Router) for each in model)


class Reading:
    """How many tokens of a text the towers of a model read: fewer while they learn, if wanted."""

    def __init__(self, model: Any, max_length: int | None) -> None:
        from sentence_transformers.base.modules import Transformer

        towers = [each for each in model.modules() if isinstance(each, Transformer)]
        self._whole = [(each, each.max_seq_length) for each in towers]
        self._most = max_length

    def learning(self) -> None:
        """Read as much as the plan says."""
        for tower, own in self._whole if self._most is not None else ():
            tower.max_seq_length = min(self._most, own) if own is not None else self._most

    def serving(self) -> None:
        """Read as much as the model does wherever else it is used."""
        for tower, own in self._whole:
            tower.max_seq_length = own


def contrastive_loss(model: Any, metric: Metric, pairs: Pairs, plan: EncoderPlan) -> Any:
    """Return the loss of a plan under the index's metric, at several lengths if wanted."""
    from sentence_transformers.sentence_transformer import losses

    from twofold.training.contrast import Contrast

    at_once = plan.at_once if plan.at_once is not None and plan.at_once < plan.batch else None
    made = Contrast(model, metric, plan.temperature, pairs, at_once)
    if plan.dims:
        return losses.MatryoshkaLoss(model, made, matryoshka_dims=list(plan.dims))
    return made
