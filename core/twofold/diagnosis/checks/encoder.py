"""Checks of the encoder: whether it can be used, and whether it reads the texts."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from twofold.diagnosis.finding import Finding, first_ids, percent
from twofold.diagnosis.sample import IndexSample
from twofold.errors import EncoderMismatchError, MissingExtraError, TwofoldError
from twofold.protocols import WindowEncoder

_SHATTERED, _UNKNOWN = 3.0, 1.6
"""Letters per token below which a vocabulary doesn't know the words, or the script at all. The
English of XQuAD, SciFact and Debian has 5.2 to 5.9 in all-MiniLM-L6-v2, German 2.8, Turkish 2.2,
Hindi 1.5, Russian and Arabic 1.0."""
_SENTENCE = 30  # letters; names and codes are broken up by any tokenizer
_WORD = re.compile(r"[^\W\d_]{4,}")
"""A word; codes and abbreviations are broken into characters by any tokenizer."""


def check_encoder(sample: IndexSample) -> Iterator[Finding]:
    """Find an encoder that is missing, another model, or one whose vectors have changed."""
    if sample.metric is None:
        return
    if sample.scope.encoder is None:
        yield Finding(
            "no-encoder",
            "note",
            "the index has no encoder, so that its vectors were not compared with its texts",
            "open it with the encoder of its vectors",
        )
        return
    error = sample.encoding.error
    if isinstance(error, EncoderMismatchError):
        yield Finding(
            "encoder-mismatch",
            "error",
            "the encoder is not the model of the stored vectors: searches by meaning are refused",
            "open the index with the model that encoded it, or encode it again with `twofold "
            "reencode`",
            evidence=(str(error),),
            share=1.0,
        )
    elif error is not None:
        missing = isinstance(error, MissingExtraError | LookupError)
        yield Finding(
            "encoder-unavailable",
            "warning" if missing else "error",
            "the encoder can't be used, so that nothing can be searched by meaning here",
            "install or pass the encoder, and run the diagnosis again",
            evidence=(str(error),),
        )
    elif sample.passage_error is not None:
        yield Finding(
            "encoder-unavailable",
            "error",
            "the encoder fails on passages, so that none can be added",
            "look at the error, and run the diagnosis again",
            evidence=(str(sample.passage_error),),
        )
    for text in sample.encoding.warnings:
        yield Finding(
            "encoder-drift",
            "warning",
            "the encoder now gives other vectors than when the index was filled",
            "encode the index again with `twofold reencode`, or use the library's version of then",
            evidence=(text,),
        )


def check_lengths_of_texts(sample: IndexSample) -> Iterator[Finding]:
    """Find passages of which the encoder reads only the beginning."""
    count = getattr(sample.model, "count_truncated", None)
    if sample.metric is None or count is None or not len(sample.passages):
        return
    windowed = sample.windowed and isinstance(sample.model, WindowEncoder)
    if windowed and sample.model.max_tokens is not None:  # type: ignore[union-attr]
        return
    try:
        cut = [p.id for p in sample.passages if count([p.content])]
    except TwofoldError:
        return
    if not cut:
        return
    share = len(cut) / len(sample.passages)
    yield Finding(
        "texts-cut-off",
        "error" if share >= 0.25 else "warning" if share >= 0.05 else "note",
        f"{percent(share)} of the passages are longer than the encoder reads: the dense leg "
        "doesn't know how they go on",
        "split them into shorter passages (`twofold index --size 500`), or create the index with "
        "windows=True",
        evidence=(f"{len(cut):,} of {len(sample.passages):,} passages that were looked at",),
        share=share,
        ids=first_ids(cut),
    )


def check_vocabulary(sample: IndexSample) -> Iterator[Finding]:
    """Find texts that the encoder's tokenizer breaks into characters."""
    count: Callable[[Sequence[str]], Any] | None = getattr(sample.model, "count_tokens", None)
    if sample.metric is None or count is None or not sample.sentences:
        return
    words = [" ".join(_WORD.findall(one)) for one in sample.sentences if not _is_dense_script(one)]
    words = [one for one in words if one]
    if len(words) <= len(sample.sentences) / 2:
        return
    try:
        tokens = int(np.asarray(count(words)).sum()) - len(words) * int(count([""])[0])
    except TwofoldError:
        return
    letters = sum(len(one) - one.count(" ") for one in words)
    ratio = letters / max(tokens, 1)
    if ratio >= _SHATTERED or letters < _SENTENCE * len(words):
        return
    yield Finding(
        "shattered-words",
        "error" if ratio < _UNKNOWN else "warning",
        f"the encoder's tokenizer breaks the words into parts of {ratio:.1f} characters: it "
        "doesn't know their language or domain",
        "use a model that is trained on such texts, and compare both with `twofold eval`",
        evidence=(
            f"measured on the words of {len(words):,} sentences; those of English texts have parts "
            "of 5",
        ),
    )


def _is_dense_script(text: str) -> bool:
    """Return whether a text is in a script that writes a word with one or two characters."""
    letters = [char for char in text if char.isalpha()]
    return bool(letters) and sum(char >= "\u0e00" for char in letters) > len(letters) / 2
