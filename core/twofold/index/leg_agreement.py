"""Measures how well the dense ranking agrees with the lexical one, without judgments."""

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twofold.dense import PassageVectors, VectorBlock, float32_scores
from twofold.index.view import IndexView
from twofold.segments import find_positions
from twofold.similarity import Metric
from twofold.storage import content_hash
from twofold.types import Mask, Passage, Rows, Vectors

PROBES = 100
"""Passages whose sentences are used as queries."""
MIN_PROBES = 20
"""Fewest queries for a measurement."""
MIN_PASSAGES = 50
"""Fewest passages for a measurement: ranks among fewer say too little."""
BACKGROUND = 10_000
"""Passages among which ranks are counted."""
_CHUNK = 1 << 18  # ids in memory at a time
_BY_PASSAGE, _BY_SENTENCE = (0.58, 0.66), (0.55, 0.70)
"""Agreement of useless and of healthy dense legs on 18 collections, with a passage's vector or its
sentence as the query: docs/decisions/0010."""
_SIMILAR = 3  # passages that share words with a sentence; the nearest one counts
_MIN_LENGTH, _OPENING, _MAX_LENGTH = 15, 200, 400  # characters of a sentence
# Chinese and Japanese full stops need no blank after them. The last of the others is Hindi's.
_END = re.compile("(?<=[\u3002\uff01\uff1f])\\s*|(?<=[.!?\u0964])(?:\\s+|$)")


def measure_agreement(view: IndexView, *, encode: bool) -> float | None:
    """Return how well the dense ranking agrees with the lexical one, 0 to 1; None if not measured.

    One sentence of each of up to 100 passages is a query. For each query, the 3 other passages
    with the best lexical scores are ranked by dense score among up to 10,000 passages. The query's
    value is 1 - ln(rank) / ln(passages) for the best rank of the 3: 1 if first, 0 if last. The
    result is the mean. Vectors unrelated to the texts give about 0.2.

    The sample depends only on a hash of the ids, so the result doesn't depend on the order in
    which passages were stored, to the last bit.

    If ``encode`` is false, the stored vectors of the passages replace those of their sentences, and
    the result is mapped to the same scale.
    """
    dense = view.snapshot.dense
    if dense is None or view.snapshot.lexical is None:
        return None
    background = _order_rows(view, dense.live_rows)[:BACKGROUND]
    if len(background) <= MIN_PASSAGES:
        return None
    probes = background[:PROBES]
    passages = view.fetch(probes).passages
    sentences = [choose_sentence(passages[position]) for position in range(len(probes))]
    lexical = view.search_lexical(sentences, _SIMILAR + 1, None, None)
    similar = [
        hits.keys[hits.keys != row][:_SIMILAR]
        for hits, row in zip(lexical, probes.tolist(), strict=True)
    ]
    usable = [position for position, rows in enumerate(similar) if len(rows)]
    if len(usable) < MIN_PROBES:
        return None
    probes = probes[usable]
    similar = [similar[position] for position in usable]
    if encode:
        texts = [sentences[position] for position in usable]
        vectors = view.scope.encode_queries(texts, adapt=False)
    else:
        vectors = dense.vectors(probes)[0]
    comparable = dense.metric.can_compare(vectors)
    if not comparable.all():  # an encoder may know no word of a sentence
        vectors, probes = vectors[comparable], probes[comparable]
        similar = [rows for rows, kept in zip(similar, comparable, strict=True) if kept]
    if len(probes) < MIN_PROBES:
        return None
    queries = dense.index.flat.prepare_queries(vectors)
    # One product of all rows, so that a passage has the same score in both roles. Rows are
    # ordered, since the last bits of a product depend on the order.
    rows = _order_rows(view, np.unique(np.concatenate([background, *similar])))
    stored, found = dense.vectors(rows)
    agreement = mean_agreement(
        dense.metric,
        queries,
        probes,
        similar,
        background,
        PassageVectors(rows[found], stored[found]),
    )
    return agreement if agreement is None or encode else scale_agreement(agreement)


def scale_agreement(agreement: float) -> float:
    """Map the agreement by passages' vectors to the scale of that by their sentences."""
    share = (agreement - _BY_PASSAGE[0]) / (_BY_PASSAGE[1] - _BY_PASSAGE[0])
    return min(max(_BY_SENTENCE[0] + share * (_BY_SENTENCE[1] - _BY_SENTENCE[0]), 0.0), 1.0)


def order_by_digest(ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the positions of ids in the order of their hashes, as if shuffled."""
    digests = np.fromiter((_digest(one) for one in ids), np.uint64, len(ids))
    return np.argsort(digests, kind="stable")


def _order_rows(view: IndexView, rows: Rows) -> Rows:
    """Return rows in the order of a hash of their passages' ids."""
    digests = np.zeros(len(rows), np.uint64)
    for start in range(0, len(rows), _CHUNK):
        some = rows[start : start + _CHUNK]
        for segment in view.snapshot.columns:
            at = find_positions(some, segment.rows)
            here = np.flatnonzero(at >= 0)
            ids = segment.ids.take(at[here]).tolist()
            digests[start + here] = [_digest(passage_id) for passage_id in ids]
    return rows[np.argsort(digests, kind="stable")]


def _digest(passage_id: str) -> int:
    """Return a 64-bit hash of an id."""
    return int.from_bytes(content_hash(passage_id.encode())[:8], "little")


def choose_sentence(passage: Passage) -> str:
    """Return a sentence of a passage, chosen by a hash of its id; its opening if it has none."""
    text = passage.text.strip() or passage.title
    sentences = [part for part in _END.split(text) if len(part) >= _MIN_LENGTH]
    if not sentences:
        return text[:_OPENING]
    return sentences[_digest(passage.id) % len(sentences)][:_MAX_LENGTH]


def mean_agreement(
    metric: Metric,
    queries: Vectors,
    probes: Rows,
    similar: Sequence[Rows],
    background: Rows,
    stored: PassageVectors,
) -> float | None:
    """Return the mean value of the queries, None if too few have a similar row with a vector.

    Args:
        metric: The metric, in whose stored form all vectors are.
        queries: The vectors of the sentences (n, dim).
        probes: The rows (n,) that the sentences are from.
        similar: The lexically best rows for each sentence, its own left out.
        background: The rows among which ranks are counted.
        stored: The vectors of all these rows, one each, without rows that have none.
    """
    rows = stored.rows
    lengths = VectorBlock.from_vectors(metric, stored).lengths
    scores = float32_scores(metric, queries, stored.vectors, lengths)
    in_background = np.isin(rows, background)
    values = [
        _rank_value(query_scores, np.isin(rows, some), in_background & (rows != row))
        for query_scores, some, row in zip(scores, similar, probes.tolist(), strict=True)
        if np.isin(some, rows).any()
    ]
    return float(np.mean(values)) if len(values) >= MIN_PROBES else None


def _rank_value(scores: NDArray[np.float32], similar: Mask, others: Mask) -> float:
    """Return 1 if the best score of ``similar`` ranks first among ``others``, 0 if last."""
    count = int(np.count_nonzero(others))
    rank = 1 + int(np.count_nonzero(scores[others] > scores[similar].max()))
    return max(1 - math.log(rank) / math.log(count), 0.0)
