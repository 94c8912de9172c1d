"""Mining: negatives for each query from chance, the legs and their fusion, less likely answers."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import xxhash

from twofold.errors import DegradedWarning, InputError, QueryError
from twofold.index import Index, IndexView
from twofold.index.encoder_binding import CANARIES
from twofold.protocols import Reranker
from twofold.retriever import Retriever
from twofold.training.data.examples import TrainingSet
from twofold.training.negatives.candidates import (
    Candidates,
    MinedNegatives,
    Negative,
    Source,
    set_bounds,
)
from twofold.types import MODES, LegHits, Mode

_SEARCHED: tuple[Source, ...] = ("lexical", "dense", "hybrid")
_MIX: tuple[tuple[Source, int], ...] = (("random", 1), ("lexical", 2), ("dense", 2))
_GROUP = 256  # queries searched and read at once
_SPARE = 64  # random passages drawn beyond four times those wanted


@dataclass(frozen=True, slots=True)
class Mining:
    """What negatives to mine, and what to keep back as likely answers that nobody has marked.

    ``mix`` says how many of each source a query gets: ``"random"``, ``"lexical"``, ``"dense"``,
    ``"hybrid"``; those that the training set gives come on top. Each search looks at its best
    ``depth`` passages but the first ``skip``.

    A candidate is suspected if its dense score is above a bound. NV-Retriever (Moreira et al. 2024,
    arXiv:2407.15831) puts it at 95% of the positive's score, which keeps next to nothing with a
    model whose random passages score 0.8. Here it lies at ``share`` of the way from the mean score
    of all passages, the random level, to the positive. The best of several positives counts, so
    that one wrong label doesn't suspect everything; and the bound is at least two deviations above
    the random level, since a positive that scores like chance doesn't tell where answers lie.
    Positives without a vector count as the median ones. With a ``margin`` the paper's rule holds
    instead: the bound is that part of the positive's score below it. With neither, nothing is
    suspected for its score.

    ``near_duplicate`` is the Jaccard likeness of word 5-grams from which on a passage is a copy of
    a positive. A ``reranker`` reads its number of ``candidates`` of each search, and the positives:
    what it scores as high as the best positive, or ``reranker_threshold`` or more, is suspected
    (RocketQA, Qu et al. 2021).
    """

    mix: Mapping[Source, int] | Iterable[tuple[Source, int]] = _MIX
    depth: int = 100
    skip: int = 0
    margin: float | None = None
    share: float | None = 0.95
    near_duplicate: float = 0.5
    seed: int = 0
    reranker: Reranker | None = None
    reranker_threshold: float | None = None

    def __post_init__(self) -> None:
        for name, low in (("depth", 1), ("skip", 0), ("seed", 0)):
            _check(name, getattr(self, name), low=low)
        for name in ("margin", "share", "near_duplicate"):
            if getattr(self, name) is not None or name == "near_duplicate":
                _check(name, getattr(self, name), low=0, high=1, whole=False)
        if self.skip >= self.depth:
            raise InputError(f"skip={self.skip} of depth={self.depth} leaves nothing to look at")
        if self.reranker is not None and not isinstance(self.reranker, Reranker):
            raise InputError(f"reranker is {self.reranker!r:.80}: one of twofold.rerank is wanted")
        if self.reranker_threshold is not None:
            _check("reranker_threshold", self.reranker_threshold, whole=False)
            if self.reranker is None:
                raise InputError("reranker_threshold is given without a reranker: give one")
        given = self.mix.items() if isinstance(self.mix, Mapping) else self.mix
        try:
            counts = dict(given)
        except (TypeError, ValueError):
            wanted = "numbers by source, such as {'random': 1, 'dense': 4}, are wanted"
            raise InputError(f"mix is {self.mix!r:.80}: {wanted}") from None
        for source, count in counts.items():
            if source != "random" and source not in _SEARCHED:
                raise InputError(
                    f"mix has {source!r:.40}: 'random', 'lexical', 'dense' and 'hybrid' are mined"
                )
            _check(f"mix[{source!r}]", count, low=0)
        # Always in one order: a passage that two searches bring belongs to the first.
        mix = tuple((each, counts[each]) for each in (*_SEARCHED, "random") if counts.get(each))
        if not mix:
            raise InputError(f"mix is {self.mix!r:.80}: at least one negative is wanted")
        object.__setattr__(self, "mix", mix)

    @property
    def counts(self) -> dict[Source, int]:
        """The number of negatives a query by source, without those of which none is wanted."""
        return dict(self.mix)


def for_legs(index: Index, mining: Mining) -> Mining:
    """Return a mining whose words are left to the dense leg where an index has no lexical one.

    Warns (DegradedWarning) of that.
    """
    counts = mining.counts
    if "lexical" in index.modes or not counts.keys() & {"lexical", "hybrid"}:
        return mining
    _warn("the index has no lexical leg: all negatives that are searched for are the dense leg's")
    chance = counts.pop("random", 0)
    return replace(mining, mix=(("dense", sum(counts.values())), ("random", chance)))


def mine(
    index: Index,
    training_set: TrainingSet,
    mining: Mining | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> MinedNegatives:
    """Return negatives for each query by what the index finds now.

    The dense leg is searched exactly, under its own metric, with the queries as users ask them. No
    negative is a positive of its query, a near-duplicate of one, a suspect, blank, or the query
    itself; those that the training set gives are kept as they are. Where a source has too few,
    random ones fill up, marked as such; a query for which none is left has an empty tuple. The
    same index, data and seed give the same negatives, whatever the order of the examples. Suspects
    are those that stood in the way of a negative; the reranker doesn't read random passages.

    ``progress`` is called with the number of queries done. Warns (DegradedWarning) where positives
    have no text or no dense score. Raises QueryError for an index that lacks what the mix asks for.
    """
    with index.view() as view:
        return _Mine(view, mining if mining is not None else Mining(), training_set).run(progress)


class Miner:
    """Mines again as often as asked, and only if something has changed since the last time.

    What was mined holds for one state of the index, the query encoder's vectors of fixed sentences,
    one training set and one way of mining. So training the encoder, in place or by another that
    ``Index.reencode`` is given, always leads to new negatives. Not for several threads at once.
    """

    def __init__(self, index: Index, mining: Mining | None = None) -> None:
        self.mining = mining if mining is not None else Mining()
        self._index = index
        self._last: tuple[tuple[object, ...], MinedNegatives] | None = None

    def mine(
        self, training_set: TrainingSet, *, progress: Callable[[int], None] | None = None
    ) -> MinedNegatives:
        """Return ``mine`` of these, from memory if it would give the same."""
        with self._index.view() as view:
            canaries = view.encode_queries(CANARIES).tobytes() if _has_dense(view) else b""
            reranker = getattr(self.mining.reranker, "identity", None)
            state = (view.generation, view.snapshot.vector_set, canaries, reranker, self.mining)
            key = (*state, training_set.digest, training_set.passages)
            if self._last is None or self._last[0] != key:
                self._last = key, _Mine(view, self.mining, training_set).run(progress)
            return self._last[1]


@dataclass(frozen=True)  # without slots: hits refer to it weakly
class _Pinned:
    """A store of one generation, so that the retriever searches the one that is mined."""

    the_view: IndexView
    modes: tuple[Mode, ...] = MODES

    def view(self) -> AbstractContextManager[IndexView]:
        return nullcontext(self.the_view)


class _Mine:
    """One mining of one generation."""

    def __init__(self, view: IndexView, mining: Mining, training_set: TrainingSet) -> None:
        _check_legs(view, mining)
        self._view = view
        self._mining = mining
        self._set = training_set
        self._brought = {each.id: each.content for each in training_set.passages}
        self._total = sum(mining.counts.values())
        rows = view.rows
        ids = view.ids(rows)
        self._by_id = rows[sorted(range(len(ids)), key=ids.__getitem__)]  # in any history the same

    def run(self, progress: Callable[[int], None] | None) -> MinedNegatives:
        """Return the negatives of all queries."""
        # By id, as an encoder's vectors may hang on what a text shares its batch with.
        examples = sorted(self._set, key=lambda each: each.query_id)
        known = [filter(None, map(self._text, each.positives)) for each in examples]
        asked = [Candidates(*each) for each in zip(examples, map(list, known), strict=True)]
        if lacking := sum(not each.texts for each in asked):
            _warn(
                f"{lacking:,} of {len(asked):,} queries have no positive in the index or in the "
                "training set's passages, to compare negatives with"
            )
        if _has_dense(self._view) and asked:
            set_bounds(asked, self._view, self._brought, self._mining.share, self._mining.margin)
        elif asked:
            _warn("without a dense leg and its encoder, no passage is suspected for its score")
        found: dict[str, tuple[Negative, ...]] = {}
        for start in range(0, len(asked), _GROUP):
            group = asked[start : start + _GROUP]
            for each, brought in zip(group, self._searched(group), strict=True):
                found[each.example.query_id] = self._taken(each, brought)
            if progress is not None:
                progress(start + len(group))
        suspects = tuple(suspect for each in asked for suspect in each.suspects)
        return MinedNegatives({each.query_id: found[each.query_id] for each in self._set}, suspects)

    def _text(self, own: str) -> str:
        """Return a passage's text, nothing if it isn't known."""
        if (row := self._view.row_of(own)) is None:
            return self._brought.get(own, "")
        return self._view.passages(np.array([row]))[0].content

    def _searched(self, group: Sequence[Candidates]) -> list[dict[Source, Iterable[Negative]]]:
        """Return for each query what each search brings, best first, judged when asked for."""
        view, depth, counts = self._view, self._mining.depth, self._mining.counts
        near, texts = self._mining.near_duplicate, [each.example.query for each in group]
        vectors = [each.vector for each in group if each.vector is not None]
        hits: dict[Source, list[LegHits]] = {}
        if "lexical" in counts:
            hits["lexical"] = view.lexical(texts, depth, None)
        if "dense" in counts:
            hits["dense"] = view.dense(np.stack(vectors), depth, None, math.inf)
        if "hybrid" in counts:
            retriever = Retriever(_Pinned(view), k=depth, exact=True)
            fused = retriever.retrieve_many(texts, vectors=np.stack(vectors))
            hits["hybrid"] = [LegHits(each.rows, each.scores) for each in fused]
        brought: list[dict[Source, Iterable[Negative]]] = [
            {
                source: each.passing(view, source, own[place], self._mining.skip, near)
                for source, own in hits.items()
            }
            for place, each in enumerate(group)
        ]
        return self._denoised(group, brought) if hits else brought

    def _denoised(
        self, group: Sequence[Candidates], brought: list[dict[Source, Iterable[Negative]]]
    ) -> list[dict[Source, Iterable[Negative]]]:
        """Return the best of what each search brings, once a reranker, if any, has read them."""
        if (reranker := self._mining.reranker) is None:
            return brought
        most = max(reranker.candidates, self._total)
        lists: list[dict[Source, Iterable[Negative]]] = []
        texts: list[list[str]] = []
        for each, own in zip(group, brought, strict=True):
            best = {source: list(islice(some, most)) for source, some in own.items()}
            each.reading = tuple(dict.fromkeys(one.id for some in best.values() for one in some))
            lists.append(dict(best))
            texts.append([*each.texts, *(each.usable[one] or "" for one in each.reading)])
        scores = reranker.rerank([each.example.query for each in group], texts)
        for each, read in zip(group, scores, strict=True):
            each.denoise(read, self._mining.reranker_threshold)
        return lists

    def _taken(
        self, asked: Candidates, brought: Mapping[Source, Iterable[Negative]]
    ) -> tuple[Negative, ...]:
        """Return a query's negatives: given ones, then of each search, then random ones."""
        counts = self._mining.counts
        taken = {own: Negative(own, "given") for own in asked.example.negatives}
        wanted = len(taken) + self._total
        for source, own in (*brought.items(), ("random", self._drawn(asked))):
            count = wanted - len(taken) if source == "random" else counts[source]
            fresh = (one for one in own if one.id not in taken and asked.fine(one.id))
            taken |= {one.id: one for one in islice(fresh, count)}
        asked.usable.clear()  # texts take room
        return tuple(taken.values())

    def _drawn(self, asked: Candidates) -> Iterator[Negative]:
        """Yield random passages that may be negatives, always the same of a query."""
        name = xxhash.xxh3_64_intdigest(asked.example.query_id.encode(errors="surrogatepass"))
        rng = np.random.default_rng([self._mining.seed, name])
        size = min(len(self._by_id), 4 * self._total + _SPARE)
        hits = LegHits(rng.choice(self._by_id, size, replace=False), np.zeros(size))
        yield from asked.passing(self._view, "random", hits, 0, self._mining.near_duplicate)


