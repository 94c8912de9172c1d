"""Fits the matrix of a query adapter by gradient descent; passage vectors stay fixed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twofold.backend import Keys, SearchScope
from twofold.extras import check_extra
from twofold.fusion.rules import DENSE_WEIGHT
from twofold.similarity import Metric
from twofold.training.adapter.plan import AdapterPlan
from twofold.training.data.examples import Example, TrainingSet
from twofold.types import Vectors

if TYPE_CHECKING:
    from torch import Generator, Tensor

_DEPTH = 10  # of nDCG in early stopping
_FLOOR = 1e-12


@dataclass(frozen=True, slots=True)
class TrainingArrays:
    """Passage vectors (m, dim), query vectors (n, dim), and the queries' weights in the loss (n,).

    ``positives`` has, for each query, the grades of relevant passages by position. ``lexical``
    (k, m) has the lexical parts of the fused scores of the first k queries, for validation; it is
    None without a lexical leg.
    """

    passages: Vectors
    metric: Metric
    vectors: Vectors
    positives: Sequence[dict[int, int]]
    weights: NDArray[np.float32]
    lexical: Vectors | None = None

    @classmethod
    def from_scope(
        cls,
        scope: SearchScope,
        examples: TrainingSet,
        vectors: Vectors,
        plan: AdapterPlan,
        *,
        judged: int,
    ) -> "TrainingArrays":
        """Collect the arrays of examples whose queries have ``vectors`` (n, dim).

        Of more than ``plan.max_passages`` passages, the relevant ones and a sample are used.
        The first ``judged`` examples get lexical scores.
        """
        keys, metric = scope.list_keys(), scope.metric
        assert metric is not None  # checked before
        known = scope.find_keys(sorted(examples.positives))
        grades = [_grades_by_key(known, example) for example in examples]
        if len(keys) > plan.max_passages:
            relevant = np.unique(np.array([key for graded in grades for key in graded], np.int64))
            others = np.setdiff1d(keys, relevant)
            size = min(max(plan.max_passages - len(relevant), 0), len(others))
            sample = np.random.default_rng(plan.seed).choice(others, size, replace=False)
            keys = np.union1d(relevant, sample)
        fetched = scope.session.fetch(keys, texts=False, vectors=True)
        assert fetched.vectors is not None  # asked for
        assert fetched.has_vector is not None
        keys, points = keys[fetched.has_vector], fetched.vectors[fetched.has_vector]
        position_of = {key: position for position, key in enumerate(keys.tolist())}
        positives = [
            {position_of[key]: grade for key, grade in graded.items() if key in position_of}
            for graded in grades
        ]
        weights = np.array([example.weight for example in examples], np.float32)
        lexical = _lexical_parts(scope, examples[:judged], keys)
        return cls(points, metric, vectors, positives, weights, lexical)

    def select(self, positions: NDArray[np.int64], *, lexical: bool = True) -> "TrainingArrays":
        """Return the arrays of the queries at ``positions``, with or without lexical scores."""
        return replace(
            self,
            vectors=self.vectors[positions],
            positives=[self.positives[position] for position in positions.tolist()],
            weights=self.weights[positions],
            lexical=self.lexical[positions] if self.lexical is not None and lexical else None,
        )


def _grades_by_key(known: Mapping[str, int], example: Example) -> dict[int, int]:
    pairs = zip(example.positives, example.grades, strict=True)
    return {known[passage_id]: grade for passage_id, grade in pairs if passage_id in known}


def _lexical_parts(scope: SearchScope, examples: Sequence[Example], keys: Keys) -> Vectors | None:
    """Return the lexical parts of the default fusion's scores, float32 (queries, passages).

    They are divided by the dense weight, so that dense scores in [0, 1] can be added as they are.
    """
    if not scope.has_lexical:
        return None
    share = (1 - DENSE_WEIGHT) / DENSE_WEIGHT
    parts = np.zeros((len(examples), len(keys)), np.float32)
    for position, example in enumerate(examples):
        scores = scope.lexical_scores(example.query, keys)
        parts[position] = share * scores / max(float(scores.max(initial=0.0)), _FLOOR)
    return parts


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training pairs; number 0 is the state before training, without a loss.

    ``ndcg`` is the validation queries' mean nDCG@10, or in fine-tuning their mean of the plan's
    measure. It is None without validation queries.
    """

    number: int
    loss: float | None
    ndcg: float | None


