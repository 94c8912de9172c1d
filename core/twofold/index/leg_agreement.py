"""How far the dense leg agrees with the words of its own passages, measured without judgments."""

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twofold.dense import VectorPart, nearness
from twofold.index.dense_leg import DenseLeg
from twofold.index.view import IndexView
from twofold.segments import positions_of
from twofold.storage import Settings, content_hash
from twofold.types import Mask, Passage, Rows, Vectors

PROBES = 100
"""Passages that ask for others like them."""
FEWEST_PROBES = 20
FEWEST = 50
"""Passages that others are compared with, below which a rank says too little."""
BACKGROUND = 10_000
_CHUNK = 1 << 18  # ids in memory at a time
_BY_PASSAGE, _BY_SENTENCE = (0.58, 0.66), (0.55, 0.70)
"""Where useless legs end and healthy ones begin, on 18 collections, if a passage's own vector asks
and if its sentence does: docs/decisions/0010."""
_LIKE = 3  # passages that share words with a sentence, of which the nearest counts
_SHORTEST, _OPENING, _LONGEST = 15, 200, 400  # characters of a sentence
# Full stops of Chinese and Japanese need no blank after them; the last of the others is Hindi's.
_END = re.compile("(?<=[\u3002\uff01\uff1f])\\s*|(?<=[.!?\u0964])(?:\\s+|$)")


def needs_measuring(settings: Settings, passages: int, *, encode: bool) -> bool:
    """Whether an index has both legs, and no measurement of what it holds by all that there is.

    One holds until half of the passages have come, gone or changed since.
    """
    if not settings.dense or settings.analyzer is None or passages < FEWEST:
        return False
    before = settings.agreement_of
    better = encode and not settings.agreement_encoded
    changed = 2 * settings.agreement_changed >= passages
    return better or changed or before == 0 or passages >= 2 * before or 2 * passages <= before


def measure_agreement(view: IndexView, *, encode: bool) -> float | None:
    """Return the agreement of the legs, about 0 to 1; None where there is too little to tell.

    A sentence of each of up to 100 passages asks. The best 3 other passages by words are looked
    up among up to 10,000 others by their dense scores: 1 - ln(rank) / ln(others) of the nearest of
    them, and the mean over all sentences. So 1 is always first, 0 always last, and vectors that
    know nothing of the texts give about 0.2. If not to ``encode``, the passage's own vector asks,
    and what it gives is brought to the same scale. The sample follows from a hash of the ids, so
    that the same passages stored in another order give the same, to the last bit.
    """
    dense = view.snapshot.dense
    if dense is None or view.snapshot.lexical is None:
        return None
    background = _by_digest(view, dense.live_rows)[:BACKGROUND]
    if len(background) <= FEWEST:
        return None
    chosen = background[:PROBES]
    fetched = view.passages(chosen)
    asked = [_sentence(fetched[place]) for place in range(len(chosen))]
    like = [
        hits.rows[hits.rows != row][:_LIKE]
        for hits, row in zip(view.lexical(asked, _LIKE + 1, None), chosen.tolist(), strict=True)
    ]
    able = [place for place, rows in enumerate(like) if len(rows)]
    if len(able) < FEWEST_PROBES:
        return None
    chosen = chosen[able]
    queries = _queries(view, dense, chosen, [asked[place] for place in able], encode=encode)
    others = [like[place] for place in able]
    # One product for all, so that a passage's score is the same in both roles; in an order of its
    # own, since the last bits of a product follow the order.
    rows = _by_digest(view, np.unique(np.concatenate([background, *others])))
    found = _agreement(dense, queries, chosen, others, background, rows)
    if found is None or encode:
        return found
    share = (found - _BY_PASSAGE[0]) / (_BY_PASSAGE[1] - _BY_PASSAGE[0])
    return min(max(_BY_SENTENCE[0] + share * (_BY_SENTENCE[1] - _BY_SENTENCE[0]), 0.0), 1.0)


def _by_digest(view: IndexView, rows: Rows) -> Rows:
    """Return rows in the order of a hash of their passages' ids."""
    digests = np.zeros(len(rows), np.uint64)
    for start in range(0, len(rows), _CHUNK):
        some = rows[start : start + _CHUNK]
        for segment in view.snapshot.columns:
            at = positions_of(some, segment.rows)
            here = np.flatnonzero(at >= 0)
            digests[start + here] = [_digest(each) for each in segment.ids.take(at[here]).tolist()]
    return rows[np.argsort(digests, kind="stable")]


def _digest(passage_id: str) -> int:
    """Return a hash of an id, below 2**64."""
    return int.from_bytes(content_hash(passage_id.encode())[:8], "little")


def _sentence(passage: Passage) -> str:
    """Return a sentence of a passage, by a hash of its id, or its opening if it has none."""
    text = passage.text.strip() or passage.title
    sentences = [each for each in _END.split(text) if len(each) >= _SHORTEST]
    if not sentences:
        return text[:_OPENING]
    return sentences[_digest(passage.id) % len(sentences)][:_LONGEST]


def _queries(
    view: IndexView, dense: DenseLeg, rows: Rows, texts: Sequence[str], *, encode: bool
) -> Vectors:
    """Return a query vector (n, dim) of each sentence, or of each passage itself."""
    vectors = view.encode_queries(texts, adapted=False) if encode else dense.vectors(rows)[0]
    return dense.index().exact.prepared(vectors)


def _agreement(
    dense: DenseLeg,
    queries: Vectors,
    own: Rows,
    like: Sequence[Rows],
    background: Rows,
    rows: Rows,
) -> float | None:
    """Return the mean over queries of how near the nearest of ``like`` is; ``rows`` are of all."""
    vectors, found = dense.vectors(rows)
    rows, vectors = rows[found], vectors[found]
    lengths = VectorPart.of(dense.metric, rows, vectors).lengths
    scores = nearness(dense.metric, queries, vectors, lengths)
    among = np.isin(rows, background)
    values = [
        _value(each, np.isin(rows, some), among & (rows != row))
        for each, some, row in zip(scores, like, own.tolist(), strict=True)
        if np.isin(some, rows).any()
    ]
    return float(np.mean(values)) if len(values) >= FEWEST_PROBES else None


def _value(scores: NDArray[np.float32], like: Mask, others: Mask) -> float:
    """Return 1 where the best of ``like`` is first among ``others``, 0 where it is last."""
    count = int(np.count_nonzero(others))
    rank = 1 + int(np.count_nonzero(scores[others] > scores[like].max()))
    return max(1 - math.log(rank) / math.log(count), 0.0)
