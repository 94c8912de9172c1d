"""Fitting a query adapter by gradient descent; passages' vectors stay as they are."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twofold.similarity import Metric
from twofold.training.adapter.plan import AdapterPlan
from twofold.types import Vectors

if TYPE_CHECKING:
    from torch import Tensor

_DEPTH = 10  # hits that early stopping looks at
_FLOOR = 1e-12


@dataclass(frozen=True, slots=True)
class BatchArrays:
    """Queries as arrays: ``vectors`` (n, dim) by the encoder, and what answers each.

    ``answers[i]`` are places among the passages with their grades, and ``weights`` (n,) multiply
    the queries' parts in the loss. ``words`` (n, passages) is what the lexical leg adds to a dense
    score that goes from 0 to 1, None without such a leg; the last queries may lack it.
    """

    vectors: Vectors
    answers: Sequence[dict[int, int]]
    weights: NDArray[np.float32]
    words: Vectors | None = None

    def part(self, places: NDArray[np.int64], *, worded: bool = True) -> "BatchArrays":
        """Return the queries at these places; ``words`` take room, and only stopping needs them."""
        answers = [self.answers[place] for place in places.tolist()]
        words = self.words[places] if self.words is not None and worded else None
        return BatchArrays(self.vectors[places], answers, self.weights[places], words)

    def __len__(self) -> int:
        return len(self.answers)


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over all pairs: the mean loss of its steps, None before the first, and nDCG@10.

    The latter is over the queries that fitting doesn't learn from, None where there are none.
    """

    number: int
    loss: float | None
    ndcg: float | None


@dataclass(frozen=True, slots=True)
class FitResult:
    """A matrix (dim, dim), the epoch that it is of, 0 for the identity, and all epochs' curve."""

    matrix: NDArray[np.float32]
    best: int
    curve: tuple[Epoch, ...]


def fit_map(
    passages: Vectors,
    metric: Metric,
    learned: BatchArrays,
    checked: BatchArrays | None,
    plan: AdapterPlan,
    report: Callable[[Epoch], None] | None = None,
) -> FitResult:
    """Return the matrix W that brings W q near what answers q, starting at the identity.

    InfoNCE over all ``passages`` (n, dim): the cross-entropy of softmax(s(W q, x) / temperature)
    for each pair of a query and a passage that answers it; its other answers are left out of the
    sum. van den Oord, Li and Vinyals, Representation Learning with Contrastive Predictive Coding
    (2018). Added is ``pull`` times the squared Frobenius norm of W - I. s is the index's metric on
    a scale where mean lengths are 1, so that one temperature means the same everywhere.

    With ``checked`` queries, epochs go on until nDCG@10 over those has stopped growing, of both
    legs together where there are two, and the best one's matrix is returned, the identity if none
    is better. Without them, that of the last of ``plan.epochs``. On one thread the same seed gives
    the same matrix.
    """
    import torch

    generator = torch.Generator().manual_seed(plan.seed)
    points = torch.from_numpy(np.array(passages, np.float32))
    queries = torch.from_numpy(np.array(learned.vectors, np.float32))
    similar = _similarity(metric, points, queries)
    lowest = -1.0 if metric is Metric.COSINE else None
    pairs = [(place, answer) for place, own in enumerate(learned.answers) for answer in sorted(own)]
    of_query = torch.tensor([place for place, _ in pairs])
    answer = torch.tensor([place for _, place in pairs])
    # Each query counts once, however many passages answer it.
    shares = np.array([learned.weights[q] / len(learned.answers[q]) for q, _ in pairs], np.float32)
    weights = torch.from_numpy(shares / shares.mean())
    model = _Map(points.shape[1], plan, generator)
    optimizer = torch.optim.AdamW(model.parameters, lr=plan.learning_rate, weight_decay=0.0)
    curve = [Epoch(0, None, _checked(model.matrix(), similar, checked, lowest))]
    if report is not None:
        report(curve[0])
    best, matrix = 0, model.matrix()
    for number in range(1, plan.epochs + 1):
        losses: list[float] = []
        order = torch.randperm(len(pairs), generator=generator)
        for batch in torch.split(order, plan.batch):
            asked = of_query[batch]
            scores = similar(queries[asked] @ model.learned().T) / plan.temperature
            _leave_out(scores, learned.answers, asked.tolist(), answer[batch].tolist())
            each = torch.nn.functional.cross_entropy(scores, answer[batch], reduction="none")
            loss = (each * weights[batch]).mean() + plan.pull * model.distance()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            optimizer.step()
            losses.append(float(loss.detach()))
        epoch = Epoch(
            number,
            math.fsum(losses) / len(losses),
            _checked(model.matrix(), similar, checked, lowest),
        )
        curve.append(epoch)
        if report is not None:
            report(epoch)
        before = curve[best].ndcg
        if epoch.ndcg is None or before is None or epoch.ndcg > before:
            best, matrix = number, model.matrix()
        if number - best >= plan.patience:
            break
    return FitResult(matrix.numpy(), best, tuple(curve))


