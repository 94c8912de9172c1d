"""A dataset of queries and relevant passages, whose negatives may change between epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from twofold.storage import content_hash
from twofold.training.data.examples import TrainingSet
from twofold.training.negatives import Negative

ANCHOR, POSITIVE, LABEL = "anchor", "positive", "label"


class PairDataset:
    """Pairs of a query and a relevant passage, with negatives.

    Trainers build a dataset once, but rows look up their negatives when they are read, so negatives
    can change within a run. Each pair has ``mined`` mined negatives. If ``mined`` > 0 and any
    example has negatives of its own, each pair has one more, another in each epoch. ``texts`` maps
    ids to the corpus's texts, at least ``count`` more than any query's positives. Each distinct
    text has a number.
    """

    def __init__(
        self, training_set: TrainingSet, texts: Mapping[str, str], mined: int, seed: int
    ) -> None:
        self.training_set = training_set
        self.texts = texts
        self._mined = mined
        given = any(key in texts for example in training_set for key in example.negatives)
        self.count = mined + (given and mined > 0)
        self._seed = seed
        self._negatives: dict[str, list[str]] = {}
        self.teacher_scores: dict[tuple[int, int], float] = {}
        distinct: dict[str, int] = {}
        self._number = {
            key: distinct.setdefault(text, len(distinct)) for key, text in texts.items()
        }
        self._position = {example.query_id: n for n, example in enumerate(training_set)}
        self._known = [[key for key in each.positives if key in texts] for each in training_set]
        self.positives = [frozenset(self._number[key] for key in ids) for ids in self._known]
        # Each query counts once, however many relevant passages it has; the mean row weighs 1.
        pairs = list(zip(training_set, self._known, strict=True))
        shares = [example.weight / max(len(ids), 1) for example, ids in pairs]
        rows = sum(len(ids) for ids in self._known)
        total = sum(share * len(ids) for share, ids in zip(shares, self._known, strict=True))
        self.weights = [share * rows / total for share in shares] if rows else shares

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of a row's texts, in order."""
        return (ANCHOR, POSITIVE, *(f"negative_{number}" for number in range(1, self.count + 1)))

    def set_negatives(self, mined: Mapping[str, Sequence[Negative]], epoch: int = 1) -> None:
        """Set each query's negatives for an epoch; random ones fill up where mined ones lack."""
        corpus = sorted(self.texts)
        for example in self.training_set:
            found = mined.get(example.query_id, ())
            ids = [one.id for one in found if one.source != "given" and one.id in self.texts]
            ids = ids[: self._mined]
            given = [key for key in example.negatives if key in self.texts]
            if self.count > self._mined and given:
                ids.append(given[(epoch - 1) % len(given)])
            if len(ids) < self.count:
                digest = content_hash(f"{self._seed}:{epoch}:{example.query_id}".encode())
                rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
                excluded = {*example.positives, *ids}
                while len(ids) < self.count:
                    drawn = corpus[int(rng.integers(len(corpus)))]
                    ids += [drawn] if drawn not in excluded else []
                    excluded.add(drawn)
            self._negatives[example.query_id] = ids

    def texts_to_score(self) -> list[tuple[str, list[str]]]:
        """Return each query with the texts of its positives and negatives, for a teacher."""
        passages = self._passages()
        return [
            (example.query, [self.texts[key] for key in ids])
            for example, ids in zip(self.training_set, passages, strict=True)
        ]

    def set_teacher_scores(self, logits: Sequence[Sequence[float]]) -> None:
        """Set a teacher's logits of ``texts_to_score``, in the same order."""
        self.teacher_scores = {
            (query, self._number[key]): float(logit)
            for query, (ids, scores) in enumerate(zip(self._passages(), logits, strict=True))
            for key, logit in zip(ids, scores, strict=True)
        }

    def teacher_margins(self, labels: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the teacher's score of each row's positive minus that of each of its negatives."""
        scores = self.teacher_scores
        return [
            [scores[query, positive] - scores[query, negative] for negative in negatives]
            for query, positive, *negatives in labels
        ]

    def build_dataset(self) -> Any:
        """Return a ``datasets.Dataset``, whose rows look up their negatives when they are read.

        A row's label is the number of its query, followed by those of its texts.
        """
        from datasets import Dataset

        queries = self.training_set.queries
        rows = [
            {ANCHOR: example.query_id, POSITIVE: key}
            for example, ids in zip(self.training_set, self._known, strict=True)
            for key in ids
        ]

        def read(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
            columns: dict[str, list[Any]] = {name: [] for name in (*self.columns, LABEL)}
            for query_id, positive in zip(batch[ANCHOR], batch[POSITIVE], strict=True):
                passages = [positive, *self._negatives[query_id]]
                row = [queries[query_id], *(self.texts[key] for key in passages)]
                for name, text in zip(self.columns, row, strict=True):
                    columns[name].append(text)
                numbers = [self._number[key] for key in passages]
                columns[LABEL].append([self._position[query_id], *numbers])
            return columns

        dataset = Dataset.from_list(rows)
        dataset.set_transform(read)
        return dataset

    def _passages(self) -> list[list[str]]:
        """Return the ids of each query's positives and negatives."""
        pairs = zip(self.training_set, self._known, strict=True)
        return [[*known, *self._negatives[example.query_id]] for example, known in pairs]
