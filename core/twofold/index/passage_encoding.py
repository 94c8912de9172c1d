"""Encodes passages: each as far as the encoder reads, and a longer one in windows as well.

A passage's dense score is that of its best vector. Windows of a few sentences find what a vector of
the whole text hides: Dai and Callan, Deeper Text Understanding for IR with Contextual Neural
Language Modeling (SIGIR 2019), who call this MaxP.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.dense import PassageVectors, Spans
from twofold.errors import InputError, VectorError
from twofold.protocols import Encoder, WindowEncoder
from twofold.similarity import Metric
from twofold.types import Vectors
from twofold.validation import is_integer

_ONE_ROW = np.zeros(1, np.int64)
DEFAULT_WINDOW = 200
"""Tokens of a window by default, or as many as the encoder reads if that is less."""


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """The vectors of texts.

    Attributes:
        vectors: The vectors of each text; None for one whose vectors the metric can't compare.
        truncated: How many texts are longer than the encoder reads, and have no windows.
        windowed: How many texts have windows.
    """

    vectors: list[PassageVectors | None]
    truncated: int
    windowed: int


def encode_texts(
    texts: Sequence[str],
    encoder: Encoder,
    encode: Callable[[Sequence[str]], Vectors],
    metric: Metric,
    windows: int | None,
) -> EncodedTexts:
    """Encode texts; those that are longer than the encoder reads in windows as well.

    Args:
        texts: The texts.
        encoder: The encoder, which locates the tokens of a `WindowEncoder`.
        encode: Returns the encoder's passage vectors, checked.
        metric: The metric, in whose stored form the vectors are returned.
        windows: The tokens of a window: 0 for no windows, None for the default.

    Raises:
        InputError: A window is longer than the encoder reads.
    """
    spans, truncated = _find_spans(texts, encoder, windows)
    # Whole texts are encoded first and alone, so that windows don't change their vectors.
    whole = _prepare(metric, encode(texts))
    parts = [
        text[start:stop]
        for text, found in zip(texts, spans, strict=True)
        if found is not None
        for _, _, start, stop in found[1:].tolist()
    ]
    windowed = iter(_prepare(metric, encode(parts)) if parts else ())
    encoded: list[PassageVectors | None] = []
    for vector, found in zip(whole, spans, strict=True):
        if found is not None:
            encoded.append(_as_vectors([vector, *(next(windowed) for _ in found[1:])], found))
        elif vector is not None:
            encoded.append(PassageVectors(_ONE_ROW, vector[None, :]))
        else:
            encoded.append(None)
    return EncodedTexts(encoded, truncated, sum(found is not None for found in spans))


def split_tokens(tokens: NDArray[np.int64], read: int, size: int) -> Spans:
    """Return the parts of a text that are encoded: its first ``read`` tokens, then its windows.

    Windows of ``size`` tokens begin every 3/4 of their size, so that they overlap.

    Args:
        tokens: The start and the end of each token in characters (tokens, 2).
        read: The most tokens that the encoder reads.
        size: The tokens of a window.
    """
    count, step = len(tokens), max(size * 3 // 4, 1)
    starts = np.arange(0, max(count - size + step, 1), step)
    ends = np.minimum(starts + size, count)
    starts, ends = np.append(0, starts), np.append(min(read, count), ends)
    return np.column_stack([starts, ends, tokens[starts, 0], tokens[ends - 1, 1]])


def _find_spans(
    texts: Sequence[str], encoder: Encoder, windows: int | None
) -> tuple[list[Spans | None], int]:
    """Return the parts of each text to encode, None for a text to encode whole.

    Also returns how many of those are truncated.
    """
    if windows != 0 and isinstance(encoder, WindowEncoder):
        read = encoder.max_tokens
        if read is not None:
            if not is_integer(read) or read < 1:
                raise VectorError(
                    f"the encoder's max_tokens must be an integer >= 1 or None, got {read!r:.80}"
                )
            size = windows if windows is not None else min(DEFAULT_WINDOW, read)
            if size > read:
                raise InputError(
                    f"windows must be at most the {read:,} tokens that the encoder reads, got "
                    f"{size:,}"
                )
            tokens = list(encoder.token_spans(texts))
            if len(tokens) != len(texts):
                raise VectorError(
                    f"the encoder's token_spans must return one entry for each of {len(texts):,} "
                    f"texts, got {len(tokens):,}"
                )
            return [
                _split_text(text, each, read, size) if each is not None else None
                for text, each in zip(texts, tokens, strict=True)
            ], 0
    count = getattr(encoder, "count_truncated", None)
    return [None] * len(texts), int(count(texts)) if count is not None else 0


def _split_text(text: str, tokens: NDArray[np.int64], read: int, size: int) -> Spans | None:
    """Return the parts of a text to encode, None without tokens; raise VectorError for bad ones."""
    try:
        spans = np.asarray(tokens)
    except (ValueError, TypeError) as error:
        raise VectorError(f"the encoder's token_spans: {error}") from None
    valid = spans.ndim == 2 and spans.shape[1] == 2 and spans.dtype.kind in "iu"
    if valid and len(spans):
        low, high = int(spans.min()), int(spans.max())
        valid = low >= 0 and high <= len(text) and bool((spans[:, 0] <= spans[:, 1]).all())
    if valid:
        spans = spans.astype(np.int64)
        valid = bool((np.diff(spans, axis=0) >= 0).all())
    if not valid:
        raise VectorError(
            "the encoder's token_spans must be integers (tokens, 2), ascending and within the "
            f"text, got {tokens!r:.80} for a text of {len(text):,} characters"
        )
    return split_tokens(spans, read, size) if len(spans) else None


def _prepare(metric: Metric, vectors: Vectors) -> list[Vectors | None]:
    """Return each vector (dim,) in the metric's stored form, None if it can't be compared."""
    usable = metric.can_compare(vectors)
    # Stored vectors stay as they are: normalizing twice would change their last bits.
    prepared = iter(metric.prepare(vectors[usable]))
    return [next(prepared) if use else None for use in usable.tolist()]


def _as_vectors(vectors: Sequence[Vectors | None], spans: Spans) -> PassageVectors | None:
    """Return one text's vectors, without those that can't be compared."""
    usable = [at for at, vector in enumerate(vectors) if vector is not None]
    if not usable:
        return None
    stacked = np.stack([vector for vector in vectors if vector is not None])
    return PassageVectors(np.zeros(len(usable), np.int64), stacked, spans[usable])