@dataclass(frozen=True, slots=True)
class FitResult:
    """A fitted matrix (dim, dim), the number of its epoch (0 is the identity), and all epochs."""

    matrix: NDArray[np.float32]
    best: int
    curve: tuple[Epoch, ...]


def fit_adapter(
    train: TrainingArrays,
    validation: TrainingArrays | None,
    plan: AdapterPlan,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> FitResult:
    """Fit the matrix W of a query adapter by InfoNCE over all passages, starting at the identity.

    The loss of a query q and a relevant passage is the cross-entropy of
    softmax(s(W q, x) / temperature) over the passages x without q's other relevant ones (van den
    Oord, Li and Vinyals, Representation Learning with Contrastive Predictive Coding, 2018).
    ``identity_l2`` times the squared Frobenius norm of W - I is added. s is the index's metric,
    scaled by mean vector lengths, so that temperatures are comparable between encoders.

    With validation queries, training stops early and returns the matrix of the epoch with their
    best nDCG@10, fused if there are lexical scores. Without, it returns the last epoch's matrix.
    On one thread, the same seed gives the same matrix.
    """
    check_extra("models", "training an adapter", "torch")
    import torch

    generator = torch.Generator().manual_seed(plan.seed)
    points = torch.from_numpy(np.array(train.passages, np.float32))
    queries = torch.from_numpy(np.array(train.vectors, np.float32))
    similarity = _scaled_similarity(train.metric, points, queries)
    lowest = -1.0 if train.metric is Metric.COSINE else None
    pairs = [(query, x) for query, grades in enumerate(train.positives) for x in sorted(grades)]
    query_of, passage_of = (torch.tensor(column) for column in zip(*pairs, strict=True))
    # Each query counts once, however many relevant passages it has.
    shares = np.array([train.weights[q] / len(train.positives[q]) for q, _ in pairs], np.float32)
    weights = torch.from_numpy(shares / shares.mean())
    parameters = _initial_parameters(points.shape[1], plan.rank, generator)
    optimizer = torch.optim.AdamW(parameters, lr=plan.learning_rate, weight_decay=0.0)
    eye = torch.eye(points.shape[1])
    curve: list[Epoch] = []
    best, matrix = 0, eye
    for number in range(plan.epochs + 1):
        losses: list[float] = []
        order = torch.randperm(len(pairs), generator=generator) if number else None
        for batch in torch.split(order, plan.batch) if order is not None else ():
            rows, positives = query_of[batch], passage_of[batch]
            scores = similarity(queries[rows] @ _matrix(parameters).T) / plan.temperature
            _mask_other_positives(scores, train.positives, rows.tolist(), positives.tolist())
            entropy = torch.nn.functional.cross_entropy(scores, positives, reduction="none")
            distance = torch.sum((_matrix(parameters) - eye) ** 2)
            loss = (entropy * weights[batch]).mean() + plan.identity_l2 * distance
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            optimizer.step()
            losses.append(float(loss.detach()))
        learned = torch.clone(_matrix(parameters).detach())
        ndcg = _validate(learned, similarity, validation, lowest)
        curve.append(Epoch(number, math.fsum(losses) / len(losses) if number else None, ndcg))
        if on_epoch is not None:
            on_epoch(curve[-1])
        before = curve[best].ndcg
        if ndcg is None or before is None or ndcg > before:
            best, matrix = number, learned
        if number - best >= plan.patience:
            break
    return FitResult(matrix.numpy(), best, tuple(curve))


def _initial_parameters(dim: int, rank: int | None, generator: "Generator") -> list["Tensor"]:
    """Return the parameters to fit: a full matrix, or with ``rank`` the two factors of W - I."""
    import torch

    if rank is None:
        return [torch.eye(dim, requires_grad=True)]
    right = torch.randn((rank, dim), generator=generator) / math.sqrt(dim)
    return [torch.zeros((dim, rank), requires_grad=True), right.requires_grad_()]


def _matrix(parameters: list["Tensor"]) -> "Tensor":
    """Return the matrix W (dim, dim) computed from its parameters, with gradients."""
    import torch

    if len(parameters) == 1:
        return parameters[0]
    left, right = parameters
    return torch.eye(len(left)) + left @ right


def _scaled_similarity(
    metric: Metric, points: "Tensor", queries: "Tensor"
) -> Callable[["Tensor"], "Tensor"]:
    """Return a function from query vectors (n, dim) to scores (n, m) of the passages ``points``.

    Scores are divided by mean vector lengths, except for cosine.
    """
    from torch.nn.functional import normalize

    if metric is Metric.COSINE:
        unit = normalize(points, dim=1)
        return lambda vectors: normalize(vectors, dim=1) @ unit.T
    length: Tensor = points.norm(dim=1).mean().clamp(min=_FLOOR)
    if metric is Metric.DOT:
        scale = length * queries.norm(dim=1).mean().clamp(min=_FLOOR)
        return lambda vectors: vectors @ points.T / scale
    squares = (points**2).sum(1)

    def negative_distance(vectors: "Tensor") -> "Tensor":
        squared = (vectors**2).sum(1, keepdim=True) - 2 * vectors @ points.T + squares
        distances: Tensor = squared.clamp(min=_FLOOR).sqrt()
        return -distances / length

    return negative_distance


def _mask_other_positives(
    scores: "Tensor", positives: Sequence[dict[int, int]], queries: list[int], targets: list[int]
) -> None:
    """Set the scores of each row's relevant passages, except its target, to -inf, in place."""
    others = [
        (row, position)
        for row, (query, target) in enumerate(zip(queries, targets, strict=True))
        for position in positives[query]
        if position != target
    ]
    if others:
        rows, columns = zip(*others, strict=True)
        scores[list(rows), list(columns)] = -math.inf


def _validate(
    matrix: "Tensor",
    similarity: Callable[["Tensor"], "Tensor"],
    validation: TrainingArrays | None,
    lowest: float | None,
) -> float | None:
    """Return the mean nDCG@10 of the validation queries, None if there are none.

    To add lexical scores, dense scores are scaled to [0, 1] as in the default fusion. The minimum
    is ``lowest``, the metric's theoretical one, or if that is None, the observed one.
    """
    import torch

    if validation is None or not len(validation.positives):
        return None
    with torch.no_grad():
        vectors = torch.from_numpy(np.array(validation.vectors, np.float32))
        scores = similarity(vectors @ matrix.T)
        if validation.lexical is not None:
            low = scores.amin(dim=1, keepdim=True) if lowest is None else lowest
            span = scores.amax(dim=1, keepdim=True) - low
            lexical = torch.from_numpy(validation.lexical)
            scores = (scores - low) / span.clamp(min=_FLOOR) + lexical
        best = scores.topk(min(_DEPTH, scores.shape[1]), dim=1).indices.numpy()
    discounts = 1 / np.log2(np.arange(2, _DEPTH + 2))
    values = []
    for found, grades in zip(best.tolist(), validation.positives, strict=True):
        gains = np.array([grades.get(position, 0) for position in found], np.float64)
        ideal = np.array(sorted(grades.values(), reverse=True)[:_DEPTH], np.float64)
        values.append(float(gains @ discounts[: len(gains)] / (ideal @ discounts[: len(ideal)])))
    return math.fsum(values) / len(values)
