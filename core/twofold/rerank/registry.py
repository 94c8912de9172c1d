"""Makes rerankers from specs."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from twofold.encoders.model_spec import check_model_name, is_folder, parse_integer, split_spec
from twofold.errors import InputError
from twofold.protocols import Reranker
from twofold.rerank.cross_encoder import OPTIONS, CrossEncoderReranker


def reranker_from_name(name: str | Path) -> CrossEncoderReranker:
    """Return the reranker of a spec, without loading the model.

    Args:
        name: A model, or ``"model?candidates=30&threshold=0.5"`` with the arguments of
            CrossEncoderReranker.

    Raises:
        EncoderNotFoundError: A path doesn't exist.
        InputError: The spec is malformed or has an unknown option.
    """
    name = check_model_name(name)
    if is_folder(name):
        return CrossEncoderReranker(name)
    model, texts = split_spec(name, OPTIONS, "reranker")
    values: dict[str, Any] = dict(texts)
    for option in {"candidates", "batch_tokens", "max_length"} & texts.keys():
        values[option] = parse_integer(texts[option])
    with suppress(KeyError, ValueError):  # CrossEncoderReranker refuses what is no number
        values["threshold"] = float(texts["threshold"])
    return CrossEncoderReranker(model, **values)


def as_reranker(reranker: object) -> Reranker:
    """Return a reranker unchanged, or make one from its name; raise InputError otherwise."""
    if isinstance(reranker, str):
        return reranker_from_name(reranker)
    if isinstance(reranker, type) or not isinstance(reranker, Reranker):
        raise InputError(
            "reranker must be a reranker of twofold.rerank or a cross-encoder's name, got "
            f"{reranker!r:.80}"
        )
    return reranker
