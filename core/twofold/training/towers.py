"""The model to train, with one tower or two, and what it is trained by."""

import copy
from typing import Any

from twofold.encoders import SentenceTransformerEncoder
from twofold.errors import InputError
from twofold.training.encoder_plan import EncoderPlan
from twofold.training.pairs import Pairs
from twofold.training.similarity import Similarity


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


def contrastive_loss(model: Any, similarity: Similarity, pairs: Pairs, plan: EncoderPlan) -> Any:
    """Return the loss of a plan under the index's metric, at several lengths if wanted."""
    from sentence_transformers.sentence_transformer import losses

    from twofold.training.contrast import Contrast

    at_once = plan.at_once if plan.at_once is not None and plan.at_once < plan.batch else None
    made = Contrast(model, similarity, plan.temperature, pairs, at_once)
    if plan.dims:
        # The whole length as well, which is what is served.
        lengths = sorted({*plan.dims, similarity.dim}, reverse=True)
        return losses.MatryoshkaLoss(model, made, matryoshka_dims=lengths)
    return made