class _Map:
    """The matrix as it is learned: whole, or the identity and a product of two thin ones."""

    def __init__(self, dim: int, plan: AdapterPlan, generator: "torch.Generator") -> None:  # type: ignore[name-defined]  # noqa: F821  # imported late
        import torch

        self._eye = torch.eye(dim)
        if plan.rank is None:
            self.parameters = [torch.eye(dim, requires_grad=True)]
        else:
            thin = torch.randn((plan.rank, dim), generator=generator) / math.sqrt(dim)
            self.parameters = [
                torch.zeros((dim, plan.rank), requires_grad=True),
                thin.requires_grad_(),
            ]

    def learned(self) -> "Tensor":
        """Return the matrix, with its gradients."""
        if len(self.parameters) == 1:
            return self.parameters[0]
        left, right = self.parameters
        return self._eye + left @ right

    def distance(self) -> "Tensor":
        """Return the squared distance from the identity."""
        import torch

        total: Tensor = torch.sum((self.learned() - self._eye) ** 2)
        return total

    def matrix(self) -> "Tensor":
        """Return the matrix as it is now."""
        import torch

        learned: Tensor = torch.clone(self.learned().detach())
        return learned


def _similarity(
    metric: Metric, points: "Tensor", queries: "Tensor"
) -> Callable[["Tensor"], "Tensor"]:
    """Return a function from query vectors (n, dim) to scores (n, passages) of lengths about 1."""
    from torch.nn.functional import normalize

    if metric is Metric.COSINE:
        unit = normalize(points, dim=1)
        return lambda asked: normalize(asked, dim=1) @ unit.T
    length: Tensor = points.norm(dim=1).mean().clamp(min=_FLOOR)
    if metric is Metric.DOT:
        scale = length * queries.norm(dim=1).mean().clamp(min=_FLOOR)
        return lambda asked: asked @ points.T / scale
    squares = (points**2).sum(1)

    def near(asked: "Tensor") -> "Tensor":
        apart = (asked**2).sum(1, keepdim=True) - 2 * asked @ points.T + squares
        distances: Tensor = apart.clamp(min=_FLOOR).sqrt()
        return -distances / length

    return near


def _leave_out(
    scores: "Tensor", answers: Sequence[dict[int, int]], asked: list[int], wanted: list[int]
) -> None:
    """Take a query's other answers out of its softmax."""
    others = [
        (row, other)
        for row, (query, own) in enumerate(zip(asked, wanted, strict=True))
        for other in answers[query]
        if other != own
    ]
    if others:
        rows, columns = zip(*others, strict=True)
        scores[list(rows), list(columns)] = -math.inf


def _checked(
    matrix: "Tensor",
    similar: Callable[["Tensor"], "Tensor"],
    checked: BatchArrays | None,
    lowest: float | None,
) -> float | None:
    """Return nDCG@10 over the checked queries, of both legs if there are two; None without any.

    Dense scores go from their ``lowest`` in theory, or the least one where that isn't known, to the
    best one, as in the library's default fusion.
    """
    import torch

    if checked is None or not len(checked):
        return None
    with torch.no_grad():
        vectors = torch.from_numpy(np.array(checked.vectors, np.float32))
        scores = similar(vectors @ matrix.T)
        if checked.words is not None:
            low = scores.amin(dim=1, keepdim=True) if lowest is None else lowest
            span = scores.amax(dim=1, keepdim=True) - low
            scores = (scores - low) / span.clamp(min=_FLOOR) + torch.from_numpy(checked.words)
        best = scores.topk(min(_DEPTH, scores.shape[1]), dim=1).indices.numpy()
    discounts = 1 / np.log2(np.arange(2, _DEPTH + 2))
    values = []
    for found, grades in zip(best.tolist(), checked.answers, strict=True):
        gains = np.array([grades.get(place, 0) for place in found], np.float64)
        ideal = np.array(sorted(grades.values(), reverse=True)[:_DEPTH], np.float64)
        values.append(float(gains @ discounts[: len(gains)] / (ideal @ discounts[: len(ideal)])))
    return math.fsum(values) / len(values)
