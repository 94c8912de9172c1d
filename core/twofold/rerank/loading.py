"""A sentence-transformers CrossEncoder from its name, refused where its scores can't rank."""

import threading
from typing import Any
from weakref import WeakKeyDictionary

from twofold.encoders.loading import quiet_loading
from twofold.encoders.sources import not_found
from twofold.errors import InputError

_turns: WeakKeyDictionary[Any, threading.Lock] = WeakKeyDictionary()
_turns_lock = threading.Lock()


def loaded_cross_encoder(source: str, name: str, device: str | None) -> Any:
    """Return the model of a folder or a name on the hub; ``name`` is what messages call it.

    Raises EncoderNotFoundError if it can't be had, InputError if it gives no relevance score.
    """
    from sentence_transformers import CrossEncoder

    try:
        with quiet_loading():
            model = CrossEncoder(source, device=device)
    except (OSError, ValueError) as error:
        raise not_found(name, error) from error
    check_head(model, name)
    check_labels(model, name)
    return model


def check_labels(model: Any, name: str) -> None:
    """Raise InputError for a model that gives several scores a pair."""
    if model.num_labels != 1:
        raise InputError(
            f"{name!r} gives {model.num_labels} scores a pair (num_labels={model.num_labels}): a "
            "cross-encoder that gives one, the relevance, is wanted"
        )


def check_head(model: Any, name: str) -> None:
    """Raise InputError for a transformer that was loaded without a trained scoring head.

    sentence-transformers gives such a model a random one, whose scores look like any others.
    """
    if getattr(model[0], "transformer_task", None) != "sequence-classification":
        return
    saved = getattr(model.config, "architectures", None) or []
    if saved and not any(each.endswith("ForSequenceClassification") for each in saved):
        raise InputError(
            f"{name!r} is a {saved[0]}, which has no scoring head: its scores would be random. "
            "Give a cross-encoder, or make one of it by training"
        )


def turn_of(model: Any) -> threading.Lock:
    """Return the lock over a model's calls, one for all rerankers that share it.

    Tokenizers are set to truncate and pad by each call, so they can't be used by two at once.
    """
    with _turns_lock:
        return _turns.setdefault(model, threading.Lock())
