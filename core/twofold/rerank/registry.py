"""From a spec to a reranker."""

from pathlib import Path
from typing import Any

from twofold.encoders.model_spec import is_folder, check_model_name, split_spec, parse_integer
from twofold.errors import InputError
from twofold.protocols import Reranker
from twofold.rerank.cross_encoder import OPTIONS, CrossEncoderReranker


def reranker_from_name(name: str | Path) -> CrossEncoderReranker:
    """Return the reranker of that spec; the model is loaded when first used.

    ``"model"`` or ``"model?candidates=30&threshold=0.5"``, with the parameters of
    CrossEncoderReranker. Raises EncoderNotFoundError for a path that isn't there and InputError
    for an unknown option.
    """
    name = check_model_name(name)
    if is_folder(name):
        return CrossEncoderReranker(name)
    model, texts = split_spec(name, OPTIONS, "reranker")
    values: dict[str, Any] = {option: _value(option, text) for option, text in texts.items()}
    return CrossEncoderReranker(model, **values)


def as_reranker(given: object) -> Reranker:
    """Return a reranker as it is, or the one of a name or a folder; raise InputError for others."""
    if isinstance(given, str):
        return reranker_from_name(given)
    if isinstance(given, type) or not isinstance(given, Reranker):
        raise InputError(
            f"reranker is {given!r:.80}: a reranker of twofold.rerank or a cross-encoder's name is "
            "wanted"
        )
    return given


def _value(option: str, text: str) -> object:
    """Return the value of an option's text; what can't be read is left to the check."""
    if option == "threshold":
        try:
            return float(text)
        except ValueError:
            return text
    return parse_integer(text) if option in ("candidates", "batch_tokens", "max_length") else text
