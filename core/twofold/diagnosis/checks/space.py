"""Checks of the vectors: their directions, lengths and neighbourhoods."""

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from twofold.dense import PassageVectors
from twofold.diagnosis.finding import Finding, first_ids, percent
from twofold.diagnosis.sample import IndexSample, Positions
from twofold.encoders import HashingEncoder
from twofold.index.leg_agreement import (
    BACKGROUND,
    MIN_PASSAGES,
    mean_agreement,
    scale_agreement,
)
from twofold.similarity import Metric
from twofold.types import LegHits

_DRAWN = 2_000
"""Vectors by which the space is described."""
_TOP = 10
_HUB = 0.25
"""The share of queries from which a passage among their best 10 is a hub."""
_FEW = 10  # vectors
_FACTOR, _GAP, _MANY_ODD = 3.0, 1.25, 0.05
"""How many times longer than the median odd vectors are; the factor between two groups of lengths;
the share of odd ones that is an error. Raw vectors of all-MiniLM-L6-v2 are from 2 to 7 long."""
_FILLED = 0.9
"""The share of values that aren't zero in the vectors of a model."""
_SAME = 1e-3
"""Digits of unit vectors that count when two are compared."""
_LOW_RECALL, _LOST_RECALL = 0.95, 0.8
_UNRELATED = 0.4
"""The agreement below which vectors of the user's own have nothing to do with the texts."""
_LOW_AGREEMENT, _USELESS_AGREEMENT = 0.62, 0.55
"""Agreement of the legs: docs/decisions/0010 has .70 for healthy and .55 for useless ones."""


