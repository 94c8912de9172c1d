"""Learns from judged queries how likely an answer is right, and when to give none."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twofold.backend import Capabilities, Searchable, SearchProfile, SearchScope
from twofold.calibration import Calibration, calibration_error, fit_calibration
from twofold.errors import InputError, QueryError
from twofold.evaluation.measures import Qrels, check_qrels
from twofold.retriever import Retriever
from twofold.tuning.objective import active_profile
from twofold.types import Mask, Mode, Scores
from twofold.validation import check_integer, check_number

MIN_QUERIES = 40
"""Fewest queries for a calibration."""
_ID = "$id"
_RISKS = (0.02, 0.05, 0.1, 0.2)
_BINS = 10


@dataclass(frozen=True, slots=True)
class Risk:
    """The cost of a bound on wrong answers.

    Attributes:
        bound: The bound on the share of all queries that are answered wrongly (``abstain=``).
        answered: The share of queries that are answered.
        wrong: The share of queries that are answered wrongly.
    """

    bound: float
    answered: float
    wrong: float


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """A calibration, and how good it is on the queries not used for its weights.

    Attributes:
        profile: The search profile with the calibration, to be saved.
        queries: Number of queries.
        unanswerable: How many of them have no answer, marked or made by leaving answers out.
        right: The share that is answered rightly without abstaining.
        error: The expected calibration error of the confidence.
        curve: Mean confidence, share of right answers and number of queries, in ten bins of equal
            counts.
        risks: What each bound costs. These queries set the thresholds; others differ by chance.
    """

    profile: SearchProfile
    queries: int
    unanswerable: int
    right: float
    error: float
    curve: tuple[tuple[float, float, int], ...]
    risks: tuple[Risk, ...]

    @property
    def calibration(self) -> Calibration:
        """The calibration."""
        found = self.profile.calibration
        assert found is not None  # set by `calibrate`
        return found


def calibrate(
    index: Searchable,
    queries: Mapping[str, str],
    qrels: Qrels,
    *,
    unanswerable: Collection[str] = (),
    left_out: float = 0.3,
    mode: Mode | None = None,
    first: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> CalibrationResult:
    """Learn how likely an answer is right, from judged queries; nothing is written.

    One half of the queries fits a logistic model of a few signals, the other half sets the
    thresholds. To keep the result, pass ``result.profile`` to ``index.profiles.save(name, ...,
    use=True)``. From then on, hits have a ``confidence``, and ``Retriever(index, abstain=0.1)``
    gives no answer where more than 10% of queries would be answered wrongly. The bound holds for
    queries like these, on average over calibrations: Angelopoulos et al., Conformal Risk Control
    (ICLR 2024).

    Args:
        index: An index, or another target of searches.
        queries: Query id to text.
        qrels: Query id to passage id to relevance grade.
        unanswerable: Ids of queries that no passage answers. If there are none, a share of the
            judged queries is searched with their relevant passages left out.
        left_out: That share, 0 to 1 without 1.
        mode: The search mode. Default: the index's first.
        first: An answer is right if one of the first ``first`` hits is relevant.
        seed: Seeds which queries are left out, and the halves.
        progress: Called with the number of queries done, and of all.

    Raises:
        InputError: An argument is invalid, or there are fewer than 40 judged queries.
        QueryError: The index can't be searched in this mode.

    Example:
        >>> from twofold import Index
        >>> from twofold.tuning import calibrate
        >>> index = Index.open(None, encoder=None)
        >>> names = [f"word{at}" for at in range(60)]
        >>> _ = index.upsert([{"id": name, "text": f"a text of {name}"} for name in names])
        >>> result = calibrate(index, dict(zip(names, names)), {name: {name: 1} for name in names})
        >>> index.profiles.save("calibrated", result.profile, use=True)
        >>> from twofold import Retriever
        >>> Retriever(index, mode="lexical").retrieve("word7").confidence > 0.5
        True
    """
    found = collect_signals(
        index,
        queries,
        qrels,
        unanswerable=unanswerable,
        left_out=left_out,
        mode=mode,
        first=first,
        seed=seed,
        progress=progress,
    )
    fitted = np.random.default_rng(seed).permutation(len(found.right)) % 2 == 0
    calibration = found.fit(fitted)
    held_out = ~fitted
    confidences = np.array([calibration.confidence(row) for row in found.signals[held_out]])
    outcomes = found.right[held_out].astype(np.float64)
    return CalibrationResult(
        profile=replace(found.profile, calibration=calibration),
        queries=len(found.right),
        unanswerable=found.unanswerable,
        right=float(found.right.mean()),
        error=calibration_error(confidences, outcomes),
        curve=tuple(_curve(confidences, outcomes)),
        risks=tuple(_measure_risk(calibration, risk, confidences, outcomes) for risk in _RISKS),
    )


@dataclass(frozen=True, slots=True)
class JudgedSignals:
    """The searches of judged queries, to learn a calibration from.

    Attributes:
        profile: The search profile in use, without a calibration.
        mode: The search mode.
        first: An answer is right if one of the first ``first`` hits is relevant.
        settings: The profile and the model on which scores depend.
        signals: The `SIGNALS` (n, signals) of each search.
        right: Which were answered rightly (n,).
        unanswerable: Number of queries without an answer.
    """

    profile: SearchProfile
    mode: Mode
    first: int
    settings: str
    signals: Scores
    right: Mask
    unanswerable: int

    def fit(self, fitted: Mask) -> Calibration:
        """Return the calibration whose weights are fitted on these queries (n,)."""
        return fit_calibration(
            self.mode, self.first, self.settings, self.signals, self.right, fitted
        )


def collect_signals(
    index: Searchable,
    queries: Mapping[str, str],
    qrels: Qrels,
    *,
    unanswerable: Collection[str] = (),
    left_out: float = 0.3,
    mode: Mode | None = None,
    first: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> JudgedSignals:
    """Search for judged queries, some without their answers; arguments as in `calibrate`."""
    check_integer("first", first)
    check_number("left_out", left_out, 0, 1)
    check_qrels(qrels)
    if left_out == 1:
        raise InputError("left_out must be below 1, got 1: some queries need their answers")
    relevant = {
        one: [name for name, grade in qrels.get(one, {}).items() if grade > 0] for one in queries
    }
    unknown = [one for one in unanswerable if one not in queries]
    if unknown:
        raise InputError(f"{unknown[0]!r:.80} is unanswerable and no query: pass its text, too")
    marked = set(unanswerable)
    chosen = [
        one for one, text in queries.items() if text.strip() and (relevant[one] or one in marked)
    ]
    if len(chosen) < MIN_QUERIES:
        raise InputError(
            f"a calibration needs {MIN_QUERIES} judged queries or more, got {len(chosen)}"
        )
    hidden = np.zeros(len(chosen), np.bool_)
    if not marked:
        order = np.random.default_rng(seed).permutation(len(chosen))
        hidden = order < round(left_out * len(chosen))
    with index.open_search() as scope:
        plain = active_profile(scope)
        mode = mode if mode is not None else scope.capabilities.modes[0]
        settings = scope.describe_settings(plain, mode)
    target = _Unjudged(index, replace(plain, calibration=Calibration.unknown(mode, settings)))
    retriever = Retriever(target, mode=mode, k=first)
    signals: list[tuple[float, ...]] = []
    right: list[bool] = []
    for at, one in enumerate(chosen):
        where = {_ID: {"$nin": relevant[one]}} if hidden[at] else None
        hits = retriever.retrieve(queries[one], where=where)
        if not hits.info.signals:
            raise QueryError("the index changed its settings meanwhile: calibrate again")
        signals.append(hits.info.signals)
        right.append(not hidden[at] and bool(set(hits.ids) & set(relevant[one])))
        if progress is not None:
            progress(at + 1, len(chosen))
    lacking = hidden | np.array([one in marked for one in chosen])
    return JudgedSignals(
        profile=plain,
        mode=mode,
        first=first,
        settings=settings,
        signals=np.array(signals),
        right=np.array(right),
        unanswerable=int(lacking.sum()),
    )


@dataclass(frozen=True, eq=False)  # without slots: hits hold a weak reference to it
class _Unjudged:
    """An index, searched with a profile whose calibration says nothing yet."""

    index: Searchable
    profile: SearchProfile

    @property
    def capabilities(self) -> Capabilities:
        """The engine's capabilities."""
        return self.index.capabilities

    @contextmanager
    def open_search(self) -> Iterator[SearchScope]:
        """Open a session with the profile."""
        with self.index.open_search() as scope:
            yield replace(scope, profile=self.profile)


def _curve(confidences: Scores, outcomes: Scores) -> Iterator[tuple[float, float, int]]:
    order = np.argsort(confidences, kind="stable")
    for part in np.array_split(order, _BINS):
        if len(part):
            yield float(confidences[part].mean()), float(outcomes[part].mean()), len(part)


def _measure_risk(
    calibration: Calibration, bound: float, confidences: Scores, outcomes: Scores
) -> Risk:
    answered: NDArray[np.bool_] = confidences > calibration.threshold(bound)
    return Risk(bound, float(answered.mean()), float((answered & (outcomes == 0)).mean()))
