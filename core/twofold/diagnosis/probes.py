"""Probes: what the dense leg, the lexical leg and both together do with known difficulties.

Negation, numbers, swapped roles, typing errors, identifiers, abbreviations, synonyms and single
words are made of the index's own passages by rules, so that the right answers are known.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from twofold.backend import Searchable
from twofold.diagnosis.probe_rules import (
    PairProbe,
    ProbeKind,
    SearchProbe,
    make_pairs,
    make_searches,
)
from twofold.index import Index
from twofold.protocols import Analyzer, Encoder
from twofold.retriever import Retriever
from twofold.types import Mode, Passage

FEWEST = 5
"""Probes of a kind without which nothing is reported."""
_WORST = 3
_TOP = 10


@dataclass(frozen=True, slots=True)
class ProbeExample:
    """A probe that a mode got wrong: the query, the right answer, and what came first."""

    query: str
    expected: str
    found: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The probes of one kind.

    Attributes:
        kind: The difficulty.
        count: Number of probes.
        shares: The share that each mode puts right, 0 to 1.
        examples: Some that the last of the modes got wrong, or the others.
    """

    kind: ProbeKind
    count: int
    shares: dict[Mode, float]
    examples: tuple[ProbeExample, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self)


def run_probes(
    index: Searchable,
    passages: Sequence[Passage],
    modes: Sequence[Mode],
    encoder: Encoder | None,
    analyzer: Analyzer | None,
) -> list[ProbeResult]:
    """Search with the probes of some passages, in each of the modes.

    Two texts that differ in one point are compared in a small index of their own, with the same
    encoder and analyzer: right is the text that answers, ranked before the other. The rest is
    searched in the index itself: right is an answer among the best 10, for identifiers and single
    words as the first.

    Args:
        index: The index.
        passages: The passages of which probes are made.
        modes: The modes in which the index can be searched.
        encoder: The index's encoder, None without a dense leg.
        analyzer: The index's analyzer, None without a lexical leg.
    """
    pairs = _run_pairs(
        make_pairs(passages),
        [mode for mode in modes if _serves(mode, encoder, analyzer)],
        encoder,
        analyzer,
    )
    return [*pairs, *_run_searches(index, make_searches(passages), modes)]


def _run_pairs(
    probes: Sequence[PairProbe],
    modes: Sequence[Mode],
    encoder: Encoder | None,
    analyzer: Analyzer | None,
) -> list[ProbeResult]:
    kinds = _by_kind(probes)
    texts = [
        Passage(text, f"{at}{side}")
        for at, probe in enumerate(probes)
        for side, text in (("r", probe.right), ("w", probe.wrong))
    ]
    if not texts or not modes:
        return []
    results: dict[Mode, list[tuple[bool, str]]] = {}
    with Index.open(None, encoder=encoder, analyzer=analyzer) as small:
        small.upsert(texts)
        for mode in modes:
            retriever = Retriever(small, mode=mode, k=len(texts), depth=len(texts))
            found = retriever.retrieve_many([probe.query for probe in probes])
            results[mode] = [
                _compare(dict(zip(hits.ids, hits.scores, strict=True)), at, probe)
                for at, (probe, hits) in enumerate(zip(probes, found, strict=True))
            ]
    place = {id(probe): at for at, probe in enumerate(probes)}
    return [
        _summarize(kind, [place[id(probe)] for probe in some], probes, results)
        for kind, some in kinds.items()
        if len(some) >= FEWEST
    ]


def _compare(scores: dict[str, float], at: int, probe: PairProbe) -> tuple[bool, str]:
    """Return whether the right text of a pair scores best, and the text that doesn't."""
    right, wrong = scores.get(f"{at}r", -np.inf), scores.get(f"{at}w", -np.inf)
    return bool(right > wrong), probe.wrong


def _run_searches(
    index: Searchable, probes: Sequence[SearchProbe], modes: Sequence[Mode]
) -> list[ProbeResult]:
    kinds = _by_kind(probes)
    if not probes or not modes:
        return []
    results: dict[Mode, list[tuple[bool, str]]] = {}
    for mode in modes:
        found = Retriever(index, mode=mode, k=_TOP).retrieve_many([one.query for one in probes])
        results[mode] = [
            (_is_found(hits, probe), hits[0].passage.content if len(hits) else "nothing")
            for probe, hits in zip(probes, found, strict=True)
        ]
    place = {id(probe): at for at, probe in enumerate(probes)}
    return [
        _summarize(kind, [place[id(probe)] for probe in some], probes, results)
        for kind, some in kinds.items()
        if len(some) >= FEWEST
    ]


def _is_found(hits: Any, probe: SearchProbe) -> bool:
    """Return whether an answer is among the hits, or the first one for names and single words."""
    looked = hits[:1] if probe.kind in ("identifiers", "one-word") else hits
    for hit in looked:
        text = hit.passage.content.lower()
        if probe.answer in text and (probe.lacks is None or probe.lacks not in text):
            return True
    return False


def _summarize(
    kind: ProbeKind,
    places: Sequence[int],
    probes: Sequence[PairProbe] | Sequence[SearchProbe],
    results: dict[Mode, list[tuple[bool, str]]],
) -> ProbeResult:
    shares = {
        mode: float(np.mean([found[at][0] for at in places])) for mode, found in results.items()
    }
    examples: list[ProbeExample] = []
    for mode in ("hybrid", "dense", "lexical"):
        for at in places:
            if mode in results and not results[mode][at][0] and len(examples) < _WORST:
                probe = probes[at]
                expected = probe.right if isinstance(probe, PairProbe) else probe.answer
                examples.append(ProbeExample(probe.query, expected, results[mode][at][1], mode))
    return ProbeResult(kind, len(places), shares, tuple(examples))


def _by_kind(probes: Sequence[Any]) -> dict[ProbeKind, list[Any]]:
    kinds: dict[ProbeKind, list[Any]] = {}
    for probe in probes:
        kinds.setdefault(probe.kind, []).append(probe)
    return kinds


def _serves(mode: Mode, encoder: Encoder | None, analyzer: Analyzer | None) -> bool:
    """Return whether a small index with this encoder and analyzer serves a mode."""
    dense, lexical = encoder is not None, analyzer is not None
    return {"hybrid": dense and lexical, "dense": dense, "lexical": lexical}[mode]
