"""Encodes some passages again, compares with their stored vectors, and names the difference."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from twofold.diagnosis.finding import Finding, first_ids, percent
from twofold.diagnosis.sample import IndexSample, Positions, cosines
from twofold.encoders import ModelEncoder
from twofold.encoders.model_spec import Pooling
from twofold.errors import TwofoldError
from twofold.protocols import Encoder
from twofold.types import Passage, Vectors

_EQUAL, _SLIGHT, _SAME = 0.99, 0.9995, 0.999
"""Cosines of two vectors of one text: 8-bit weights reach .993 and a short prompt .998; a variant
that is the cause reaches .999."""
_SOME = 0.02
_TRIED = 8
"""Passages by which the cause of other vectors is looked for."""
_CUT = (100, 200, 256, 500, 512, 1_000)
_POOLINGS: tuple[Pooling, ...] = ("cls", "mean", "max")
_PASSAGE_PROMPTS = ("", "passage: ", "query: ", "search_document: ")
"""Other uses of a model that are tried."""


def check_stored_vectors(sample: IndexSample) -> Iterator[Finding]:
    """Encode some passages again, and compare with their stored vectors."""
    chosen, vectors = sample.encoded
    stored = sample.scan.vectors
    if stored is None or len(chosen) < 2:
        return
    similar = cosines(vectors, stored[chosen])
    differs = similar < _EQUAL
    share = float(differs.mean())
    if share < _SOME:
        yield from _check_slight_differences(sample, similar)
        return
    odd = chosen[differs]
    cause, benign = _find_cause(sample, odd, vectors[differs])
    yield Finding(
        "vectors-of-other-texts" if "other passages" in cause else "vectors-of-another-model",
        "note" if benign else "error",
        f"the stored vectors of {percent(share)} of the passages are not those that the encoder "
        f"gives for their texts: {cause}",
        "leave it, if it was meant"
        if benign
        else "encode the passages again: `twofold reencode`, or upsert them without vectors=",
        evidence=(
            f"{int(differs.sum())} of {len(chosen)} passages encoded again have a cosine below "
            f"{_EQUAL} with their stored vector; the median is {np.median(similar[differs]):.2f}",
        ),
        share=share,
        ids=first_ids(sample.ids(odd)),
    )


def _check_slight_differences(sample: IndexSample, similar: Vectors) -> Iterator[Finding]:
    """Find a prompt that was put before passages, which changes long texts' vectors little."""
    slight = similar < _SLIGHT
    share = float(slight.mean())
    if share < 0.5:
        return
    chosen, vectors = sample.encoded
    cause, _ = _find_cause(sample, chosen[slight], vectors[slight])
    known = "encoded" in cause
    yield Finding(
        "vectors-of-another-model" if known else "vectors-differ-slightly",
        "warning" if known else "note",
        f"the stored vectors of {percent(share)} of the passages differ from those that the "
        f"encoder gives for their texts: {cause if known else 'the precision may be another'}",
        "encode the passages again with `twofold reencode`"
        if known
        else "leave it, if it was meant",
        evidence=(f"the median cosine is {np.median(similar):.4f}",),
        share=share,
    )


def _find_cause(sample: IndexSample, odd: Positions, vectors: Vectors) -> tuple[str, bool]:
    """Return why stored vectors differ from those of their texts, and whether that may be meant."""
    scan = sample.scan
    assert scan.vectors is not None
    stored, passages = scan.vectors[odd], sample.fetch(odd)
    found = sample.scope.session.search_dense(vectors, 1, None, 1.0)
    keys = scan.keys[odd].tolist()
    place = {key: at for at, key in enumerate(scan.keys.tolist())}
    elsewhere = 0
    for at, (hits, key) in enumerate(zip(found, keys, strict=True)):
        first = int(hits.keys[0]) if len(hits.keys) else key
        if first != key and first in place:
            other = scan.vectors[place[first]][None, :]
            same_text = scan.hashes[place[first]] == scan.hashes[odd[at]]
            elsewhere += bool(cosines(vectors[at : at + 1], other)[0] >= _EQUAL) and not same_text
    if elsewhere >= len(odd) / 2:
        return "they are stored with other passages", False
    for label, again, benign in _variants(sample, passages[:_TRIED]):
        if again is not None and len(again) and again.shape[1] == stored.shape[1]:
            similar = cosines(again, stored[: len(again)])
            if float((similar >= _SAME).mean()) >= 0.9:
                return label, benign
    median = float(np.median(cosines(vectors, stored)))
    if len(odd) < len(sample.encoded[0]) * 0.9:
        return "they may be of earlier texts, or of another model", False
    if median < 0.3:
        return "they are of another model", False
    return "they are of another model, or of other pooling, prompts or texts", False


def _variants(
    sample: IndexSample, passages: Sequence[Passage]
) -> Iterator[tuple[str, Vectors | None, bool]]:
    """Yield other ways to encode passages: what they are, the vectors, whether it may be meant."""

    def encode(texts: Sequence[str], encoder: Encoder | None = None) -> Vectors | None:
        try:
            chosen = encoder if encoder is not None else sample.scope
            return np.asarray(chosen.encode_passages(list(texts)), np.float32)
        except TwofoldError:
            return None

    contents = [passage.content for passage in passages]
    yield "their titles were left out", encode([passage.text for passage in passages]), True
    yield "their titles alone were encoded", encode([passage.title for passage in passages]), False
    yield (
        "they were encoded as queries are",
        sample.scope.encode_queries(contents, adapt=False),
        False,
    )
    for size in _CUT:
        label = f"their texts were cut off after {size} characters"
        yield label, encode([content[:size] for content in contents]), False
    model = sample.model
    if not isinstance(model, ModelEncoder):
        return
    for prompt in _PASSAGE_PROMPTS:
        label = f"they were encoded with passage_prompt={prompt!r}"
        if not model.prompts[1] and prompt:
            yield label, encode([prompt + content for content in contents]), False
        if not model.prompts[1]:
            continue
        prompted = model.with_options(replace(model.options, passage_prompt=prompt))
        yield label, encode(contents, prompted), False
    for pooling in _POOLINGS:
        pooled = model.with_options(replace(model.options, pooling=pooling))
        yield f"they were encoded with pooling={pooling!r}", encode(contents, pooled), False