def _check_legs(view: IndexView, mining: Mining) -> None:
    """Raise QueryError where the index can't give what the mix asks for."""
    if not view.count:
        raise QueryError("the index is empty: upsert passages before mining")
    for leg, there in (("lexical", view.snapshot.lexical is not None), ("dense", _has_dense(view))):
        asking = sorted(mining.counts.keys() & {leg, "hybrid"})
        if asking and not there:
            raise QueryError(
                f"mix has {asking[0]!r}, and this index no {leg} leg that takes texts: leave it out"
            )


def _has_dense(view: IndexView) -> bool:
    return view.snapshot.dense is not None and view.encodes


def _warn(problem: str) -> None:
    warnings.warn(problem, DegradedWarning, stacklevel=4)


def _check(
    name: str, value: object, *, low: float = -math.inf, high: float = math.inf, whole: bool = True
) -> None:
    """Raise InputError for what isn't a number from ``low``, above it if not whole, to ``high``."""
    kinds = (int, np.integer) if whole else (int, float, np.number)
    fine = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if not fine or not low <= value <= high or (value == low and not whole):  # type: ignore[operator]
        limits = f"at least {low}" if whole else f"above {low} and up to {high}"
        raise InputError(f"{name} is {value!r:.40}: a {'whole ' * whole}number {limits} is wanted")