def check_directions(sample: IndexSample) -> Iterator[Finding]:
    """Find vectors that hardly differ, equal vectors of different texts, and unused dimensions."""
    chosen, unit = _draw_unit_vectors(sample)
    if len(chosen) < _FEW:
        return
    mean = unit.mean(axis=0)
    cosine = float((len(unit) * mean @ mean - 1) / (len(unit) - 1))  # of all pairs of two
    yield from _find_equal_vectors(sample, chosen, unit)
    spread = unit.std(axis=0)
    dead = int((spread < 1e-6).sum())
    # By chance, a dimension has one value where most values are zero, or in few vectors.
    filled = float((unit[:, spread >= 1e-6] != 0).mean()) if dead < unit.shape[1] else 0.0
    enough = len(unit) >= min(2 * unit.shape[1], _DRAWN // 2) or filled > _FILLED
    hashes = isinstance(sample.model, HashingEncoder)  # few words fill few of its dimensions
    if dead >= unit.shape[1] / 4 and enough and not hashes:
        yield Finding(
            "unused-dimensions",
            "warning",
            f"{dead:,} of {unit.shape[1]:,} dimensions have one value in all vectors",
            "look for vectors that were cut off or padded before they were stored",
            share=dead / unit.shape[1],
        )
    if cosine > 0.9:
        yield Finding(
            "collapsed-space",
            "warning",
            f"the vectors nearly all point one way: two of them have a cosine of {cosine:.2f} on "
            "average",
            "check the model's pooling and prompt, or use another model",
            evidence=(f"measured on {len(unit):,} vectors",),
        )


def check_lengths(sample: IndexSample) -> Iterator[Finding]:
    """Find vectors so long that under the dot product they win whatever the query is."""
    scan = sample.scan
    if sample.metric is None or sample.metric is Metric.COSINE or scan.vectors is None:
        return
    positions = np.flatnonzero(scan.has_vector)
    if len(positions) < _FEW:
        return
    lengths = np.linalg.norm(scan.vectors[positions], axis=1)
    advice = (
        f"the metric {sample.metric.value!r} depends on lengths: normalise the vectors, or use "
        "metric='cosine'"
    )
    between = _find_gap(lengths)
    if between is not None:
        short = lengths <= between
        yield Finding(
            "uneven-lengths",
            "error",
            f"the vectors are of two kinds: {percent(float(short.mean()))} are about "
            f"{np.median(lengths[short]):.3g} long, the others {np.median(lengths[~short]):.3g}",
            advice,
            share=float(min(short.mean(), (~short).mean())),
            ids=first_ids(sample.ids(positions[short if 2 * short.sum() < len(short) else ~short])),
        )
        return
    median = float(np.median(lengths))
    odd = positions[(lengths > _FACTOR * median) | (lengths < median / _FACTOR)]
    if not len(odd):
        return
    share = len(odd) / len(positions)
    yield Finding(
        "uneven-lengths",
        "error" if share >= _MANY_ODD else "warning",
        f"{len(odd):,} vectors ({percent(share)}) are more than {_FACTOR:g} times as long as the "
        f"median, or as short: lengths are from {lengths.min():.3g} to {lengths.max():.3g}",
        advice,
        share=share,
        ids=first_ids(sample.ids(odd)),
    )


def check_hubs(sample: IndexSample) -> Iterator[Finding]:
    """Find passages among the best hits of unrelated queries."""
    yield from _find_hubs(sample, sample.dense_hits, "by meaning", _HUB)
    yield from _find_hubs(sample, sample.lexical_hits, "by words", 2 * _HUB)


def _find_hubs(
    sample: IndexSample, hits: Sequence[LegHits], leg: str, least: float
) -> Iterator[Finding]:
    scan = sample.scan
    if len(hits) < MIN_PASSAGES or len(scan) < 10 * _TOP:
        return
    found = np.concatenate([one.keys[:_TOP] for one in hits])
    keys, counts = np.unique(found, return_counts=True)
    shares = counts / len(hits)
    expected = _TOP / scan.total
    order = np.argsort(-shares, kind="stable")
    hubs = [at for at in order.tolist() if shares[at] > max(least, 5 * expected)]
    if not hubs or (leg == "by words" and len(hubs) > max(len(scan) // 50, 1)):
        return  # of codes without words, many tie
    ids = sample.scope.ids(keys[hubs])
    largest = float(shares[hubs[0]])
    yield Finding(
        "hubs",
        "error" if largest > 0.5 else "warning",
        f"{len(hubs):,} passages answer everything: {ids[0]!r} is among the best {_TOP} of "
        f"{percent(largest)} of {len(hits):,} unrelated queries {leg}",
        "look at these passages: encode them again, split or delete them",
        evidence=(f"by chance, a passage is among the best {_TOP} of {percent(expected)}",),
        share=largest,
        ids=first_ids(ids),
    )


def check_reachability(sample: IndexSample) -> Iterator[Finding]:
    """Find passages that are not even near the query that is their own vector."""
    scan = sample.scan
    chosen = sample.read[scan.has_vector[sample.read]][: len(sample.probes)]
    if sample.metric is None or scan.vectors is None or len(scan) < 10 * _TOP or not len(chosen):
        return
    vectors = scan.vectors[chosen]
    effort = math.inf if sample.scope.capabilities.exact else 1.0
    hits = sample.search_dense(vectors, 5 * _TOP, effort)
    score_pair = sample.metric.score
    lost: list[int] = []
    for position, vector, found in zip(chosen.tolist(), vectors, hits, strict=True):
        score = float(score_pair(vector, vector[None, :])[0])
        worst = float(found.scores[-1]) if len(found.keys) == 5 * _TOP else -math.inf
        if scan.keys[position] not in found.keys and worst > score + 1e-6 * abs(score):
            lost.append(position)
    if not lost:
        return
    share = len(lost) / len(chosen)
    yield Finding(
        "unreachable-passages",
        "warning" if share >= 0.05 else "note",
        f"{len(lost):,} of {len(chosen):,} passages ({percent(share)}) can hardly be found by "
        f"meaning: {5 * _TOP} others score better for their own vectors",
        "use metric='cosine', or normalise the vectors: short vectors lose under the dot product",
        share=share,
        ids=first_ids(sample.ids(np.array(lost))),
    )


def check_recall(sample: IndexSample) -> Iterator[Finding]:
    """Compare the approximate search with the exact one."""
    scan = sample.scan
    if sample.metric is None or scan.vectors is None or not sample.scope.capabilities.exact:
        return
    vectors = sample.encoding.vectors
    if vectors is None:
        chosen = sample.read[scan.has_vector[sample.read]][: len(sample.probes)]
        vectors = scan.vectors[chosen]
    if not len(vectors):
        return
    vectors = sample.scope.adapt(vectors)
    fast = sample.search_dense(vectors, _TOP)
    exact = sample.search_dense(vectors, _TOP, math.inf)
    # A passage is found if it scores as well as those of the exact search: copies are equal.
    shares = [
        float((first.scores >= second.scores[-1] - 1e-9).sum()) / len(second.keys)
        for first, second in zip(fast, exact, strict=True)
        if len(second.keys)
    ]
    recall = float(np.mean(shares)) if shares else 1.0
    if recall >= _LOW_RECALL:
        return
    yield Finding(
        "low-recall",
        "error" if recall < _LOST_RECALL else "warning",
        f"the approximate search finds {percent(recall)} of the exact best {_TOP}",
        "pass a larger effort to Retriever, or rebuild with Index.reindex and more links",
        evidence=(f"measured on {len(shares):,} queries",),
        share=1 - recall,
    )


def check_agreement(sample: IndexSample) -> Iterator[Finding]:
    """Compare the dense ranking with the lexical one, which needs no judgments."""
    agreement = measure_sample_agreement(sample)
    if agreement is None or agreement >= _LOW_AGREEMENT:
        return
    encoded = sample.encoding.vectors is not None
    if not encoded and agreement >= _UNRELATED:
        return  # vectors of any kind may be meant
    hashes = isinstance(sample.model, HashingEncoder)
    yield Finding(
        "encoder-does-not-fit",
        "note" if hashes else "error" if agreement < _USELESS_AGREEMENT else "warning",
        f"the dense ranking hardly agrees with the words: {agreement:.2f}, where a model that "
        "knows the texts has .70 or more and a useless one .55",
        "the model doesn't know this language or domain, or is used in a wrong way: compare "
        "modes with `twofold eval`, and try another model with `twofold reencode`",
        evidence=("one sentence of each of up to 200 passages was searched",)
        if encoded
        else ("up to 200 passages' own vectors were searched, since there is no encoder",),
    )


def measure_sample_agreement(sample: IndexSample) -> float | None:
    """Return the agreement of both legs as upsert measures it, over any engine; None if unknown."""
    scan, metric, vectors = sample.scan, sample.metric, sample.encoding.vectors
    if metric is None or not sample.lexical_hits or scan.vectors is None:
        return None
    encoded = vectors is not None
    if vectors is None:
        if sample.encoding.error is not None:
            return None
        vectors = scan.vectors[sample.probes]
    background = sample.order[scan.has_vector[sample.order]][:BACKGROUND]
    if len(background) <= MIN_PASSAGES:
        return None
    in_background = set(background.tolist())
    place = {key: at for at, key in enumerate(scan.keys.tolist())}
    usable = metric.can_compare(vectors)
    chosen: list[int] = []
    similar: list[NDArray[np.int64]] = []
    for at, position in enumerate(sample.probes.tolist()):
        hits = [place[key] for key in sample.lexical_hits[at].keys[:4].tolist() if key in place]
        others = [other for other in hits if other != position][:3]
        if others and usable[at] and position in in_background:
            chosen.append(at)
            similar.append(np.array(others))
    if not chosen:
        return None
    rows = np.unique(np.concatenate([background, *similar]))
    rows = rows[scan.has_vector[rows]]
    stored = PassageVectors(rows, scan.vectors[rows])
    queries = metric.prepare(vectors[chosen])
    agreement = mean_agreement(metric, queries, sample.probes[chosen], similar, background, stored)
    return agreement if agreement is None or encoded else scale_agreement(agreement)


def _find_gap(lengths: NDArray[np.float32]) -> float | None:
    """Return the length between two groups of lengths (n,), None if they are one group."""
    ordered = np.sort(lengths)
    few = max(len(ordered) // 20, 1)
    ratios = ordered[few:-few] / ordered[few - 1 : -few - 1]
    if not len(ratios) or ratios.max() < _GAP:
        return None
    at = int(ratios.argmax()) + few - 1
    return float(ordered[at])


def _draw_unit_vectors(sample: IndexSample) -> tuple[Positions, NDArray[np.float64]]:
    """Return the positions and directions (n, dim) of up to 2,000 passages with a vector."""
    scan = sample.scan
    if scan.vectors is None:
        return np.empty(0, np.int64), np.empty((0, 0))
    chosen = sample.order[scan.has_vector[sample.order]][:_DRAWN]
    vectors = scan.vectors[chosen].astype(np.float64)
    return chosen, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _find_equal_vectors(
    sample: IndexSample, chosen: Positions, unit: NDArray[np.float64]
) -> Iterator[Finding]:
    """Find passages that share a vector although their texts differ."""
    rounded = np.round(unit / _SAME).astype(np.int64)
    _, inverse, counts = np.unique(rounded, axis=0, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[inverse.ravel()] > 1)
    words: dict[int, set[tuple[str, ...]]] = {}
    groups = inverse.ravel()[repeated].tolist()
    for group, passage in zip(groups, sample.fetch(chosen[repeated]), strict=True):
        # Many models ignore case and punctuation.
        words.setdefault(group, set()).add(tuple(re.findall(r"\w+", passage.content.lower())))
    shared = [at for at, group in zip(repeated, groups, strict=True) if len(words[group]) > 1]
    share = len(shared) / len(chosen)
    if share < 0.02:
        return
    yield Finding(
        "equal-vectors",
        "error" if share > 0.1 else "warning" if share > 0.05 else "note",
        f"{percent(share)} of the vectors are those of other texts, too",
        "look for texts that are cut off before they differ, or for an encoder that fails",
        evidence=(f"{len(shared):,} of {len(chosen):,} passages share a vector",),
        share=share,
        ids=first_ids(sample.ids(chosen[shared])),
    )
